"""Grids, their runs, and what these say."""

import dataclasses
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmagga.__main__ import main
from mmagga.cli.flags import command, parse
from mmagga.config import DEMO, PAPER, ModelConfig, StageConfig, config_hash, total_epochs
from mmagga.data.synthetic import render
from mmagga.errors import MmaggaError, NumericError, Stopped
from mmagga.model.build import build_model
from mmagga.retrieval import paired_difference
from mmagga.runs import RUNS
from mmagga.runs.lock import RunLock
from mmagga.studies import ablations, comparison
from mmagga.studies.ablations import ablate, cells, cost, evaluate_run, plan, visible_gpus
from mmagga.studies.grids import BASES, GRIDS, STUDY, Grid, base_config, changed, find_grid

# --- grids --------------------------------------------------------------------------------------


def test_the_committed_study_is_found_by_its_grid():
    """A change to `STUDY` or to the grid orphans the runs in data/results."""
    committed, _ = comparison.read(RESULTS / "ablations-modules-study.csv")
    first = committed[committed["seed"] == 0].set_index("label")["config"].to_dict()
    packed = dataclasses.replace(STUDY, packed=Path("frames.pack"))
    found = {c.label: config_hash(c.config) for c in cells(GRIDS["modules"], packed, [0])}
    assert found == first


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", GRIDS)
def test_every_cell_is_one_command_line_and_no_other_run(name, base, tmp_path):
    grid = GRIDS[name]
    listed = cells(grid, BASES[base], seeds=[0, 3], splits=[0, 1], runs=tmp_path / "my runs")
    assert len({cell.run.folder for cell in listed}) == 4 * len(grid.rows)
    for cell in listed:
        python, option, package, verb, *words = shlex.split(cell.command)
        assert (python, option, package, verb) == ("python", "-m", "mmagga", "train")
        config, runs, _ = parse(words)
        assert config == cell.config
        assert runs == tmp_path / "my runs"


def test_what_is_switched_off_and_what_is_empty_survive_the_command_line(tmp_path):
    hardware = dataclasses.replace(DEMO.hardware, deterministic=False)
    config = dataclasses.replace(
        DEMO, official_clips=False, hardware=hardware, milestones=(), root=tmp_path / "a b"
    )
    assert parse(command(config)[1:]) == (config, RUNS, False)


def test_grids_share_runs_of_one_configuration():
    (rate,) = cells(Grid("", {"": GRIDS["rates"].rows["MMA-GGA, 0.00015"]}), STUDY)
    (recipe,) = cells(Grid("", {"": GRIDS["recipe"].rows["as it is"]}), STUDY)
    assert rate.run.folder == recipe.run.folder


def test_stages_in_which_nothing_would_learn_are_left_out():
    for changes in (
        {"model.name": "baseline"},
        {"model.mma": "stripes"},
        {"model.granularities": ()},
    ):
        stages = changed(PAPER, changes).stages
        assert [stage.trainable for stage in stages] == ["all_but_mma", "all"]
    assert changed(PAPER, {"model.pooling": "mean"}).stages == PAPER.stages


def test_all_at_once_has_the_epochs_of_the_three_stages():
    config = changed(PAPER, GRIDS["stages"].rows["all at once"])
    assert config.stages == (StageConfig(400, 1.5e-4, "all"),)
    assert [len(changed(PAPER, c).stages) for c in GRIDS["stages"].rows.values()] == [1, 1, 2, 3]


def test_ticks_name_rows():
    for grid in GRIDS.values():
        assert all(set(labels) <= set(grid.rows) for labels in grid.ticks.values())


def test_a_base_on_another_set(tmp_path):
    assert base_config("paper", "ilids_vid", tmp_path).ids_per_batch == 8
    assert base_config("study", root=tmp_path).root == tmp_path
    assert base_config("paper", "synthetic", tmp_path).model.backbone == PAPER.model.backbone
    with pytest.raises(MmaggaError, match="paper"):
        base_config("demo", "mars")
    with pytest.raises(MmaggaError, match="gem_p"):
        find_grid("gem")


# --- running ------------------------------------------------------------------------------------

TINY = dataclasses.replace(
    DEMO, frames=2, ids_per_batch=2, clips_per_id=2, workers=0,
    model=ModelConfig(backbone="resnet18", width=16), stages=(StageConfig(1, 1e-3),),
)  # fmt: skip
PAIR = Grid("Which?", {"mean": {"model.pooling": "mean"}, "gga": {}})

RESULTS = Path(__file__).parents[2] / "data" / "results"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two rows, really trained."""
    base = tmp_path_factory.mktemp("grid")
    root = render(base / "data", "tiny", progress=False)
    listed = cells(PAIR, dataclasses.replace(TINY, root=root), runs=base / "runs")
    assert plan(listed)["minutes"].isna().all()
    assert ablate(listed, bar=False) == []
    return listed


@pytest.fixture
def copied(finished, tmp_path):
    """The same runs, to spoil."""
    shutil.copytree(finished[0].run.folder.parent, tmp_path / "runs")
    return cells(PAIR, finished[1].config, runs=tmp_path / "runs")


def no_training(*_, **__):
    raise AssertionError("a finished run was trained again")


def test_finished_runs_are_never_run_again(copied, monkeypatch):
    monkeypatch.setattr(ablations, "train", no_training)
    before = {p: p.read_bytes() for c in copied for p in c.run.folder.iterdir() if p.is_file()}
    assert plan(copied)["state"].tolist() == ["done", "done"]
    assert ablate(copied, bar=False) == []
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_finished_run_of_other_data_is_not_taken_for_this_one(finished, tmp_path, monkeypatch):
    """The name of a run does not hold the data folder: data may be moved, not exchanged."""
    monkeypatch.setattr(ablations, "train", no_training)
    here = finished[0].config.root
    moved, other = shutil.copytree(here, tmp_path / "moved"), tmp_path / "other"
    shutil.copytree(here, other)
    first, second = sorted(other.glob("bbox_train/*/*.jpg"))[:2]
    second.write_bytes(first.read_bytes())
    for root, message in ((moved, None), (other, "differ from those in .*--runs")):
        config = dataclasses.replace(TINY, root=root)
        listed = cells(PAIR, config, runs=finished[0].run.folder.parent)
        if message is None:
            assert ablate(listed, bar=False) == []
        else:
            with pytest.raises(MmaggaError, match=message):
                ablate(listed, bar=False)


@pytest.mark.parametrize("spoil", ["missing", "stale"])
def test_queries_are_written_where_they_are_missing_or_of_another_evaluation(
    copied, spoil, monkeypatch
):
    monkeypatch.setattr(ablations, "train", no_training)
    path = copied[0].queries
    good = path.read_text()
    if spoil == "missing":
        path.unlink()
    else:
        table = pd.read_csv(path)
        table.assign(average_precision=0.01).to_csv(path, index=False)
    assert len(comparison.results(copied)) == 1
    ablate(copied, bar=False)
    assert path.read_text() == good


def test_a_run_that_was_cut_off_goes_on(copied, monkeypatch):
    (copied[1].run.folder / "metrics.json").unlink()
    assert plan(copied)["state"].tolist() == ["done", "to resume"]
    assert not plan(copied)["minutes"].isna().any()
    trained = []

    def train(config, folder, **_):
        trained.append(folder)
        raise Stopped("now")

    monkeypatch.setattr(ablations, "train", train)
    with pytest.raises(Stopped):
        ablate(copied, bar=False)
    assert trained == [copied[1].run.folder]


def test_a_run_of_other_data_is_not_taken_for_this_one(copied):
    path = copied[0].run.folder / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"mAP": metrics["mAP"] / 2}))
    with pytest.raises(MmaggaError, match="another data set"):
        evaluate_run(copied[0], bar=False)


def test_what_diverges_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    tried = []

    def train(config, folder, **_):
        tried.append(folder)
        raise NumericError("the loss is nan")

    monkeypatch.setattr(ablations, "train", train)
    listed = cells(PAIR, TINY, runs=tmp_path)
    notes = ablate(listed, bar=False)
    assert tried == [cell.run.folder for cell in listed]
    assert len(notes) == 2
    assert "the loss is nan" in notes[0]


def test_a_run_that_another_process_holds_is_passed_over(tmp_path):
    one = dataclasses.replace(PAIR, rows={"gga": {}})
    (cell,) = cells(one, TINY, runs=tmp_path)
    with RunLock(cell.run.folder):
        (note,) = ablate([cell], bar=False)
    assert "in use by" in note


def test_each_device_gets_one_process_and_a_failure_is_named(tmp_path, monkeypatch):
    script = (
        "import os, pathlib, sys, time; p = pathlib.Path(sys.argv[-1]); p.mkdir(parents=True);"
        "(p / 'device').write_text(os.environ['CUDA_VISIBLE_DEVICES']);"
        "[time.sleep(0.1) for _ in range(300) if len(list(p.parent.glob('*/device'))) < 2];"
        "failed = 'mean' in sys.argv; print('no memory', file=sys.stderr) if failed else 0;"
        "sys.exit(5 if failed else 0)"
    )
    real = ablations.subprocess.run

    def run(words, **options):
        cell = by_words[tuple(words[1:])]
        return real([sys.executable, "-c", script, cell.label, str(cell.run.folder)], **options)

    monkeypatch.setattr(ablations.subprocess, "run", run)
    listed = cells(PAIR, TINY, runs=tmp_path)
    by_words = {tuple(shlex.split(cell.command)[1:]): cell for cell in listed}
    notes = ablate(listed, devices=["2", "5"], bar=False)
    assert {(c.run.folder / "device").read_text() for c in listed} == {"2", "5"}
    assert notes == [f"{listed[0].run.folder}: no memory"]


def test_gpus_are_counted_as_this_process_sees_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,6")
    assert visible_gpus() == ["3", "6"]


def test_the_verb_prints_plan_or_commands(finished, tmp_path, capsys):
    words = ["ablate", "modules", "--base", "study", "--seeds", "1", "--runs", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    assert "0 of 5 are done" in capsys.readouterr().out
    assert main([*words, "--print"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [config_hash(parse(shlex.split(line)[4:])[0]) for line in lines] == [
        config_hash(cell.config) for cell in cells(GRIDS["modules"], STUDY, [1])
    ]
    assert not list(tmp_path.iterdir())


# --- what runs say ------------------------------------------------------------------------------


def test_results_say_what_was_run(finished, tmp_path):
    table = comparison.results(finished)
    assert table["label"].tolist() == ["mean", "gga"]
    assert table["run"].tolist() == [cell.run.folder.name for cell in finished]
    assert (table["epochs"] == 1).all()
    assert (table["mAP"].between(table["mAP_low"], table["mAP_high"])).all()
    precisions = comparison.precisions(finished)
    assert np.allclose(precisions.mean(), table["mAP"])

    path = comparison.write(tmp_path, "ablations-pair-tiny", finished)
    again, queries = comparison.read(path)
    pd.testing.assert_frame_equal(again, table, atol=1e-6)
    pd.testing.assert_frame_equal(queries, precisions, atol=1e-4)


@pytest.mark.parametrize("option", ["--seeds", "--splits"])
def test_impossible_numbers_are_refused(option, capsys):
    assert main(["ablate", "modules", option, "-1", "--dry-run"]) == 2
    assert f"{option[2:-1]}: " in capsys.readouterr().err


def test_nothing_is_written_of_nothing(tmp_path):
    with pytest.raises(MmaggaError, match="no run"):
        comparison.write(tmp_path, "none", cells(PAIR, TINY, runs=tmp_path))
    assert not list(tmp_path.iterdir())


def planted(gains, seeds=(0, 1, 2), persons=30, noise=0.02):
    """Results and precisions of rows that differ by known gains."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_tuples(
        [(0, q, q // 2) for q in range(2 * persons)], names=["split", "query", "pid"]
    )
    truth = rng.uniform(0.2, 0.6, len(index))
    columns = {
        (label, seed): truth + gain + 0.01 * seed + rng.normal(0, noise, len(index))
        for label, gain in gains.items()
        for seed in seeds
    }
    precisions = pd.DataFrame(columns, index=index).rename_axis(columns=["label", "seed"])
    results = pd.DataFrame(
        [
            {"label": label, "seed": seed, "split": 0, "dataset": "synthetic", "epochs": 3,
             "queries": 60, "identities": 30, "gallery": 90, "mAP": column.mean(), "rank-1": 0.5,
             "rank-5": 0.6, "rank-20": 0.7, "mINP": 0.3, "parameters": 1e6, "gflops": 2.0}
            for (label, seed), column in precisions.items()
        ]
    )  # fmt: skip
    return results, precisions


def test_a_planted_gain_is_found_and_a_tie_is_called_one():
    results, precisions = planted({"a": 0.0, "b": 0.1, "same as b": 0.1})
    lines = comparison.summary(results, precisions, ["a", "b", "same as b", "never run"])
    assert lines["n"].tolist() == [3, 3, 3, 0]
    b = lines.loc["b"]
    assert b["difference"] == pytest.approx(0.1, abs=0.01)
    assert b["difference_low"] > 0.08
    assert b["p"] < 0.001
    assert b["mAP sd"] == pytest.approx(results.loc[results["label"] == "b", "mAP"].std())
    assert lines["tie"].tolist() == [False, True, True, False]
    assert lines.loc["a", ["difference", "p"]].isna().all()
    assert lines.loc["never run"].drop(["n", "tie"]).isna().all()


@pytest.mark.parametrize("lacking", ["a", "b"])
def test_rows_are_compared_over_the_seeds_that_both_have(lacking):
    results, precisions = planted({"a": 0.0, "b": 0.1})
    fewer = precisions.drop(columns=[(lacking, 2)])
    there = (results["label"] != lacking) | (results["seed"] != 2)
    lines = comparison.summary(results[there], fewer, ["a", "b"])
    tables = [
        precisions[label][[0, 1]].mean(axis=1).rename("average_precision").reset_index()
        for label in ("b", "a")
    ]
    expected = paired_difference(*tables)
    assert lines.loc["b", "n"] == (2 if lacking == "b" else 3)
    assert lines.loc["b", "difference"] == pytest.approx(expected.difference)


def two_splits(gains, missing):
    """`planted` on two splits, on the second of which b gains 0.2 more; (label, seed, split)s."""
    _, precisions = planted(gains)
    late = (precisions.index.get_level_values("pid") >= 15).astype(int)
    precisions.index = pd.MultiIndex.from_tuples(
        [(split, *rest) for split, (_, *rest) in zip(late, precisions.index, strict=True)],
        names=precisions.index.names,
    )
    for seed in (0, 1, 2):
        precisions.loc[late == 1, ("b", seed)] += 0.2
    for label, seed, split in missing:
        precisions.loc[late == split, (label, seed)] = np.nan
    means = precisions.groupby("split").mean().stack(["label", "seed"], future_stack=True).dropna()
    results = means.rename("mAP").reset_index()
    others = ("rank-1", "rank-5", "rank-20", "mINP", "parameters", "gflops")
    return results.assign(**dict.fromkeys(others, 0.5)), precisions


def test_rows_are_compared_over_all_splits_though_a_seed_lacks_one():
    results, precisions = two_splits({"a": 0.0, "b": 0.1}, [("a", 1, 1), ("b", 1, 1)])
    lines = comparison.summary(results, precisions, ["a", "b"])
    assert lines.loc["b", "difference"] == pytest.approx(0.2, abs=0.01)


def test_a_missing_run_leaves_seeds_in_the_interval_and_the_mean_inside():
    whole = comparison.summary(*two_splits({"a": 0.0, "b": 0.0}, []), ["a", "b"])
    gap = comparison.summary(*two_splits({"a": 0.0, "b": 0.0}, [("b", 2, 1)]), ["a", "b"])
    widths = [lines.loc["b", "difference_high"] - lines.loc["b", "difference_low"]
              for lines in (whole, gap)]  # fmt: skip
    assert widths[1] > 0.8 * widths[0]
    assert gap.loc["b", "n"] == 4  # two seeds on two splits
    assert gap.loc["b", "low"] < gap.loc["b", "mAP"] < gap.loc["b", "high"]


def test_seeds_of_different_splits_are_not_averaged():
    missing = [(label, seed, 1 - seed) for label in "ab" for seed in (0, 1)]
    results, precisions = two_splits({"a": 0.0, "b": 0.1}, missing)
    two = precisions.drop(columns=[("a", 2), ("b", 2)])
    lines = comparison.summary(results[results["seed"] < 2], two, ["a", "b"])
    assert lines["n"].tolist() == [1, 1]
    assert not lines["mAP"].isna().any()


def test_what_cannot_be_told_from_the_best_is_a_tie():
    results, precisions = planted({"a": 0.0, "b": 0.1}, seeds=(0,))
    lines = comparison.summary(results, precisions.iloc[:, :0], ["a", "b"])
    assert lines["tie"].tolist() == [True, True]


def test_why_no_run_could_be_finished_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablations, "carry_out", lambda *_, **__: ["RUN: no data in ROOT"])
    words = ["--runs", str(tmp_path), "--out", str(tmp_path)]
    assert main(["ablate", "pooling", *words]) != 0
    assert "no data in ROOT" in capsys.readouterr().err


def test_cost_counts_no_classifier_and_every_frame():
    parameters, gflops = cost(TINY)
    for persons in (1, 9):
        model = build_model(TINY, persons)
        heads = sum(p.numel() for p in model.head.classifiers.parameters())
        assert sum(p.numel() for p in model.parameters()) - heads == parameters
    more, twice = cost(dataclasses.replace(TINY, frames=4))
    assert twice == pytest.approx(2 * gflops, rel=0.01)
    assert more > parameters  # the frame scores are a map of a whole clip
    before = torch.random.get_rng_state()
    cost(dataclasses.replace(TINY, height=256))
    assert torch.equal(before, torch.random.get_rng_state())


def test_epochs_of_the_study():
    assert total_epochs(STUDY) == 10
