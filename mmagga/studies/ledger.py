"""The protocol ledger: one network, every convention that papers use, one table.

The dense clips are embedded once and serve all rules that use them; the two rules that choose
frames add one clip a tracklet each, and the camera-centred row adds the training tracklets.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from mmagga.config import Config, total_epochs
from mmagga.data.tracklets import Tracklets
from mmagga.randomness import generator
from mmagga.retrieval import (
    PROTOCOLS,
    Embeddings,
    Protocol,
    Scores,
    bootstrap,
    evaluate,
    paired_difference,
    rerank,
)
from mmagga.retrieval.embedding import joined, tracklet_embeddings
from mmagga.retrieval.yardsticks import Pair, camera_centred, covers
from mmagga.runs.run import Run
from mmagga.system.device import resolve_device

RANKS = (1, 5, 20)
SPLITS = 10
"""Of iLIDS-VID and PRID2011; other sets have one."""


class Convention(NamedTuple):
    """A way to evaluate, in words."""

    changes: str
    used_by: str


STANDARD, _CENTRED = "paper", "camera-centred"
CONVENTIONS = {
    STANDARD: Convention(
        "all dense clips, their plain mean, length 1, AP at the hits, the set's own gallery",
        "the authors' code; MARS's own gallery holds the queries",
    ),
    "queries not searched": Convention(
        "the gallery is without the queries; whoever has no match left is dropped",
        "code that searches MARS's gallery alone: 140 of its 1,980 queries drop out",
    ),
    "queries searched too": Convention(
        "the gallery holds the queries as well, as MARS's does",
        "nobody on this set; it shows what MARS's rule would do",
    ),
    "trapezoid AP": Convention(
        "the area below the precision by the trapezoid rule, instead of the precision at the hits",
        "the MATLAB evaluation that came with Market-1501 and MARS",
    ),
    "clips of length 1": Convention(
        "each clip's embedding gets length 1 before the mean", "a variant; papers rarely say which"
    ),
    "clips by real frames": Convention(
        "clips count by their real frames: a last clip of one frame no longer counts as a full one",
        "ours",
    ),
    "no last norm": Convention(
        "the mean keeps its length: Euclidean distances no longer rank as cosines",
        "code that leaves the last normalisation out",
    ),
    "first clip only": Convention(
        "only the first T frames", "quick checks; a lower bound of dense"
    ),
    "T frames evenly": Convention(
        "one clip of T frames, the middles of T equal parts of the tracklet",
        "systems that test on a fixed number of frames",
    ),
    "T random frames": Convention(
        "one clip of T frames drawn without replacement, in time order, with the run's seed",
        "systems that test as they train; the number depends on the seed",
    ),
    "re-ranking": Convention(
        "k-reciprocal re-ranking with k1 20, k2 6, λ 0.3 (Zhong et al. 2017)",
        "papers that show a second, re-ranked row: not to be compared with rows that have none",
    ),
    "camera-centred": Convention(
        "the mean embedding of a tracklet's camera, over the training people, is subtracted",
        "camera-aware post-processing; it uses the training set's camera labels at test time",
    ),
    "camera-centred, transductive": Convention(
        "the same with the means of the test set's own tracklets",
        "methods that see the whole test set at once; not comparable with the others",
    ),
    "best on test": Convention(
        "the epoch with the best rank-1 on the test set, instead of the last one",
        "the authors' code; choosing the epoch on the test set biases the score",
    ),
    "all splits": Convention(
        "mean over the splits",
        "the paper: its 87.7 on iLIDS-VID is no multiple of 1/150, so no single split",
    ),
    "split 0": Convention("the first split alone", "code that runs only its default split"),
}
"""What each convention changes, and who uses it."""
_RULES = {
    "clips of length 1": "dense_of_unit_clips",
    "clips by real frames": "dense_by_frames",
    "no last norm": "dense_unnormalised",
    "first clip only": "first_clip",
}
_SAMPLES: dict[str, Literal["evenly", "random"]] = {
    "T frames evenly": "evenly",
    "T random frames": "random",
}


def ledger(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True
) -> pd.DataFrame:
    """Evaluate one network under every convention; one row each, the paper's first.

    Columns: convention, mAP, mAP_low and mAP_high (95 %, `bootstrap`), rank-1, rank-5, rank-20,
    mINP, valid_queries, dropped_queries, gallery, difference, difference_low and difference_high
    (of the AP to the paper's row on the queries that both have), is_paper, changes, used_by.
    Measures are fractions, NaN for a rank that the gallery does not reach.
    """
    return _rows(_evaluations(model, tracklets, config, bar))


def ledger_of(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    train: Embeddings | None = None,
) -> pd.DataFrame:
    """Evaluate any model's embeddings under every convention that needs no frames; see `ledger`.

    With those of the training people, `train`, the ledger has the row "camera-centred".
    """
    references = {} if train is None or not covers(train, query, gallery) else {_CENTRED: train}
    references[f"{_CENTRED}, transductive"] = joined(query, gallery)
    return _rows(_of_embeddings((query, gallery), protocol, references.items(), "cpu"))


def _rows(evaluations: Iterable[tuple[str, Scores]]) -> pd.DataFrame:
    """Make the table of evaluations, each by its convention, the paper's first."""
    rows: list[dict[str, Any]] = []
    paper: Scores | None = None
    for name, scores in evaluations:
        if not scores.valid_queries:
            rows.append(_unscored(name, scores))
            continue
        row = _row(name, scores)
        if name == STANDARD:
            paper = scores
        elif paper is not None:
            compared = paired_difference(scores.per_query, paper.per_query)
            row |= dict(zip(_DIFFERENCE, compared[:3], strict=True))
        rows.append(row)
    return _table(rows)


def _of_embeddings(
    pair: Pair,
    standard: Protocol,
    references: Iterable[tuple[str, Embeddings]],
    device: torch.device | str,
) -> Iterator[tuple[str, Scores]]:
    """Yield the evaluations that need the tracklets' embeddings alone."""
    scores = evaluate(*pair, standard, device=device)
    yield STANDARD, scores
    yield "trapezoid AP", _by_trapezoid(scores)
    if standard.queries_in_gallery:
        other, name = PROTOCOLS["mars_without_queries"], "queries not searched"
    else:
        other, name = PROTOCOLS["mars"], "queries searched too"
    if not standard.same_camera:  # the queries of a single camera are all there is
        yield name, evaluate(*pair, other, device=device)
    yield "re-ranking", rerank(*pair, standard, device=device)
    for name, reference in references:
        query, gallery = (camera_centred(side, reference) for side in pair)
        yield name, evaluate(query, gallery, standard, device=device)


def _evaluations(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool
) -> Iterator[tuple[str, Scores]]:
    """Yield one `Scores` after the other, so that embeddings are freed when they have served."""
    standard = Protocol.for_tracklets(tracklets)
    device = resolve_device(config.device)
    sides = [tracklets.split(name) for name in ("query", "gallery")]
    rules = ("dense", *_RULES.values())
    query, gallery = _embed_sides(model, sides, config, rules=rules, bar=bar)
    dense = query.pop("dense"), gallery.pop("dense")
    references = _references(model, tracklets, config, dense, bar=bar)
    yield from _of_embeddings(dense, standard, references, device)
    for name, rule in _RULES.items():
        yield name, evaluate(query.pop(rule), gallery.pop(rule), standard, device=device)
    for name, how in _SAMPLES.items():
        few = [sampled(side, config.frames, how, config.seed) for side in sides if len(side)]
        pair = [
            side["dense"] for side in _embed_sides(model, few, config, rules=("dense",), bar=bar)
        ]
        yield name, evaluate(pair[0], pair[1], standard, device=device)


def _embed_sides(
    model: nn.Module, sides: Sequence[Tracklets], config: Config, *, rules: Sequence[str], bar: bool
) -> list[dict[str, Embeddings]]:
    """Embed queries and gallery by each rule; of a single camera the gallery has no rows."""
    found = [
        tracklet_embeddings(model, side, config, rules, bar=bar) for side in sides if len(side)
    ]
    empty = {rule: Embeddings(*(field[:0] for field in e)) for rule, e in found[0].items()}
    return [*found, empty][:2]


def _references(
    model: nn.Module, tracklets: Tracklets, config: Config, test: Pair, *, bar: bool
) -> Iterator[tuple[str, Embeddings]]:
    """Yield where camera means come from; training people only if they show all test cameras."""
    train = tracklets.split("train")
    if covers(train, *test):
        people = tracklet_embeddings(model, train, config, bar=bar)["dense"]
        yield _CENTRED, people
    yield f"{_CENTRED}, transductive", joined(*test)


def _by_trapezoid(scores: Scores) -> Scores:
    """Compute the average precision as the area of trapezoids."""
    area = scores.per_query["trapezoid_precision"]
    per_query = scores.per_query.assign(average_precision=area)
    return replace(scores, mAP=float(area.mean()), per_query=per_query)


def sampled(
    tracklets: Tracklets, frames: int, how: Literal["evenly", "random"], seed: int = 0
) -> Tracklets:
    """Keep at most `frames` frames of each tracklet, in time order: a new, shorter data set.

    "evenly" takes the middles of equal parts, "random" draws without replacement: a tracklet's
    draw follows from the seed and its row.
    """
    kept = []
    for row, (first, length) in enumerate(tracklets.table[["first", "length"]].to_numpy()):
        if length <= frames:
            positions = np.arange(length)
        elif how == "evenly":
            positions = (2 * np.arange(frames) + 1) * length // (2 * frames)
        else:
            draw = generator(seed, "test frames", row)
            positions = np.sort(draw.choice(length, frames, replace=False))
        kept.append(first + positions)
    lengths = np.array([len(positions) for positions in kept])
    table = tracklets.table.assign(first=np.cumsum(lengths) - lengths, length=lengths)
    return replace(tracklets, table=table, names=tracklets.names[np.concatenate(kept)])


def with_its_run(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Add to the ledger of a run's network what only logged evaluations tell.

    The epoch with the best rank-1 on the test set, where the log has several evaluations; and,
    where finished runs beside it differ from it in their split alone, the mean over the splits and
    the first split. These rows have no interval, since they come from means; that over splits has
    the standard deviations in columns mAP_sd, rank-1_sd, … .
    """
    rows = [*_best_epoch(run), *_splits(run)]
    return _table([*table.to_dict("records"), *rows]) if rows else table


def _best_epoch(run: Run) -> list[dict[str, Any]]:
    epochs = run.read("epochs")
    metrics = epochs["metrics"].dropna().tolist() if "metrics" in epochs else []
    if len(metrics) < 2:
        return []
    best = max(metrics, key=lambda one: one["rank-1"])
    difference = best["mAP"] - metrics[-1]["mAP"]
    return [{"convention": "best on test", "difference": difference} | _logged(best)]


def _splits(run: Run) -> list[dict[str, Any]]:
    found = {}
    for split in range(SPLITS):
        metrics = Run.of(replace(run.load_config(), split=split), run.folder.parent).load_metrics()
        if metrics.get("epoch") == total_epochs(run.load_config()):
            found[split] = _logged(metrics)
    if len(found) < 2:
        return []
    each = pd.DataFrame(found.values()).astype(float)
    deviations = each[_MEASURES].std().add_suffix("_sd").to_dict()
    changes = f"mean over {len(found)} splits; mAP ± {100 * deviations['mAP_sd']:.1f}"
    means = each.mean()
    means[_COUNTS] = means[_COUNTS].round()
    rows = [{"convention": "all splits", "changes": changes} | means.to_dict() | deviations]
    return [*rows, {"convention": "split 0"} | found[0]] if 0 in found else rows


def _logged(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics.get(name) for name in [*_MEASURES, *_COUNTS]}


def show(table: pd.DataFrame) -> str:
    """Lay a ledger out for a terminal: in percent, the paper's row with a star."""
    lines = pd.DataFrame({"convention": table["convention"]})
    lines["convention"] += table["is_paper"].map({True: " *", False: ""})
    for name in _MEASURES:
        lines[name] = [_percent(value) for value in table[name]]
    ends = zip(table["mAP_low"], table["mAP_high"], strict=True)
    lines["95 % of mAP"] = [
        "–" if pd.isna(low) else f"{_percent(low)} to {_percent(high)}" for low, high in ends
    ]
    lines["difference"] = [_percent(value, "+") for value in table["difference"]]
    return lines.join(table[_COUNTS].astype("Int64")).to_string(index=False)


def _percent(value: float | None, sign: str = "") -> str:
    return "–" if pd.isna(value) else f"{100 * value:{sign}.1f}"


_MEASURES = ["mAP", *(f"rank-{k}" for k in RANKS), "mINP"]
_COUNTS = ["valid_queries", "dropped_queries", "gallery"]
_DIFFERENCE = ("difference", "difference_low", "difference_high")
_COLUMNS = [*_MEASURES, "mAP_low", "mAP_high", *_COUNTS, *_DIFFERENCE]


def _unscored(name: str, scores: Scores) -> dict[str, Any]:
    counts = {count: scores.summary()[count] for count in _COUNTS}
    return {"convention": name} | counts


def _row(name: str, scores: Scores) -> dict[str, Any]:
    interval = bootstrap(scores.per_query)
    return (
        {"convention": name, "mAP": scores.mAP, "mINP": scores.mINP}
        | {f"rank-{k}": scores.rank(k) for k in RANKS}
        | {"mAP_low": interval.low, "mAP_high": interval.high}
        | {name: scores.summary()[name] for name in _COUNTS}
    )


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Arrange rows in the ledger's columns, with a description of each."""
    table = pd.DataFrame(rows)
    extra = [name for name in table if name.endswith("_sd")]
    table = table.reindex(columns=["convention", *_COLUMNS, *extra])
    words = [CONVENTIONS[name] for name in table["convention"]]
    return table.assign(
        is_paper=table["convention"] == STANDARD,
        changes=[row.get("changes", word.changes) for row, word in zip(rows, words, strict=True)],
        used_by=[word.used_by for word in words],
    )
