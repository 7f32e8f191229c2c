"""The tables: the paper's with our rows, the ablations, the ledger. Results in, `Table`s out.

`write_all` makes every file in data/results/tables from the CSV files beside it. The paper's own
ablation numbers are not public here, so none is printed.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.config import config_hash
from mmagga.errors import DataError
from mmagga.figures.table import Table
from mmagga.runs.run import RUNS, list_runs
from mmagga.studies import comparison
from mmagga.studies.ablations import Cell
from mmagga.studies.comparison import MEASURES
from mmagga.studies.gate import failures
from mmagga.studies.grids import BASES, GRIDS, TUNING, Grid
from mmagga.system.files import write_csv, write_text

NONE = "–"
MADE_BY = "made by `python -m mmagga tables`; change the results, not this file"
PLACES = ("first", "second", "third")
HEADS = {"mAP": "mAP", "rank1": "R-1", "rank5": "R-5", "rank20": "R-20", "mINP": "mINP"}
"""Column of the published tables: its head in the paper."""

PAPER_SETS = {
    "mars": ("MARS", 1980, 1),
    "ilids_vid": ("iLIDS-VID", 150, 10),
    "duke_video": ("DukeMTMC-VideoReID", 702, 1),
    "prid2011": ("PRID2011", 89, 10),
}
"""Our name of a data set: the paper's, its queries, its splits. Another number of queries is
another test set in the same layout, and has no place in the paper's tables."""


# --- the paper's tables -------------------------------------------------------------------------


def paper_table(number: str, published: pd.DataFrame, ours: pd.DataFrame) -> Table:
    """Return Table II or III in the paper's layout, with our runs below it.

    `published` is data/published/paper_tables.csv, in percent; `ours` is `paper_results`. Marks
    count the published rows alone, and equal numbers share a place.
    """
    sources = published.drop_duplicates("method").set_index("method")["source"]
    sources = sources.sort_values(key=lambda source: source == "paper", kind="stable")
    published = published[published["table"] == number]
    methods = [method for method in sources.index if method in set(published["method"])]
    columns = {
        (name, HEADS[measure]): (name, measure)
        for name in published["dataset"].unique()
        for measure in HEADS
        if published.loc[published["dataset"] == name, measure].notna().any()
    }
    wide = published.pivot(index="method", columns="dataset", values=list(HEADS))
    values = pd.DataFrame({head: wide[name[::-1]] for head, name in columns.items()}).loc[methods]
    texts = values.map(lambda value: NONE if np.isnan(value) else f"{value:.1f}")
    own = _own_rows(ours, columns)
    cells = pd.concat([texts.reset_index(drop=True), own], ignore_index=True)[[*columns]]
    cells.insert(0, ("", "Methods"), [*methods, *own["", "Methods"]])
    cells.insert(1, ("", "Source"), [*sources[methods], *own["", "Source"]])
    marks = pd.DataFrame("", index=cells.index, columns=cells.columns)
    for head in columns:
        marks.loc[: len(values) - 1, head] = _places(values[head])
    caption = (
        f"Table {number} of the MMA-GGA paper, in percent. Bold (red), underlined (blue) and "
        f"italic: the three best published numbers of a column. {NONE}: not given, or not run."
    )
    rules = (len(values) - 1, len(values))
    return Table(cells, marks, caption, _own_notes(ours, columns), rules, texts=2)


def _places(column: pd.Series) -> list[str]:
    """Mark the three best; a column of fewer numbers is no contest."""
    if column.count() < len(PLACES):
        return [""] * len(column)
    ranks = column.rank(method="dense", ascending=False)
    return [PLACES[int(r) - 1] if r <= len(PLACES) else "" for r in ranks]


def paper_results(runs: Path = RUNS) -> pd.DataFrame:
    """Find the finished, evaluated runs on the paper's data sets; see `comparison.results`.

    A run's label is its configuration without seed and split, so that splits can be averaged.
    """
    cells = []
    for run in list_runs(runs):
        _, queries, _ = PAPER_SETS.get(run.folder.name.rsplit("-", 2)[0], ("", None, 0))
        if queries and run.load_metrics().get("queries") == queries:
            config = run.load_config()
            cells.append(Cell(config_hash(replace(config, seed=0, split=0)), config, run))
    return comparison.results(cells)


def _own_rows(ours: pd.DataFrame, columns: Mapping) -> pd.DataFrame:
    """Return one row for each configuration of ours, or one of dashes."""
    rows = []
    for (dataset, _), runs in ours.groupby(["dataset", "label"]) if len(ours) else ():
        name, _, splits = PAPER_SETS[dataset]
        row = dict.fromkeys(columns, NONE)
        for measure, key in zip(HEADS, MEASURES, strict=True):
            if (name, HEADS[measure]) in row:
                row[name, HEADS[measure]] = _mean(100 * runs[key])
        if name in {head for head, _ in columns}:
            first, done = runs.iloc[0], runs["split"].nunique()
            source = f"{first['run']}, {first['date']}"
            source += f", {done} of {splits} splits" if splits > 1 else ""
            rows.append(row | {("", "Methods"): "this kit", ("", "Source"): source})
    missing = {("", "Methods"): "this kit", ("", "Source"): "not run"}
    return pd.DataFrame(rows or [dict.fromkeys(columns, NONE) | missing])


def _own_notes(ours: pd.DataFrame, columns: Mapping) -> tuple[str, ...]:
    names = {name for name, _ in columns}
    shown = [run for run in ours.itertuples() if PAPER_SETS[run.dataset][0] in names]
    return tuple(
        f"{run.run}, seed {run.seed}, split {run.split}: mAP {100 * run.mAP:.1f}, 95 % interval "
        f"over persons {100 * run.mAP_low:.1f}–{100 * run.mAP_high:.1f}."
        for run in shown
    )


# --- ablations ----------------------------------------------------------------------------------


def ablation_table(
    name: str,
    base: str,
    results: pd.DataFrame,
    precisions: pd.DataFrame,
    *,
    yardsticks: pd.DataFrame | None = None,
    grid: Grid | None = None,
) -> Table:
    """Return the table of a grid: ticks, means and sds, the difference to the first row, the cost.

    `results`, `precisions` and `yardsticks` as `comparison` returns them; with `yardsticks` the
    gate of `mmagga.studies.gate` says which rows are trained enough. `grid` for one that is not in
    `GRIDS`.
    """
    grid = grid or GRIDS[name]
    lines = comparison.summary(results, precisions, grid.rows)
    reasons = {} if yardsticks is None else failures(results, yardsticks)
    rows = []
    for label, line in lines.iterrows():
        runs = results[results["label"] == label]
        row = {"": label} | {tick: "✓" if label in has else "" for tick, has in grid.ticks.items()}
        row |= {measure: _mean(100 * runs[measure]) for measure in MEASURES}
        row |= {"n": str(len(runs)) if len(runs) else NONE}
        row |= {"Δ mAP (95 %)": _difference(line), "p": _p(line["p"])}
        row |= {
            "params (M)": _number(line["parameters"] / 1e6, 2),
            "GFLOPs": _number(line["gflops"], 2),
        }
        if reasons:
            row["gate"] = "no" if reasons.get(label) else "✓" if label in reasons else ""
        rows.append(row)
    cells = pd.DataFrame(rows + _without_learning(yardsticks)).fillna("")
    marks = pd.DataFrame("", index=cells.index, columns=cells.columns)
    marks.loc[: len(lines) - 1, "mAP"] = np.where(lines["tie"], "bold", "")
    failed = {label: "; ".join(why) for label, why in reasons.items() if why}
    gate = tuple(f"{label}: excluded by the gate ({why})." for label, why in failed.items())
    notes = (
        *_missing(name, base, lines), *gate, *_comparisons(results, precisions, grid), *READING,
        f"Δ is to {lines.index[lines['n'] > 0][0]}.",
    )  # fmt: skip
    of = f"Base {base}. " if base in BASES else ""
    return Table(cells, marks, f"{grid.question} {of}{_conditions(results)}", notes)


def _without_learning(yardsticks: pd.DataFrame | None) -> list[dict[str, str]]:
    """Return a row for each non-learned baseline."""
    if yardsticks is None:
        return []
    methods = yardsticks.groupby("method", sort=False)
    return [
        {"": name} | {measure: _mean(100 * runs[measure]) for measure in ("mAP", "rank-1")}
        for name, runs in methods
    ]


def _comparisons(results: pd.DataFrame, precisions: pd.DataFrame, grid: Grid) -> tuple[str, ...]:
    """Put the grid's contrasts, and each row against itself, into words."""
    notes = [OVER_PERSONS if len(precisions.columns) else SEEDS_ALONE]
    notes += [
        f"{name}: {_difference(line)}, p {_p(line['p'])}."
        for name, line in comparison.contrasts(results, precisions, grid.contrasts).iterrows()
    ]
    same = comparison.against_itself(precisions)
    if len(same):
        rows = "; ".join(f"{label} {_difference(line)}" for label, line in same.iterrows())
        notes.append(f"A row against itself, its first seed minus the others: {rows}.")
    return tuple(notes)


OVER_PERSONS = (
    "Intervals and p compare query by query and are over persons and seeds; where a row has one "
    "run, over persons alone. p is not corrected for the number of rows."
)
SEEDS_ALONE = (
    "Per-query results were not saved: intervals and p are Student's over the seeds alone and do "
    "not cover other persons. p is not corrected for the number of rows."
)
READING = (
    "Percent, mean ± sd over n runs. Bold: the best mAP, and every one not clearly below it.",
    "Parameters without classifiers. GFLOPs to embed one clip; an addition and a multiplication "
    "are two. The paper's own ablation numbers are not public, so none is shown.",
)


def _conditions(results: pd.DataFrame) -> str:
    first, epochs = results.iloc[0], sorted(results["epochs"].unique())
    seeds = ", ".join(map(str, sorted(results["seed"].unique())))
    return (
        f"Data set {first['dataset']}: {first['queries']} queries of {first['identities']} "
        f"persons, {first['gallery']} tracklets searched. "
        f"Epochs: {'–'.join(map(str, dict.fromkeys((epochs[0], epochs[-1]))))}. Seeds: {seeds}."
    )


def _missing(name: str, base: str, lines: pd.DataFrame) -> tuple[str, ...]:
    rows = lines.index[lines["n"] < lines["n"].max()]
    if rows.empty:
        return ()
    option = base if base in BASES else f"paper --dataset {base}"
    command = f"python -m mmagga ablate {name} --base {option}"
    if name in TUNING:
        command += " --root data/synthetic-tuning --seeds 0"
    return (f"Not all runs of {', '.join(rows)} are there; they come with: {command}",)


def _mean(percent: pd.Series) -> str:
    if percent.empty or percent.isna().all():
        return NONE
    sd = f" ± {percent.std():.1f}" if len(percent) > 1 else ""
    return f"{percent.mean():.1f}{sd}"


def _difference(line: pd.Series) -> str:
    if np.isnan(line["difference"]):
        return NONE
    middle, low, high = (100 * line[f"difference{end}"] for end in ("", "_low", "_high"))
    ends = "" if np.isnan(low) else f" ({low:+.1f} to {high:+.1f})"
    return f"{middle:+.1f}{ends}".replace("-", "−")


def _p(p: float) -> str:
    if np.isnan(p):
        return NONE
    return "< 0.0001" if p < 0.00005 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _number(value: float, digits: int) -> str:
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


# --- the ledger ---------------------------------------------------------------------------------


def ledger_table(ledger: pd.DataFrame, of: str) -> Table:
    """Return a protocol ledger of `mmagga.studies.ledger`; `of` names the network and the set."""
    rows = []
    for line in ledger.astype({"is_paper": bool}).to_dict("records"):
        line = {name: np.nan if value is None else value for name, value in line.items()}
        row = {"convention": line["convention"] + (" (the paper's)" if line["is_paper"] else "")}
        row |= {name: _percent(line[name]) for name in MEASURES}
        ends = [_percent(line[name]) for name in ("mAP_low", "mAP_high")]
        row["95 % of mAP"] = NONE if NONE in ends else NONE.join(ends)
        row["Δ mAP (95 %)"] = _difference(pd.Series(line))
        counts = {"queries": "valid_queries", "dropped": "dropped_queries", "gallery": "gallery"}
        row |= {head: _number(line[name], 0) for head, name in counts.items()}
        rows.append(row)
    cells = pd.DataFrame(rows)
    paper = ledger["is_paper"].to_numpy(bool)[:, None]
    bold = np.broadcast_to(np.where(paper, "bold", ""), cells.shape)
    marks = pd.DataFrame(bold, cells.index, cells.columns)
    words = ledger[["convention", "changes", "used_by"]].itertuples(index=False)
    notes = tuple(f"{name}: {changes}. Used by: {used_by}." for name, changes, used_by in words)
    caption = (
        f"One network, every convention: {of}. Percent; Δ is to the paper's convention, over the "
        "queries that both score."
    )
    return Table(cells, marks, caption, notes)


def _percent(share: float) -> str:
    return _number(100 * share, 1)


# --- attention ----------------------------------------------------------------------------------

ATTENTION = {
    "response, filmed": ("response", "filmed", 1, 2),
    "response, object": ("response", "object", 1, 2),
    "response, person": ("response", "person", 1, 2),
    "gain, no occluder": ("gain over uniform weights", "none", 100, 1),
    "gain, filmed": ("gain over uniform weights", "filmed", 100, 1),
    "gain, object": ("gain over uniform weights", "object", 100, 1),
    "gain, person": ("gain over uniform weights", "person", 100, 1),
    "extra, filmed": ("extra gain under an occluder", "filmed", 100, 1),
    "extra, object": ("extra gain under an occluder", "object", 100, 1),
}
"""Column: measure, occluder, unit, digits."""


def attention_table(study: pd.DataFrame, verdicts: pd.DataFrame) -> Table:
    """Return what benchmarks/attention_study.py found: a row for each arm and branch."""
    by_row = study.set_index(["arm", "branch", "measure", "occluder"])
    pooled = verdicts[(verdicts["run"] == "pooled") & (verdicts["occluder"] == "all")]
    rows = []
    for words in pooled.astype(object).fillna("").itertuples():
        row = {"arm": words.arm, "branch": words.branch}
        for head, (measure, occluder, unit, digits) in ATTENTION.items():
            key = words.arm, words.branch, measure, occluder
            known = key in by_row.index
            row[head] = _range(unit * _numbers(by_row.loc[key]), digits) if known else NONE
        row |= {"reacts": words.reacts or NONE, "helps": words.helps or NONE}
        row |= {"helps more": words.helps_more or NONE, "guide": words.guide or NONE}
        row["purity"] = _number(words.purity, 2) if words.purity != "" else NONE
        rows.append(row)
    cells = pd.DataFrame(rows)
    marks = pd.DataFrame("", index=cells.index, columns=cells.columns)
    arms = "; ".join(f"{arm}: {ARMS[arm]}" for arm in cells["arm"].unique() if arm in ARMS)
    rules = np.flatnonzero(cells["arm"] != cells["arm"].shift())[1:]
    caption = "Does GGA down-weight occluders, and does that help? Networks of an arm are pooled."
    notes = (f"Arms: {arms}.", *ATTENTION_READING)
    return Table(cells, marks, caption, notes, tuple(rules.tolist()), texts=2)


ARMS = {
    "occluders": "networks trained on rendered people with occluders",
    "clear": "networks trained on the same people without occluders",
    "taught": "one of them, whose scoring layers learned from masks to ignore occluders, at "
    "temperature 0.1",
    "shuffled": "trained on shuffled labels",
    "photographs": "trained on real photographs",
}
ATTENTION_READING = (
    "Mean, 95 % interval over persons and networks; in brackets what weights from the masks (the "
    "soft oracle) reach within the bound of the network's temperature. No interval is printed for "
    "fewer than 20 persons.",
    "Response, in nats: change of ln a for a token that is covered as a whole, minus that under a "
    "placebo; threshold −0.02. Gain: points of mAP over uniform weights; extra: with the occluder "
    "minus with the placebo; threshold: the larger of 1 point and a quarter of the oracle's gain. "
    "Guide: whether another person's guide moves the weights (guided) or not (fixed template). "
    "Purity, 0 to 1: share of what a token reads that lies in its own band.",
    "Verdicts are those for filmed occluders or, where nothing was filmed, the weaker of those for "
    "objects and persons. Reacts: the weakest of three, for the response itself (the only one "
    "printed), minus that of the untrained network, and minus that of new scoring layers. Helps: "
    "gain; helps more: extra gain. On photographs the mAP leaves little room for a gain.",
    "supported: the interval lies beyond the threshold, after Holm's correction; too small to "
    "matter: an effect below it; shown to be absent: the interval excludes an effect of that size, "
    "harm included; cannot tell: the interval contains the threshold, the oracle's gain is below "
    "it, or there are fewer than 20 persons.",
)


def _numbers(line: pd.Series) -> pd.Series:
    return line[["value", "low", "high", "ceiling"]].astype(float)


def _range(line: pd.Series, digits: int) -> str:
    middle, low, high = (f"{line[name]:.{digits}f}" for name in ("value", "low", "high"))
    best = f" [{line['ceiling']:.{digits}f}]" if np.isfinite(line["ceiling"]) else ""
    ends = f" ({low} to {high})" if np.isfinite(line["low"]) else ""
    return f"{middle}{ends}{best}".replace("-", "−")


# --- files --------------------------------------------------------------------------------------


def all_tables(results: Path) -> dict[str, Table]:
    """Make every table that the results allow; `results` is data/results."""
    results = Path(results)
    path = results.parent / "published" / "paper_tables.csv"
    if not path.exists():
        raise DataError(
            f"{path}, the paper's numbers, is missing: give --results of a clone of the repository"
        )
    published = pd.read_csv(path)
    own = results / "paper_sets.csv"
    ours = pd.read_csv(own) if own.exists() else pd.DataFrame()
    tables = {f"paper-{number}": paper_table(number, published, ours) for number in ("II", "III")}
    for path in sorted(results.glob("ablations-*-*.csv")):
        _, name, base, *rest = path.stem.split("-")
        if not rest:
            tables[path.stem] = _ablation(name, base, path)
    for path in sorted(results.glob("ledger*.csv")):
        tables[path.stem] = ledger_table(pd.read_csv(path), path.stem)
    found = sorted(results.glob("attention*_verdicts.csv"))
    if found:
        studies = [path.with_name(path.name.replace("_verdicts", "")) for path in found]
        both = [pd.concat(map(pd.read_csv, paths)) for paths in (studies, found)]
        tables["attention"] = attention_table(*both)
    return tables


def _ablation(name: str, base: str, path: Path) -> Table:
    _, yardsticks = comparison.read_more(path)
    return ablation_table(name, base, *comparison.read(path), yardsticks=yardsticks)


def files(results: Path) -> dict[Path, str]:
    """Return the path and the text of every file of tables."""
    texts = {}
    for name, table in all_tables(results).items():
        path = Path(results) / "tables" / name
        texts[path.with_suffix(".md")] = f"<!-- {MADE_BY} -->\n\n{table.markdown()}"
        texts[path.with_suffix(".tex")] = f"% {MADE_BY}\n{table.latex()}"
    return texts


def write_all(results: Path, runs: Path = RUNS) -> list[Path]:
    """Write every file of tables, our runs on the paper's data sets with them; return the paths."""
    found, path = paper_results(runs), Path(results) / "paper_sets.csv"
    if len(found):
        if path.exists():  # runs of other machines stay
            before = pd.read_csv(path)
            found = pd.concat([before[~before["run"].isin(found["run"])], found])
        write_csv(path, found.round(6))
    texts = files(results)
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
