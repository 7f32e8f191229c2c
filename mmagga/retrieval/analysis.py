"""Where a score comes from: which queries, which cameras, which distances."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import torch

from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.retrieval.distances import Search
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.metrics import MAX_RANK, Scores
from mmagga.retrieval.protocol import Protocol
from mmagga.retrieval.uncertainty import DRAWS, bootstrap


def describe_queries(scores: Scores, tracklets: Tracklets) -> pd.DataFrame:
    """Add to `Scores.per_query` what the data set knows of each query: length, occluded.

    length is in frames. occluded is the share of the person's pixels that something hides, mean
    over the frames; NaN for a set that does not say so (see `occluded_shares`). Raises DataError
    if the scores are of other queries.
    """
    query = tracklets.split("query")
    if not np.array_equal(query.pids, scores.per_query["pid"]):
        raise DataError(
            f"the scores are of {scores.queries} queries, not of the {len(query)} of "
            f"{tracklets.dataset} in {tracklets.root}: choose the data set and split of the run"
        )
    return scores.per_query.assign(length=query.lengths, occluded=occluded_shares(query))


def with_names(scores: Scores, tracklets: Tracklets) -> pd.DataFrame:
    """Return `Scores.per_query` with the tracklets' names, which are their first frames' paths.

    Added columns: tracklet, nearest_tracklet, and nearest_camid; empty where nothing was searched.
    """
    query, gallery = (tracklets.split(name).table for name in ("query", "gallery"))
    queries_too = scores.protocol.queries_in_gallery
    searched = pd.concat([gallery, query] if queries_too else [gallery], ignore_index=True)
    nearest = scores.per_query["nearest"].astype("Int64")
    rows, known = nearest.fillna(0).to_numpy(int), nearest.notna().to_numpy()
    names = tracklets.names[searched["first"].to_numpy()[rows]]
    camid = searched["camid"].astype("Int64").iloc[rows].reset_index(drop=True)
    return scores.per_query.assign(
        tracklet=tracklets.names[query["first"].to_numpy()].astype(object),
        nearest_tracklet=np.where(known, names.astype(object), ""),
        nearest_camid=camid.where(known),
    )


def occluded_shares(tracklets: Tracklets) -> np.ndarray:
    """(N,) hidden share of each tracklet, from the rendered sets' info/frames.csv; NaN without."""
    path = tracklets.root / "info" / "frames.csv"
    if not path.is_file():
        return np.full(len(tracklets), np.nan)
    frames = pd.read_csv(path, dtype={"frame": str}).set_index("frame")["occluded"]
    shares = np.empty(len(tracklets))
    for row in range(len(tracklets)):
        names = [PurePosixPath(path.relative_to(tracklets.root)) for path in tracklets.frames(row)]
        # In MARS's layout the table has names without folder and suffix, in the others paths.
        keys = [n.stem if n.stem in frames.index else str(n.with_suffix("")) for n in names]
        shares[row] = frames.reindex(keys).mean()
    return shares


def by_bins(queries: pd.DataFrame, column: str, edges: Sequence[float]) -> pd.DataFrame:
    """Return the mean AP, with its 95 % interval, of the queries in each bin of `column`.

    Bin i holds edges[i] < x <= edges[i + 1], and the first one its left edge too. One row per bin
    with queries: left, right, queries, identities, mean, low, high. The interval is `bootstrap`'s.
    """
    known = queries[queries["average_precision"].notna() & queries[column].notna()]
    bins = pd.cut(known[column], list(edges), include_lowest=True, labels=False)
    rows = []
    for i, some in known.groupby(bins):
        span = {"left": edges[int(i)], "right": edges[int(i) + 1]}
        counts = {"queries": len(some), "identities": some["pid"].nunique()}
        rows.append(span | counts | bootstrap(some)._asdict())
    columns = ["left", "right", "queries", "identities", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def quantile_edges(values: pd.Series, bins: int = 4) -> list[float]:
    """Return edges of bins that hold about as many values each; fewer bins where values repeat."""
    return np.unique(values.dropna().quantile(np.linspace(0, 1, bins + 1))).tolist()


def cmc_bands(per_query: pd.DataFrame, ranks: int = 20, draws: int = DRAWS) -> pd.DataFrame:
    """Return CMC at ranks 1 to `ranks` with the 95 % interval at each: rank, mean, low, high."""
    if not 1 <= ranks <= MAX_RANK:
        raise ValueError(f"ranks is 1 to {MAX_RANK}, not {ranks}")
    rows = []
    for rank in range(1, ranks + 1):
        hit = per_query.assign(hit=per_query["first_hit"].astype("Int64") <= rank)
        rows.append({"rank": rank} | bootstrap(hit, "hit", draws=draws)._asdict())
    return pd.DataFrame(rows)


def camera_pairs(scores: Scores) -> pd.DataFrame:
    """Return mAP for each camera of the query and camera of the match: one row per pair.

    Matches under third cameras do not count, neither as hits nor in the ranks (as in Market-1501's
    per-camera evaluation). Columns: camid, gallery_camid, mAP, queries, matches.
    """
    hits = scores.hits
    hit = hits.groupby("query").cumcount() + 1
    within = hits.groupby(["query", "gallery_camid"]).cumcount() + 1
    precision = within / (hits["rank"] - (hit - within))
    pairs = hits.assign(precision=precision).groupby(["camid", "gallery_camid", "query"])
    each = pairs["precision"].agg(["mean", "size"]).groupby(["camid", "gallery_camid"])
    table = each.agg(mAP=("mean", "mean"), queries=("mean", "size"), matches=("size", "sum"))
    return table.reset_index()


@dataclass(frozen=True)
class DistanceHistogram:
    """Euclidean distances of all pairs that count, of one person and of different ones."""

    edges: np.ndarray
    """(bins + 1,) from 0 to the largest that can be, in units of the vectors."""
    same: np.ndarray
    """(bins,) pairs of the same person under different cameras."""
    different: np.ndarray
    """(bins,) pairs of different persons, distractors among them."""

    @property
    def overlap(self) -> float:
        """Common area of the two histograms, each of area 1."""
        shares = (counts / counts.sum() for counts in (self.same, self.different))
        return float(np.minimum(*shares).sum())

    @property
    def equal_error(self) -> tuple[float, float]:
        """(rate, threshold) where as large a share of pairs is wrongly refused as accepted.

        Linear within a bin.
        """
        accepted = np.concatenate([[0], self.different.cumsum() / self.different.sum()])
        refused = 1 - np.concatenate([[0], self.same.cumsum() / self.same.sum()])
        gap = accepted - refused  # ascends from -1 to 1
        after = int(np.argmax(gap >= 0))
        part = -gap[after - 1] / (gap[after] - gap[after - 1])
        rate = accepted[after - 1] + part * (accepted[after] - accepted[after - 1])
        threshold = self.edges[after - 1] + part * (self.edges[after] - self.edges[after - 1])
        return float(rate), float(threshold)


def distance_histogram(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    bins: int = 200,
    chunk: int = 1024,
    device: torch.device | str = "cpu",
) -> DistanceHistogram:
    """Count the distances of all queries to all they search, block by block.

    Pairs of one person under one camera do not count. Raises DataError where either kind of pair
    is missing.
    """
    search = Search(query, gallery, protocol, chunk, device)
    top = 2 * search.largest or 1.0
    counts = np.zeros((2, bins), np.int64)
    for number, row in enumerate(search.distances()):  # (G,)
        bin_of = (np.sqrt(row.clip(0)) * (bins / top)).astype(int).clip(max=bins - 1)
        match, junk = search.roles(number)
        for kind, pairs in enumerate((match, ~match & ~junk)):
            counts[kind] += np.bincount(bin_of[pairs], minlength=bins)
    if not counts.any(1).all():
        raise DataError("Expected pairs of one person and of two, found only one of these kinds.")
    edges = np.linspace(0, top, bins + 1)
    return DistanceHistogram(edges, *counts)
