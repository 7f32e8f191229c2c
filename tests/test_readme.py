"""The README says what the committed results say."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["demo", "real_photographs"])
def test_the_tables_are_the_committed_results(name):
    results = pd.read_csv(ROOT / "data" / "results" / f"{name}.csv")
    section = README.split(f"data/results/{name}.csv")[1].split("\n\n")[1]
    for method, runs in results.groupby("method"):
        (line,) = [s for s in section.splitlines() if s.startswith(f"| {method} ")]
        said = [float(x) for x in re.findall(r"\d+\.\d", line)]
        percent = 100 * runs[["mAP", "rank1"]]
        wanted = [*percent["mAP"].agg(["mean", "std"]), *percent["rank1"].agg(["mean", "std"])]
        assert said == pytest.approx(wanted, abs=0.0501), method
    assert set(results["method"]) == {"trained", "untrained", "colour histogram"}


def test_what_the_readme_points_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_protocols_are_the_committed_ledger():
    ledger = pd.read_csv(ROOT / "data" / "results" / "ledger-demo.csv").set_index("convention")
    paper, without = ledger.loc["paper"], ledger.loc["queries not searched"]
    (paragraph,) = [s for s in README.split("\n\n") if s.startswith("**Protocols**")]
    said = " ".join(paragraph.split())
    assert f"mAP from {100 * paper['mAP']:.1f} to {100 * without['mAP']:.1f}" in said
    assert f"drops {without['dropped_queries']} of {paper['valid_queries']} queries" in said
    trapezoid, reranked = ledger["difference"][["trapezoid AP", "re-ranking"]]
    assert f"costs {-100 * trapezoid:.1f} points" in said
    assert f"changes −{-100 * reranked:.1f}" in said
    assert f"would claim {100 * ledger.loc['best on test', 'difference']:.1f} more" in said
    photographs = pd.read_csv(ROOT / "data" / "results" / "ledger-real_photographs.csv")
    first, mean = photographs.set_index("convention")["mAP"][["split 0", "all splits"]]
    assert f"alone gives {100 * first:.1f}, the mean of three {100 * mean:.1f}" in said


def test_the_ablation_is_the_committed_one():
    from mmagga.studies import comparison
    from mmagga.studies.grids import GRIDS

    path = ROOT / "data" / "results" / "ablations-modules-study.csv"
    summary = comparison.summary(*comparison.read(path), GRIDS["modules"].rows)
    section = README.split("**What the parts earn**")[1].split("\n\n")[1]
    for label, row in summary.iterrows():
        (line,) = [s for s in section.splitlines() if s.startswith(f"| {label} ")]
        assert f"{100 * row['mAP']:.1f} ± {100 * row['mAP sd']:.1f}" in line
        if label != "baseline":
            wanted = row[["difference", "difference_low", "difference_high"]]
            said = [float(x.replace("−", "-")) for x in re.findall(r"[−+]\d+\.\d", line)]
            assert said == pytest.approx(100 * wanted, abs=0.0501)
