"""The report of a run: what is on the page, and that it says what is missing."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import Page, assert_safe, coarse_pictures  # noqa: F401

from mmagga import figures
from mmagga.__main__ import main
from mmagga.cli.flags import parse
from mmagga.config import DEMO, StageConfig, config_hash
from mmagga.data import DATASETS, load_checked
from mmagga.data.synthetic import SyntheticSpec, render
from mmagga.report import result_sections, results, write
from mmagga.report.page import Picture
from mmagga.report.results import logged, quarters, retest, telling
from mmagga.runs import Run, opened
from mmagga.runs.opened import OpenedRun
from mmagga.runs.records import saved_steps
from mmagga.training import train

STAGES = tuple(StageConfig(1, 1e-3, what) for what in ("all_but_mma", "mma", "all"))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = render(tmp_path_factory.mktemp("report") / "data", "tiny", workers=1, progress=False)
    return dataclasses.replace(
        DEMO, root=root, frames=2, ids_per_batch=2, clips_per_id=2, stages=STAGES, workers=0,
        model=dataclasses.replace(DEMO.model, width=16), eval_batch=8, device="cpu",
        keep_optimizer=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tracklets(config):
    return load_checked(config.dataset, config.root, progress=False)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("runs") / "finished", bar=False)


@pytest.fixture(scope="module")
def page(run, config, tmp_path_factory):
    return Page(write(run, config, tmp_path_factory.mktemp("page") / "report.html"))


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")


def test_the_page_needs_nothing_and_runs_nothing(page):
    assert_safe(page)
    begun = {img["alt"][:5] for img in page.every("img")}
    assert begun >= {"Learn", "Cumul", "Rank ", "Frame", "MMA m"}
    assert page.source.count("<figcaption>") == len(page.every("img"))


def test_sections_stand_in_order(page):
    assert page.headings == [
        "Result", "Non-learned baselines", "Cumulative matching", "Rank lists",
        "Where the score comes from", "Attention", "Training", "MMA matrices",
        "Longer measurements", "Configuration", "Provenance",
    ]  # fmt: skip


def test_the_headline_is_the_result(page, run):
    metrics = run.load_metrics()
    for name in ("mAP", "mINP", "rank-1", "rank-5"):
        assert f"{name} {100 * metrics[name]:.1f} " in page.text
    assert f"{metrics['valid_queries']} of {metrics['queries']} queries have a match" in page.text
    assert f"{metrics['gallery']} tracklets are searched, the queries among them" in page.text
    assert metrics["gallery"] < 20
    assert "rank-20 – beyond the gallery" in page.text
    assert "with the result that training logged" in page.text


def test_a_number_has_one_interval(monkeypatch):
    """The curve's band at a rank is what stands below the rank's number."""
    first = np.random.default_rng(0).integers(1, 12, 90)
    per_query = pd.DataFrame({"pid": np.arange(90) // 3, "first_hit": first, "inp": 0.5,
                              "average_precision": 1 / first})  # fmt: skip
    tested, drawn = results.Tested(per_query, "mars", 50, "planted"), {}
    monkeypatch.setattr(figures, "cmc_band_figure", lambda bands, title: drawn.update(bands))
    monkeypatch.setattr(Picture, "of", lambda *words: Picture("", "", ""))
    result_sections.curve(tested)
    (bands,) = drawn.values()
    for k in (1, 5, 10):
        assert tuple(tested.intervals()[f"rank-{k}"]) == tuple(bands.set_index("rank").loc[k])


def test_the_result_without_the_network_is_the_same(run, config, tracklets):
    tested = retest(OpenedRun(run, tracklets, config))
    found = logged(run)
    for name, interval in tested.intervals().items():
        assert found.intervals()[name] == pytest.approx(interval, abs=1e-12)
    assert (tested.protocol, tested.gallery) == (found.protocol, found.gallery)


def test_what_differs_from_the_preset_is_marked(page):
    marked = set(re.findall(r"<td[^>]*><b>([^<]*)</b></td>", page.source))
    assert {"16", "2"} <= marked, "width, and frames and ids_per_batch"
    assert not {"0.5", "resnet18", "gga"} & marked, "these are the preset's"


def test_where_it_is_from_is_enough_to_make_it_again(page, run):
    record = run.last_checkpoint()
    for value in (
        record["sha256"],
        record["data"],
        record["split"],
        config_hash(run.load_config()),
    ):
        assert value in page.text
    command = re.search(r"python -m mmagga (train .*?) checkpoint ", page.text)[1]
    config, runs, _ = parse(shlex.split(command)[1:])
    assert config_hash(config) == config_hash(run.load_config())
    assert runs == Path(run.folder.parent.name)


def test_it_names_no_folder_of_this_machine(page, run, config):
    assert str(run.folder.parent) not in page.source
    assert str(config.root.parent) not in page.source


def test_the_yardsticks_stand_beside_the_network(page):
    assert re.search(r"this network [\d.]+ [\d.]+ .*camera-centred thumbnail [\d.]+", page.text)


@pytest.mark.parametrize("name", ["ledger.csv", "attention/verdicts.csv", "queries.csv"])
def test_a_damaged_table_is_named_and_the_page_written(copy, config, tmp_path, name):
    (copy.folder / name).parent.mkdir(exist_ok=True)
    (copy.folder / name).write_bytes(b"\xff\xfe\x00")
    page = Page(write(copy, config, tmp_path / "report.html", embed=False))
    assert f"{name.rpartition('/')[2]} is damaged" in page.text


def test_the_second_page_embeds_nothing(run, config, page, tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "tracklet_embeddings", None)
    again = Page(write(run, config, tmp_path / "report.html"))
    assert again.headings == page.headings


def test_queries_are_chosen_by_rule(run, config, tracklets):
    test = OpenedRun(run, tracklets, config)
    precision = test.scores.per_query["average_precision"]
    by_name = {name: query for query, name in quarters(test).items()}
    assert precision[by_name["worst"]] == precision.min()
    assert precision[by_name["best"]] == precision.max()
    chosen = {rule: query for query, rules in telling(test).items()
               for rule in rules.split(" and ")}  # fmt: skip
    assert set(chosen) == {"worst", "median", "most occluded"}
    hidden = test.queries["occluded"]
    assert hidden[chosen["most occluded"]] == hidden.max()
    assert precision[chosen["worst"]] == precision.min()


# --- less than a finished run on its own data ---------------------------------------------------


def test_without_embedding_the_log_speaks(run, config, tmp_path, monkeypatch):
    monkeypatch.setattr("mmagga.report.writing.OpenedRun", None)
    page = Page(write(run, config, tmp_path / "report.html", embed=False))
    assert "Rank lists" not in page.headings
    assert f"mAP {100 * run.load_metrics()['mAP']:.1f}" in page.text
    assert "from the run's log" in page.text
    assert "the page was made without embedding" in page.text


def test_without_the_data_the_log_speaks(run, config, tmp_path):
    away = dataclasses.replace(config, root=tmp_path / "nothing")
    page = Page(write(run, away, tmp_path / "report.html"))
    assert f"mAP {100 * run.load_metrics()['mAP']:.1f}" in page.text
    assert re.search(r"Missing: the data set synthetic: .*nothing", page.text)
    assert {"Training", "Cumulative matching", "MMA matrices", "Provenance"} <= set(page.headings)


def test_a_run_that_never_started_has_a_page(config, tmp_path):
    run = Run(tmp_path / "empty")
    run.open(config)
    page = Page(write(run, config, tmp_path / "report.html"))
    assert_safe(page)
    assert "never started" in page.text
    assert page.text.count("Missing: ") == 6
    for missing in ("no test of this run is known yet", f"the test: {run.folder} has no checkpoint",
                    "no step is logged yet", "they are written at the end of each stage",
                    "the protocol ledger", "the attention battery"):  # fmt: skip
        assert f"Missing: {missing}" in page.text


def test_a_run_under_way_is_tested_as_it_stands(copy, config, tmp_path):
    for name in ("metrics.json", "queries.csv"):
        (copy.folder / name).unlink()
    copy.rewind(copy.read("steps")["step"].max() - 1)
    page = Page(write(copy, config, tmp_path / "report.html"))
    step = copy.saved_step()
    assert f"the checkpoint of step {step}, tested for this page." in page.text
    assert "stopped at step" in page.text
    assert "Rank lists" in page.headings


def test_a_later_checkpoint_is_not_taken_for_the_logged_test(copy, config, tracklets):
    copy.save_metrics(copy.load_metrics() | {"mAP": 0.001})
    source = retest(OpenedRun(copy, tracklets, config)).source
    assert "training logged another mAP, 0.1%" in source
    copy.save_metrics(copy.load_metrics() | {"step": 1})
    assert retest(OpenedRun(copy, tracklets, config)).source.endswith("tested for this page")


def test_a_damaged_checkpoint_is_named(copy, config, tmp_path):
    def damage(step):
        path = copy.folder / "checkpoints" / f"{step:08d}.pt"
        path.write_bytes(path.read_bytes()[:-1])

    newest, before = saved_steps(copy.folder / "checkpoints")
    damage(newest)
    with pytest.warns(UserWarning, match="damaged checkpoint skipped"):
        page = Page(write(copy, config, tmp_path / "report.html"))
    assert f"the checkpoint of step {before}, a newer one being damaged, tested" in page.text
    assert f"checkpoint step {before}, epoch" in page.text
    damage(before)
    page = Page(write(copy, config, tmp_path / "report.html"))
    assert "Missing: the test: no readable checkpoint" in page.text
    assert f"checkpoint step {newest}, DAMAGED" in page.text
    assert f"mAP {100 * copy.load_metrics()['mAP']:.1f}" in page.text


def test_other_data_than_in_training_are_noticed(copy, config, page, tmp_path):
    assert "OTHERS" not in page.text
    path = copy.folder / "checkpoints" / f"{copy.saved_step():08d}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "0" * 24}))
    other = Page(write(copy, config, tmp_path / "report.html", embed=False))
    assert other.text.count("OTHERS than it was trained on") == 1


def test_a_set_without_masks_shows_a_random_query(copy, config, tmp_path):
    root = tmp_path / "plain"
    shutil.copytree(config.root, root, ignore=shutil.ignore_patterns("masks", "frames.csv"))
    page = Page(write(copy, dataclasses.replace(config, root=root), tmp_path / "report.html"))
    assert "this data set does not say what is hidden" in page.text
    assert "randomly drawn query" in page.text
    assert "most occluded" not in page.text
    assert "hidden (%)" in page.text


def test_a_baseline_has_no_attention(config, tmp_path):
    model = dataclasses.replace(config.model, name="baseline")
    config = dataclasses.replace(config, model=model, stages=(StageConfig(1, 1e-3),))
    run = train(config, tmp_path / "run", bar=False)
    page = Page(write(run, config, tmp_path / "report.html"))
    assert "Rank lists" in page.headings
    assert not {"Attention", "MMA matrices"} & set(page.headings)
    assert "mmagga attention" not in page.text


def test_longer_measurements_are_shown_where_they_are(copy, config, tmp_path):
    page = Page(write(copy, config, tmp_path / "report.html", embed=False))
    assert f"python -m mmagga ledger {copy.folder.name}" in page.text
    assert f"python -m mmagga attention {copy.folder.name}" in page.text
    numbers = dict.fromkeys(
        ("mAP", "mAP_low", "mAP_high", "rank-1", "rank-5", "rank-20", "mINP"), 0.512
    ) | dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
    counts = {"valid_queries": 7, "dropped_queries": 0, "gallery": 9, "is_paper": True}
    words = {"convention": "paper", "changes": "nothing", "used_by": "the paper"}
    pd.DataFrame([words | numbers | counts]).to_csv(copy.folder / "ledger.csv", index=False)
    (copy.folder / "attention").mkdir()
    verdict = {"branch": "p2", "occluder": "all", "reacts": "not supported", "matters": ""}
    pd.DataFrame([verdict]).to_csv(copy.folder / "attention" / "verdicts.csv", index=False)
    shutil.copy(Path(__file__).parents[2] / "figures" / "cmc.png",
                copy.folder / "attention" / "battery.png")  # fmt: skip
    page = Page(write(copy, config, tmp_path / "report.html", embed=False))
    assert_safe(page)
    assert "paper (the paper's) 51.2" in page.text
    assert "p2 all not supported –" in page.text
    assert any(picture["alt"].startswith("The measures") for picture in page.every("img"))
    assert "mmagga ledger" not in page.text
    assert "the one there is of a test with mAP 51.2%" in page.text


def test_another_data_set_has_a_page_of_its_own(copy, config, monkeypatch, capsys):
    def other(root, split):
        return dataclasses.replace(DATASETS["synthetic"](root, split), dataset="other")

    monkeypatch.setitem(DATASETS, "other", other)
    words = ["--dataset", "other", "--root", str(config.root), "--device", "cpu"]
    assert main(["report", str(copy.folder), *words]) == 0
    assert capsys.readouterr().out.strip() == str(copy.folder / "report-other.html")
    page = Page(copy.folder / "report-other.html")
    assert "mmagga on other" in page.text
    assert "tested for this page." in page.text, "what training logged is of another data set"
    assert f"{copy.folder.name} --dataset other --root {config.root.name}" in page.text
    assert main(["report", str(copy.folder), *words, "--no-embed"]) == 0
    assert "no test of this run is known yet" in Page(copy.folder / "report-other.html").text


def test_measurements_on_the_runs_data_are_not_shown_for_another_root(copy, config, tmp_path):
    (copy.folder / "attention").mkdir()
    verdict = {"branch": "p2", "occluder": "all", "reacts": "of the run's own"}
    pd.DataFrame([verdict]).to_csv(copy.folder / "attention" / "verdicts.csv", index=False)
    assert "of the run's own" in Page(write(copy, config, tmp_path / "a.html", embed=False)).text
    root = render(tmp_path / "others", SyntheticSpec(2, 2, seed=9))
    other = dataclasses.replace(config, root=root)
    page = Page(write(copy, other, tmp_path / "b.html", embed=False))
    assert "of the run's own" not in page.text
    assert "no test of this run is known yet" in page.text
    assert f"attention {copy.folder.name} --root others" in page.text
    absent = dataclasses.replace(config, dataset="prid2011", root=tmp_path / "nothing")
    page = Page(write(copy, absent, tmp_path / "c.html", embed=False))
    assert "of the run's own" not in page.text
    assert "those on prid2011: no data" in page.text


def test_the_verb_writes_into_the_run_folder(copy, capsys, tmp_path):
    assert main(["report", str(copy.folder), "--no-embed"]) == 0
    assert capsys.readouterr().out.strip() == str(copy.folder / "report.html")
    assert_safe(Page(copy.folder / "report.html"))
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
