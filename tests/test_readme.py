"""The README says what the committed results say, and its example runs."""

import dataclasses
import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import parity_weights as pw
import pytest
import torch
import trees
import tyro

from mmagga import config
from mmagga.__main__ import VERBS
from mmagga.cli.flags import parse
from mmagga.retrieval.uncertainty import holm
from mmagga.studies import comparison
from mmagga.studies.grids import GRIDS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "data" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MORE = (RESULTS / "README.md").read_text(encoding="utf-8")


def table(mark, text=README):
    """Rows of the table after a comment, by their first cell."""
    lines = text.split(f"<!-- {mark} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: [float(x) for x in numbers(" ".join(rest))] for name, *rest in rows}


def numbers(text):
    return re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-").replace("–", " "))


def test_it_is_short():
    words = [word for word in README.split() if any(c.isalnum() for c in word)]  # not | and ●
    assert len(words) <= 1500


@pytest.mark.parametrize("folder", [ROOT, RESULTS])
def test_what_it_points_to_is_there(folder):
    for target in re.findall(r"\]\(([^)#]+)\)", (folder / "README.md").read_text("utf-8")):
        if "://" not in target:
            assert (folder / target).exists(), target


def test_the_lines_of_the_first_hour_are_counted():
    tree = README.split("```\nmmagga/\n")[1].split("```")[0]
    files = []
    for line in tree.splitlines():
        folder = line.split()[0] if line.split()[0].endswith("/") else ""
        names = re.findall(r"(\w+)(?:\.py)? ●", line)
        files += [ROOT / "mmagga" / folder / f"{name}.py" for name in names]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert len(files) > 10
    assert f"({lines:,} lines)" in README


PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md", "data/results/README.md",
         "benchmarks/README.md"]  # fmt: skip


def commands(page, program):
    """Return what follows `program` in the code of a page, up to a comment."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    found = [line.split("#")[0].strip() for line in lines]
    return [line.removeprefix(program).strip() for line in found if line.startswith(f"{program} ")]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_are_those_of_the_command_line(page):
    found = commands(page, "python -m mmagga")
    assert found or page == "benchmarks/README.md"
    for line in found:
        words = shlex.split(line)
        verb = max(
            (v for v in VERBS if words[: len(v.split())] == v.split()), key=len, default=None
        )
        assert verb, line
        if "…" in line or "--help" in words:
            continue
        if verb == "train":
            parse(words[1:])
            continue

        @functools.wraps(VERBS[verb])
        def stub(*args, **options):
            pass

        tyro.cli(stub, args=words[len(verb.split()) :])


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_and_targets_are_there(page):
    for line in commands(page, "python"):
        name = line.split()[0]
        assert name == "-m" or (ROOT / name).is_file(), line
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for line in commands(page, "make"):
        words = [word for word in shlex.split(line) if "=" not in word]
        assert set(words) <= set(targets), line


def test_the_health_is_that_of_the_committed_runs():
    dead = pd.read_csv(RESULTS / "demo.csv").query("method == 'trained'")["dead"]
    assert f"{100 * dead.min():.0f}–{100 * dead.max():.0f} % in the demo's worst branch" in README
    random = pd.read_csv(RESULTS / "health-random.csv").groupby("label")["dead"].last()
    assert [f"{100 * share:.0f} %" in README for share in random] == [True, True]


@pytest.mark.parametrize("name", ["demo", "photographs"])
def test_the_scores_are_the_committed_ones(name):
    shown = table(name)
    results = pd.read_csv(RESULTS / f"{name}.csv")
    for method, runs in results[results["method"].isin(shown)].groupby("method"):
        wanted = [100 * runs["mAP"].mean(), 100 * runs["rank1"].mean()]
        found = shown[method]
        several = len(runs) > 1  # each mean is followed by its sd
        assert [found[0], found[1 + several]] == pytest.approx(wanted, abs=0.0501), method
    assert {"trained", "untrained", "camera-centred thumbnail"} <= shown.keys()


def test_the_module_study_is_the_committed_one():
    shown, path = table("modules"), RESULTS / "ablations-modules-short.csv"
    results = comparison.read(path)
    long = comparison.read(RESULTS / "ablations-modules-study.csv")
    short, long = (comparison.summary(*read, GRIDS["modules"].rows) for read in (results, long))
    dead = results[0].filter(like="dead_").groupby(results[0]["label"]).max().max(axis=1)
    for label, line in short.iterrows():
        columns = ["mAP", "mAP sd"] + [*comparison.DIFFERENCE[:3]] * (label != "baseline")
        wanted = [*line[columns].dropna(), dead[label], *long.loc[label, ["mAP", "mAP sd"]]]
        found = shown[label]
        assert found[:-3] == pytest.approx([100 * x for x in wanted[:-3]], abs=0.0501), label
        assert found[-3] == pytest.approx(100 * dead[label], abs=0.501), label
        assert found[-2:] == pytest.approx([100 * x for x in wanted[-2:]], abs=0.0501), label
    _, yardsticks = comparison.read_more(path)
    for row in yardsticks[yardsticks["method"] == "camera-centred thumbnail"].itertuples():
        assert shown[row.method] == pytest.approx([100 * row.mAP], abs=0.0501)


def test_the_attention_table_is_the_committed_one():
    shown, found = table("attention"), pd.read_csv(RESULTS / "attention.csv")
    arms = found.set_index(["arm", "measure", "branch", "occluder"])
    found = arms.loc["occluders"]
    interval, occluders = ["value", "low", "high"], ["filmed", "object", "person"]
    for name, measure, branch, columns in (
        ("GGA's weights minus uniform ones", "gain over uniform weights", "parts", interval),
        ("oracle weights within the bound, minus uniform ones", "gain over uniform weights",
         "parts", ["ceiling"]),
        ("what the occluder costs", "harm (AP)", "all", interval),
        ("of it, by changed weights", "harm (AP) through the weights", "all", interval),
    ):  # fmt: skip
        tried = occluders if branch == "all" else ["none", *occluders]
        wanted = [100 * found.loc[(measure, branch, o), c] for o in tried for c in columns]
        assert shown[name] == pytest.approx(wanted, abs=0.0501), name
    said = " ".join(README.split()).replace("−", "-")
    for arm, words in (("occluders", "{:.2f} nats ({:.2f} to {:.2f};"),
                       ("clear", "falls by {:.2f} ({:.2f} to {:.2f})")):  # fmt: skip
        line = -arms.loc[(arm, "response", "p3", "filmed"), ["value", "low", "high"]].astype(float)
        assert words.format(line["value"], line["high"], line["low"]) in said
    taught = arms.loc[("taught", "gain over uniform weights", "parts", "filmed"), "value"]
    assert f"loses {-100 * taught:.1f} points" in said


def test_the_words_on_the_module_study_are_those_of_its_results():
    said = " ".join(README.split()).replace("−", "-")
    for base, words in (("short", "significant (p ≥ {:.2f};"), ("study", "alone, p ≥ {:.2f})")):
        results = comparison.read(RESULTS / f"ablations-modules-{base}.csv")
        lines = comparison.summary(*results, GRIDS["modules"].rows)
        assert words.format(holm(lines["p"].dropna().to_numpy()).min()) in said
        if base == "short":
            same = 100 * comparison.against_itself(results[1]).sort_values("difference")
            ends = [*same.iloc[0, :3], *same.iloc[-1, :3]]
            span = "{:.1f} ({:.1f} to {:.1f}) to {:.1f} ({:.1f} to {:.1f})".format(*ends)
            assert f"first seed minus its others: from {span}" in said


def test_the_start_weights_have_the_scores_of_their_card():
    card = json.loads((ROOT / "mmagga/model/rendered_v1.json").read_text("utf-8"))["scores"]
    said = " ".join(README.split())
    assert f"has mAP {card['demo, people not seen']['RENDERED_V1']['mAP']} here" in said
    photographs = card["photographs, ten splits"]
    for method in ("RENDERED_V1", "thumbnail", "camera-centred thumbnail"):
        assert f"{photographs[method]['mAP']} ± {photographs[method]['mAP sd']}" in said


def test_what_was_tried_is_the_committed_table():
    shown = table("recipe", MORE)
    for row in pd.read_csv(RESULTS / "ablations-recipe-study.csv").itertuples():
        assert shown[row.label][0] == pytest.approx(100 * row.mAP, abs=0.0501)


@pytest.mark.slow
def test_the_example_runs(tiny, tmp_path, monkeypatch, capsys):
    code = README.split("```python\n")[1].split("```")[0]
    small = dataclasses.replace(
        config.DEMO, root=tiny, frames=2, ids_per_batch=2, workers=0, eval_every=0,
        stages=(config.StageConfig(1, 1e-4),),
    )  # fmt: skip
    monkeypatch.setattr(config, "DEMO", small)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('preset="demo"', 'preset="tiny"'), {})
    assert "mAP" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_for_own_data_run_in_a_clean_environment(tmp_path):
    """As printed, but for the folder, a smaller network and fewer epochs."""
    trees.mars(tmp_path / "mars")
    torch.save({"state_dict": pw.official_baseline()}, tmp_path / "mma.pth.tar")
    (block,) = [b for b in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if "mars" in b]
    small = (
        "--model.weights None --model.backbone resnet18 --frames 2 --height 128 --width 64 "
        "--ids-per-batch 2 --clips-per-id 2 --workers 0 --stages 1:1e-4:all "
    )
    script = block.replace("/data/mars", "mars").replace("mars-mmagga-...", "mars-mmagga-*")
    script = script.replace("train paper", f"train paper {small}")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mAP") >= 3  # of the run at its end, of the run again, of the authors'
