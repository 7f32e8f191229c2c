"""The tables: the paper's layout, escaping, and that they are what the results say."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_ablations import planted

from mmagga.config import PAPER, to_dict, total_epochs
from mmagga.figures.table import Table
from mmagga.runs import Run
from mmagga.studies.grids import GRIDS, Grid
from mmagga.studies.tables import (
    ablation_table,
    all_tables,
    files,
    ledger_table,
    paper_results,
    paper_table,
    write_all,
)

DATA = Path(__file__).parents[2] / "data"
NOTHING = pd.DataFrame()


@pytest.fixture(scope="module")
def published():
    return pd.read_csv(DATA / "published" / "paper_tables.csv")


# --- committed tables ---------------------------------------------------------------------------


def differing(results):
    return [p.name for p, text in files(results).items() if p.read_text("utf-8") != text]


def test_committed_tables_are_those_of_the_committed_results():
    results = DATA / "results"
    assert not differing(results), "run `python -m mmagga tables`"
    there = {path.name for path in (results / "tables").iterdir()}
    assert there == {path.name for path in files(results)}


def test_a_changed_number_is_noticed(tmp_path):
    shutil.copytree(DATA / "published", tmp_path / "published")
    shutil.copytree(DATA / "results", tmp_path / "results")
    assert not differing(tmp_path / "results")
    path = tmp_path / "published" / "paper_tables.csv"
    path.write_text(path.read_text().replace("85.9,88.8", "85.8,88.8"))
    assert differing(tmp_path / "results") == ["paper-II.md", "paper-II.tex"]
    path = tmp_path / "results" / "ablations-modules-study.csv"
    table = pd.read_csv(path)
    table.loc[0, "mINP"] += 0.01
    table.to_csv(path, index=False)
    assert {f"{path.stem}.md", f"{path.stem}.tex"} < set(differing(tmp_path / "results"))
    write_all(tmp_path / "results", tmp_path / "runs")
    assert not differing(tmp_path / "results")


# --- the paper's --------------------------------------------------------------------------------


def test_the_papers_numbers_stand_in_its_layout(published):
    table = paper_table("II", published, NOTHING)
    assert table.cells.columns[:4].tolist() == [
        ("", "Methods"), ("", "Source"), ("MARS", "mAP"), ("MARS", "R-1"),
    ]  # fmt: skip
    assert table.cells.columns[-4:].tolist() == [
        ("iLIDS-VID", head) for head in ("R-1", "R-5", "R-20", "mINP")
    ]
    cells = table.cells.set_index(("", "Methods"))
    for row in published[published["table"] == "II"].itertuples():
        for head, value in (("mAP", row.mAP), ("R-1", row.rank1), ("R-20", row.rank20)):
            if (row.dataset, head) in cells.columns:
                shown = cells.at[row.method, (row.dataset, head)]
                assert shown == ("–" if pd.isna(value) else f"{value:.1f}")
    assert cells.index[-2:].tolist() == ["MMA-GGA", "this kit"]
    assert table.rules == (len(cells) - 2, len(cells) - 1)
    assert set(cells.iloc[-1, 1:]) == {"–"}, "nothing of ours where nothing was run"


def test_the_three_best_are_marked_and_equals_share_a_place(published):
    table = paper_table("II", published, NOTHING)
    marks = table.marks.set_index(table.cells["", "Methods"])["MARS", "R-1"]
    assert marks[marks != ""].to_dict() == {
        "GRL": "first", "MMA-GGA": "first", "ASTA-NET": "second", "AP3D": "third",
    }  # fmt: skip
    assert (table.marks["MARS", "mINP"] == "").all(), "one number is no contest"


def save_run(runs, dataset, queries, split=0, mAP=0.8):
    """A folder as a finished and evaluated run leaves it."""
    config = dataclasses.replace(PAPER, dataset=dataset, split=split)
    run = Run.of(config, runs)
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text(json.dumps(to_dict(config)))
    ranks = {f"rank-{k}": 0.9 for k in (1, 5, 10, 20)}
    run.save_metrics(
        {"epoch": total_epochs(config), "step": 1, "mAP": mAP, "mINP": 0.6, "queries": queries,
         "valid_queries": queries, "identities": queries, "gallery": queries} | ranks
    )  # fmt: skip
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "00000001.json").write_text("{}")
    rows = range(queries)
    table = pd.DataFrame({"query": rows, "pid": rows, "average_precision": mAP})
    table.to_csv(run.folder / "queries.csv", index=False)
    return run


def test_our_row_stands_where_a_run_on_that_test_set_exists(published, tmp_path):
    run = save_run(tmp_path, "mars", 1980, mAP=0.812)
    save_run(tmp_path, "prid2011", 24)  # other people in PRID 2011's layout
    ours = paper_results(tmp_path)
    assert ours["run"].tolist() == [run.folder.name]
    table = paper_table("II", published, ours)
    last = table.cells.iloc[-1]
    assert last["MARS", "mAP"] == "81.2"
    assert last["iLIDS-VID", "R-1"] == "–"
    assert last["", "Source"].startswith(run.folder.name)
    assert any(run.folder.name in note and "81.2–81.2" in note for note in table.notes)
    assert (table.marks.iloc[-1] == "").all()
    assert paper_table("III", published, ours).cells.iloc[-1]["", "Source"] == "not run"


def test_runs_of_other_machines_stay_in_the_results(tmp_path):
    shutil.copytree(DATA / "published", tmp_path / "published")
    (tmp_path / "results").mkdir()
    for name, mAP in (("here", 0.8), ("there", 0.9)):
        save_run(tmp_path / name, "mars", 1980, split=int(name == "there"), mAP=mAP)
        write_all(tmp_path / "results", tmp_path / name)
    write_all(tmp_path / "results", tmp_path / name)
    assert pd.read_csv(tmp_path / "results/paper_sets.csv")["mAP"].tolist() == [0.8, 0.9]


def test_splits_are_averaged_and_counted(published, tmp_path):
    for split, mAP in enumerate((0.8, 0.9)):
        save_run(tmp_path, "ilids_vid", 150, split, mAP)
    last = paper_table("II", published, paper_results(tmp_path)).cells.iloc[-1]
    assert last["iLIDS-VID", "R-1"] == "90.0 ± 0.0"
    assert last["", "Source"].endswith("2 of 10 splits")


# --- ablations ----------------------------------------------------------------------------------


def test_an_ablation_says_what_is_there_and_how_to_get_the_rest():
    results, precisions = planted({"baseline": 0.0, "+ MMA": 0.1, "MMA-GGA": 0.1})
    table = ablation_table("modules", "study", results, precisions)
    cells = table.cells.set_index("")
    assert cells.index.tolist() == list(GRIDS["modules"].rows)
    assert cells.loc["+ MMA", ["MMA", "GGA"]].tolist() == ["✓", ""]
    assert cells.loc["baseline", "Δ mAP (95 %)"] == "–"
    assert cells.loc["+ MMA", "Δ mAP (95 %)"].startswith("+10.")
    assert set(cells.loc["+ GGA"].drop(["MG", "MMA", "GGA"])) == {"–"}
    assert "+ GGA" in table.notes[0]
    assert table.notes[0].endswith("python -m mmagga ablate modules --base study")
    assert table.marks["mAP"].tolist() == ["", "", "bold", "", "bold"]


def test_a_row_that_fails_the_gate_says_so_and_what_learns_nothing_stands_below():
    results, precisions = planted({"baseline": 0.5, "+ MMA": 0.5, "+ MG": 0.5})
    results = results.assign(dead_p1=[0.9 if x == "+ MMA" else 0.1 for x in results["label"]])
    results = results.assign(guide=np.nan, last_fifth=0.0)
    results["mAP"] = 0.9
    thumbnail = pd.DataFrame({"method": ["thumbnail"], "mAP": [0.3], "rank-1": [0.2]})
    table = ablation_table("modules", "study", results, precisions, yardsticks=thumbnail)
    cells = table.cells.set_index("")
    assert cells["gate"].tolist() == ["✓", "✓", "no", "", "", ""]
    assert cells.loc["thumbnail", ["mAP", "rank-1"]].tolist() == ["30.0", "20.0"]
    notes = " ".join(table.notes)
    assert "+ MMA: excluded by the gate (90% of the units of branch p1 are dead)" in notes
    assert "MMA, without GGA: " in notes
    assert "A row against itself" in notes or results["seed"].nunique() < 3


def test_a_command_for_a_real_set_names_it():
    results, precisions = planted({"baseline": 0.0})
    table = ablation_table("modules", "mars", results, precisions)
    assert table.notes[0].endswith("ablate modules --base paper --dataset mars")


# --- forms --------------------------------------------------------------------------------------

EVIL = r"<img src=x onerror=alert(1)> $\foo$_&%#^~{}|*`[a](b) --x"


@pytest.fixture
def evil():
    cells = pd.DataFrame({EVIL: [EVIL, "[b]"], "n": ["1", "2"]})
    return Table(cells, cells.map(lambda _: "first"), EVIL, (EVIL,), rules=(1,))


def test_html_is_escaped(evil):
    page = evil.html()
    assert "<img" not in page
    assert page.count("&lt;img") == 4  # caption, head, cell, note
    assert "mathjax_ignore" in page
    assert evil.html() == page


def test_marks_of_html_are_tags():
    cells = pd.DataFrame({"a": ["<1", "2"]})
    page = Table(cells, pd.DataFrame({"a": ["bold", "second"]}), "caption").html()
    assert "<b>&lt;1</b>" in page
    assert "<u>2</u>" in page


def test_markdown_is_escaped(evil):
    text = evil.markdown()
    assert "<img" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {3}
    assert r"\$\\foo\$\_&amp;%\#^\~{}\|\*\`\[a\](b)" in rows[0]


def test_latex_is_escaped(evil):
    text = evil.latex()
    evils = [line for line in text.splitlines() if "foo" in line and "centering" not in line]
    assert len(evils) == 4  # caption, head, cell, note
    for line in evils:
        assert re.search(r"textbackslash(\{\})? ?foo\\\$", line)
        assert not re.search(r"(?<!\\)[$#%&_]", line.replace(" & ", ""))
    assert r"\textbackslash" in text
    lines = text.splitlines()
    assert lines.count(r"\midrule") == 2
    assert {"\\toprule", "\\bottomrule"} <= set(lines)
    assert "-{}-x" in text


def test_labels_of_a_grid_are_escaped_too():
    results, precisions = planted({EVIL: 0.0, "other": 0.1})
    grid = Grid(EVIL, {EVIL: {}, "other": {}})
    table = ablation_table("x", "demo", results, precisions, grid=grid)
    assert "<img" not in table.html() + table.markdown()


def test_every_form_of_every_table_can_be_made():
    for table in all_tables(DATA / "results").values():
        assert table.html().count("<tr") >= len(table.cells)
        assert table.markdown().count("\n| ") >= len(table.cells)
        assert table.latex().isascii()


def test_a_ledger_marks_the_papers_row():
    columns = {"mAP_low": 0.4, "mAP_high": 0.6, "rank-1": 0.5, "rank-5": 0.6, "mINP": 0.2}
    counts = {"valid_queries": 57, "dropped_queries": 0, "gallery": 99}
    paper = {"convention": "paper", "mAP": 0.512, "rank-20": None, "is_paper": True,
             "changes": "as is", "used_by": "them"}  # fmt: skip
    other = paper | {"convention": "a|b", "mAP": 0.6, "difference": 0.088, "is_paper": False}
    frame = pd.DataFrame([row | columns | counts for row in (paper, other)])
    frame = frame.assign(difference_low=float("nan"), difference_high=float("nan"))
    table = ledger_table(frame, "a set")
    assert table.cells["mAP"].tolist() == ["51.2", "60.0"]
    assert table.cells["rank-20"].tolist() == ["–", "–"]
    assert table.cells["Δ mAP (95 %)"].tolist() == ["–", "+8.8"]
    assert table.cells["queries"].tolist() == ["57", "57"]
    assert (table.marks.iloc[0] == "bold").all()
    assert (table.marks.iloc[1] == "").all()
    assert r"a\|b: as is. Used by: them." in table.markdown()
