"""Tables of the finished runs of an ablation: a row per run, per query, or per row of the grid."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mmagga.config import config_hash
from mmagga.data import load_for
from mmagga.errors import MmaggaError
from mmagga.retrieval import (
    PairedDifference,
    Protocol,
    bootstrap,
    evaluate,
    paired_difference,
)
from mmagga.retrieval.uncertainty import Interval, crossed_difference, crossed_interval
from mmagga.retrieval.yardsticks import yardsticks
from mmagga.studies.ablations import Cell, cost
from mmagga.system.files import read_csv, write_csv

MEASURES = ("mAP", "rank-1", "rank-5", "rank-20", "mINP")


def results(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return one row for each finished and evaluated run; measures and interval are fractions.

    A rank past the end of the gallery is NaN.
    `parameters` and `gflops` are those of `cost`, `date` is the day of the evaluation in UTC.
    """
    rows = []
    for cell in cells:
        if not cell.is_evaluated():
            continue
        config, metrics = cell.config, cell.run.load_metrics()
        interval = bootstrap(read_csv(cell.queries))
        parameters, gflops = cost(config)
        rows.append(
            {"label": cell.label, "seed": config.seed, "split": config.split,
             "dataset": config.dataset, "run": cell.run.folder.name, "config": config_hash(config),
             "date": _date(cell), "epochs": metrics["epoch"], "queries": metrics["valid_queries"],
             "identities": metrics["identities"], "gallery": metrics["gallery"]}
            | {name: float("nan" if metrics[name] is None else metrics[name]) for name in MEASURES}
            | {"mAP_low": interval.low, "mAP_high": interval.high,
               "parameters": parameters, "gflops": gflops}
            | _learning(cell)
        )  # fmt: skip
    return pd.DataFrame(rows)


def _learning(cell: Cell) -> dict[str, float]:
    """Return what the log says of how a network learned.

    `dead_BRANCH`, `guide` (the largest over the granularities), `trunk`: its health at the end, see
    `mmagga.training.health`. `last_fifth`: mAP gained over the last fifth of the epochs, NaN if
    there was no evaluation near their start.
    """
    epochs = cell.run.records("epochs")
    if not epochs:
        return {}
    health, end = epochs[-1].get("health"), epochs[-1]["epoch"]
    found = {"cross_entropy": epochs[-1]["cross_entropy"], "last_fifth": float("nan")}
    before = [e["metrics"]["mAP"] for e in epochs if "metrics" in e and e["epoch"] <= 0.8 * end]
    if before and "metrics" in epochs[-1]:
        found["last_fifth"] = epochs[-1]["metrics"]["mAP"] - before[-1]
    if health:
        found |= {f"dead_{name}": share for name, share in health["dead"].items()}
        found |= {"guide": max(health["guide"].values(), default=float("nan"))}
        found |= {"trunk": health["trunk"]}
    return found


def _date(cell: Cell) -> str:
    written = (cell.run.folder / "metrics.json").stat().st_mtime
    return datetime.datetime.fromtimestamp(written, datetime.UTC).date().isoformat()


def precisions(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the average precision of every query, in rows (split, query, pid).

    Columns are (label, seed). This is what rows of a grid are compared by.
    """
    columns: dict[tuple[str, int], list[pd.Series]] = {}
    for cell in cells:
        if cell.is_evaluated():
            table = read_csv(cell.queries).assign(split=cell.config.split)
            column = table.set_index(["split", "query", "pid"])["average_precision"]
            columns.setdefault((cell.label, cell.config.seed), []).append(column)
    joined = {key: pd.concat(parts) for key, parts in columns.items()}
    return pd.DataFrame(joined).rename_axis(columns=["label", "seed"])


def curves(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return one row for each epoch of each run: label, seed, split, step, and what was measured.

    mAP (NaN where the epoch was not evaluated); `dead`, the share of dead units of the worst
    branch; `guide`, the largest cosine of two clips' guides; `trunk`; see `mmagga.training.health`.
    """
    rows = []
    for cell in cells:
        for epoch in cell.run.records("epochs"):
            health = epoch.get("health", {"dead": {}, "guide": {}, "trunk": np.nan})
            rows.append(
                {"label": cell.label, "seed": cell.config.seed, "split": cell.config.split,
                 "step": epoch["step"], "mAP": epoch.get("metrics", {}).get("mAP", np.nan),
                 "dead": max(health["dead"].values(), default=np.nan),
                 "guide": max(health["guide"].values(), default=np.nan),
                 "trunk": health["trunk"]}
            )  # fmt: skip
    return pd.DataFrame(rows)


def without_learning(cells: Sequence[Cell]) -> pd.DataFrame:
    """Score the non-learned baselines on the data of the finished runs, see `yardsticks`.

    One row for each split and method: mAP, its 95 % interval over persons, rank-1.
    """
    configs = {(c.config.root, c.config.split): c.config for c in cells if c.is_done()}
    rows = []
    for (_, split), config in configs.items():
        tracklets = load_for(config, progress=False)
        size, protocol = (config.height, config.width), Protocol.for_tracklets(tracklets)
        for method, embeddings in yardsticks(tracklets, size, packed=config.packed).items():
            scores = evaluate(*embeddings, protocol)
            interval = bootstrap(scores.per_query)
            rows.append(
                {"method": method, "split": split, "mAP": scores.mAP, "mAP_low": interval.low,
                 "mAP_high": interval.high, "rank-1": scores.rank(1)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def summary(results: pd.DataFrame, precisions: pd.DataFrame, labels: Iterable[str]) -> pd.DataFrame:
    """Compare the rows of a grid: one line per label, NaN where no run is finished.

    Mean and sd of each measure over the n runs. low, high: 95 % interval of the mean mAP.
    difference, difference_low, difference_high, p: against the first label that has runs, query by
    query. Intervals and p are over persons and seeds (`crossed_difference`); where a row has one
    run, over persons alone; where `precisions` lacks it, over seeds alone. Where a seed lacks a
    split, either that seed or that split is left out. tie: whether the best row is not clearly
    better, its interval of the difference containing 0 or unknown.
    """
    labels, there = list(labels), set(results["label"])
    first = next((label for label in labels if label in there), None)
    best = max(there, key=lambda label: results.loc[results["label"] == label, "mAP"].mean())
    lines = {}
    for label in labels:
        runs, values = results[results["label"] == label], None
        if label in precisions:
            values = _complete(precisions[label])
            splits = values.index.unique("split")
            runs = runs[runs["seed"].isin(values.columns) & runs["split"].isin(splits)]
        lines[label] = _line(runs)
        if label in there:
            gain = compare(results, precisions, label, first) if label != first else None
            lead = compare(results, precisions, best, label) if label != best else None
            if values is not None:
                interval = _interval(values)
                lines[label] |= {"low": interval.low, "high": interval.high}
            elif lines[label]["n"] > 1:
                mean, error = lines[label]["mAP"], lines[label]["mAP sd"] / lines[label]["n"] ** 0.5
                low, high = stats.t.interval(0.95, lines[label]["n"] - 1, mean, error)
                lines[label] |= {"low": low, "high": high}
            lines[label] |= dict(zip(DIFFERENCE, gain, strict=True)) if gain else {}
            lines[label]["tie"] = label == best or lead is None or not lead.low > 0
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("label")


def contrasts(
    results: pd.DataFrame, precisions: pd.DataFrame, pairs: Mapping[str, tuple[str, str]]
) -> pd.DataFrame:
    """Return the difference of each pair of labels, the first minus the second: one row per pair.

    Columns are those of `DIFFERENCE`; pairs without runs are left out.
    """
    there = set(results["label"])
    rows = {
        name: compare(results, precisions, *pair)
        for name, pair in pairs.items()
        if there.issuperset(pair)
    }
    found = {name: gain for name, gain in rows.items() if gain}
    return pd.DataFrame.from_dict(found, orient="index", columns=list(DIFFERENCE))


def against_itself(precisions: pd.DataFrame) -> pd.DataFrame:
    """Compare each label with itself, its first seed minus its others: one row per label.

    What the seed alone does. Columns are those of `DIFFERENCE`; labels with fewer than three runs
    are left out.
    """
    rows = {}
    for label in dict.fromkeys(precisions.columns.get_level_values(0)):
        runs = _complete(precisions[label])
        if runs.shape[1] > 2:
            rows[label] = crossed_difference(runs.iloc[:, :1], runs.iloc[:, 1:])
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(DIFFERENCE))


DIFFERENCE = ("difference", "difference_low", "difference_high", "p")


def _line(runs: pd.DataFrame) -> dict[str, Any]:
    """Average the runs of one label; what is not known yet is NaN."""
    line: dict[str, Any] = {"n": len(runs)}
    for name in MEASURES:
        line |= {name: runs[name].mean(), f"{name} sd": runs[name].std()}
    line |= dict.fromkeys(("low", "high", *DIFFERENCE), np.nan) | {"tie": False}
    for name in ("parameters", "gflops"):
        line[name] = runs[name].iloc[0] if len(runs) else np.nan
    return line


def _complete(values: pd.DataFrame) -> pd.DataFrame:
    """Keep the most values without a gap: some seeds (columns), and the queries that all have."""
    order = values.count().sort_values(ascending=False, kind="stable").index
    blocks = [values[sorted(order[:n])].dropna() for n in range(1, len(order) + 1)]
    return max(blocks, key=lambda block: block.size)


def _mean_over_seeds(columns: pd.DataFrame) -> pd.DataFrame:
    means = columns.mean(axis=1).rename("average_precision").reset_index()
    return means.assign(query=np.arange(len(means)))  # unique over the splits, too


def _interval(runs: pd.DataFrame) -> Interval:
    return crossed_interval(runs) if runs.shape[1] > 1 else bootstrap(_mean_over_seeds(runs))


def compare(
    results: pd.DataFrame, precisions: pd.DataFrame, a: str, b: str
) -> PairedDifference | None:
    """Compare the mAP of label a with that of b, over the runs that both have; None without any."""
    if a in precisions and b in precisions:
        return _paired(precisions, a, b)
    runs = results.set_index(["seed", "split"])
    gain = (runs.loc[runs["label"] == a, "mAP"] - runs.loc[runs["label"] == b, "mAP"]).dropna()
    if len(gain) < 2:
        return PairedDifference(gain.mean(), np.nan, np.nan, np.nan) if len(gain) else None
    test = stats.ttest_1samp(gain, 0)
    low, high = test.confidence_interval()
    return PairedDifference(gain.mean(), low, high, test.pvalue)


def _paired(precisions: pd.DataFrame, a: str, b: str) -> PairedDifference | None:
    """Compare a with b over the seeds and queries of both."""
    seeds = precisions[a].columns.intersection(precisions[b].columns)
    shared = _complete(precisions[a][seeds] - precisions[b][seeds])
    if shared.empty:
        return None
    left, right = (precisions[label].loc[shared.index, shared.columns] for label in (a, b))
    if shared.shape[1] > 1:
        return crossed_difference(left, right)
    return paired_difference(_mean_over_seeds(left), _mean_over_seeds(right))


# --- files --------------------------------------------------------------------------------------


def write(folder: Path, name: str, cells: Sequence[Cell]) -> Path:
    """Commit what finished runs found as NAME.csv, and more beside it; return the path.

    NAME.csv has `results`, NAME-queries.csv `precisions`, NAME-curves.csv `curves` and
    NAME-yardsticks.csv the non-learned baselines on the same queries.
    Raises MmaggaError if no run is finished, and then leaves the files alone.
    """
    table = results(cells)
    if table.empty:
        raise MmaggaError(f"no run of {name} is finished: there is nothing to write")
    path = Path(folder) / f"{name}.csv"
    write_csv(_beside(path, "queries"), precisions(cells).round(4), index=True)
    write_csv(_beside(path, "curves"), curves(cells).round(4))
    write_csv(_beside(path, "yardsticks"), without_learning(cells).round(4))
    write_csv(path, table.round(6))
    return path


def read(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read back `results` and `precisions` from the path that `write` returned.

    `precisions` is empty where the table of queries is not there.
    """
    if not _beside(Path(path), "queries").exists():
        return pd.read_csv(path), pd.DataFrame(columns=pd.MultiIndex.from_tuples([("", 0)])[:0])
    queries = pd.read_csv(_beside(Path(path), "queries"), header=[0, 1], index_col=[0, 1, 2])
    seeds = queries.columns.levels[1].astype(int)
    return pd.read_csv(path), queries.set_axis(queries.columns.set_levels(seeds, level=1), axis=1)


def read_more(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read back `curves` and `without_learning`; the second is empty where it is not there."""
    beside = _beside(Path(path), "yardsticks")
    nothing = pd.DataFrame(columns=["method", "mAP", "rank-1"])
    yardsticks = pd.read_csv(beside) if beside.exists() else nothing
    return pd.read_csv(_beside(Path(path), "curves")), yardsticks


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}-{what}.csv")
