"""CMC, mAP and mINP, and the rank lists behind them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mmagga.config import Config
from mmagga.data.tracklets import Tracklets
from mmagga.retrieval.distances import Search
from mmagga.retrieval.embedding import Embeddings, query_and_gallery
from mmagga.retrieval.protocol import Protocol

MAX_RANK = 50
"""CMC curves end here, or at the size of the gallery."""

# --- scores -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """The result of one evaluation; all measures are fractions in [0, 1].

    Where no query has a match every measure is NaN, and `per_query` still says what was found.

    `per_query` has a row for every query: query (its row), pid, camid, average_precision,
    trapezoid_precision, inp, first_hit and last_hit (ranks from 1), matches, and nearest,
    nearest_pid, nearest_distance of the first tracklet of its rank list. A query without a match
    has NaN or NA in the measures. Gallery rows past the gallery's own are queries, where the
    protocol searches them.

    trapezoid_precision is the average precision of MARS's evaluation code: the area below the
    precision by the trapezoid rule, which credits a hit with the mean of the precision at it and
    just before it.

    `hits` has a row for every match of every query, nearest first: query, camid (the query's),
    rank, gallery (the match's row), gallery_camid.
    """

    protocol: Protocol
    cmc: np.ndarray
    """(R,) share of the queries with a hit among the first 1, 2, …, R; R = min(50, gallery)."""
    mAP: float
    mINP: float
    per_query: pd.DataFrame
    hits: pd.DataFrame
    gallery_size: int
    """Tracklets searched, the queries among them where the protocol says so."""

    @property
    def queries(self) -> int:
        """All queries."""
        return len(self.per_query)

    @property
    def valid_queries(self) -> int:
        """Queries with a match: the measures are means over these."""
        return int((self.per_query["matches"] > 0).sum())

    @property
    def dropped_queries(self) -> int:
        """Queries without a match under another camera, left out of every measure."""
        return self.queries - self.valid_queries

    @property
    def identities(self) -> int:
        """Persons among the valid queries."""
        return self.per_query.loc[self.per_query["matches"] > 0, "pid"].nunique()

    def rank(self, k: int) -> float:
        """Return the CMC at rank k: NaN beyond the end of the curve, where it means nothing."""
        if k < 1:
            raise ValueError(f"ranks begin at 1, not {k}")
        return float(self.cmc[k - 1]) if k <= len(self.cmc) else math.nan

    def summary(self) -> dict[str, Any]:
        """Return plain numbers for JSON; None for a measure that does not exist."""
        ranks = {f"rank-{k}": self.rank(k) for k in (1, 5, 10, 20)}
        return {
            "protocol": self.protocol.name,
            **{
                name: None if math.isnan(value) else value
                for name, value in ({"mAP": self.mAP} | ranks | {"mINP": self.mINP}).items()
            },
            "queries": self.queries,
            "valid_queries": self.valid_queries,
            "dropped_queries": self.dropped_queries,
            "gallery": self.gallery_size,
            "identities": self.identities,
        }

    def __str__(self) -> str:
        if not self.valid_queries:
            return (
                f"ranked, not scored: none of the {self.queries:,} queries has a match "
                f"({self.protocol.rule}) among the {self.gallery_size:,} tracklets searched, "
                f"protocol {self.protocol.name}"
            )
        ranks = ((k, self.rank(k)) for k in (1, 5, 20))
        shown = [f"Rank-{k} {'n/a' if math.isnan(v) else f'{100 * v:.1f}'}" for k, v in ranks]
        return (
            f"mAP {100 * self.mAP:.1f}, {', '.join(shown)}, mINP {100 * self.mINP:.1f} "
            f"({self.protocol.name}: {self.valid_queries:,} of {self.queries:,} queries have a "
            f"match; {self.gallery_size:,} gallery tracklets)"
        )


def evaluate(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    chunk: int = 1024,
    device: torch.device | str = "cpu",
) -> Scores:
    """Rank the gallery for every query and score the ranks of its matches.

    A match shows the query's person under another camera; a distractor (pid 0) matches nobody.
    Gallery tracklets of the query's person and camera do not count and take no rank; of a single
    camera only the query itself does not count, see `Protocol.same_camera`. Queries without a match
    are left out of the measures, which are NaN where none has one. AP is the mean over the matches
    of (matches so far / rank), INP is matches / rank of the last match; ties keep gallery order.

    At most `chunk` queries and `chunk` gallery rows are in float64 at once, and 64 MB of distances:
    that bounds the memory. Neither `chunk` nor `device` changes a result.

    Raises DataError where the sides do not fit, and NumericError where an embedding is not finite.
    """
    search = Search(query, gallery, protocol, chunk, device)
    return score_rows(search, search.distances())


def score(model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True) -> Scores:
    """Embed the test split and evaluate it under the data set's standard protocol."""
    sides = query_and_gallery(model, tracklets, config, bar)
    return evaluate(*sides, Protocol.for_tracklets(tracklets))


def score_rows(search: Search, rows: Iterable[np.ndarray]) -> Scores:
    """Score the ranks of each query's matches by its row of distances (G,), which is written to."""
    queries, hits = [], []
    for number, row in enumerate(rows):
        match, junk = search.roles(number)
        row[junk] = math.inf
        ranks, matches = match_ranks(row, np.flatnonzero(match))  # (K,), (K,)
        nearest = int(row.argmin())
        alone = junk.all()
        queries.append((*_measures(ranks), -1 if alone else nearest, row[nearest]))
        hits.append((np.full(len(ranks), number), ranks, matches))
    columns = ["average_precision", "trapezoid_precision", "inp", "first_hit", "last_hit",
               "matches", "nearest", "nearest_distance"]  # fmt: skip
    whole = tuple(np.concatenate(part) for part in zip(*hits, strict=True))
    return _scores(search, pd.DataFrame(queries, columns=columns), whole)  # type: ignore[arg-type]


def match_ranks(distances: np.ndarray, matches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank the gallery rows `matches` (K,) by `distances` (G,), infinite where one does not count.

    Equal distances keep gallery order. Returns the ranks from 1, ascending, and the rows, likewise.
    """
    near, ascending = distances[matches], np.sort(distances)
    ranks = ascending.searchsorted(near) + 1
    tied = ascending.searchsorted(near, side="right") > ranks
    for i in np.flatnonzero(tied):
        ranks[i] += np.count_nonzero(distances[: matches[i]] == near[i])
    order = ranks.argsort()
    return ranks[order], matches[order]


def nearest_rows(distances: np.ndarray, junk: np.ndarray, top: int) -> np.ndarray:
    """Return the rows of the `top` least `distances` (G,) that are no `junk` (G,), least first.

    Equal distances keep gallery order.
    """
    rows = np.flatnonzero(~junk)
    return rows[distances[rows].argsort(kind="stable")[:top]]


def average_precision(ranks: np.ndarray) -> float:
    """Return the mean over the matches of (matches so far / rank); NaN without a match."""
    return float((np.arange(1, len(ranks) + 1) / ranks).mean()) if len(ranks) else math.nan


def _measures(ranks: np.ndarray) -> tuple[float, float, float, int | None, int | None, int]:
    """Return AP, AP by trapezoids, INP, first and last rank, and number of a query's matches."""
    if not len(ranks):
        return math.nan, math.nan, math.nan, None, None, 0
    hits = np.arange(1, len(ranks) + 1)
    # At rank 1 the precision just before is 1, as in MARS's code.
    before = np.divide(hits - 1, ranks - 1, out=np.ones(len(ranks)), where=ranks > 1)
    trapezoid = float((before + hits / ranks).mean() / 2)
    last = int(ranks[-1])
    return average_precision(ranks), trapezoid, len(ranks) / last, int(ranks[0]), last, len(ranks)


def _scores(
    search: Search, found: pd.DataFrame, hits: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Scores:
    """Put together what was found for each query, and each match by its (query, rank, row)."""
    query, rank, row = hits
    who, size = search.query, len(search.pids)
    counts = found["matches"] > 0
    nearest = found["nearest"].to_numpy()
    found.insert(0, "query", np.arange(len(found)))
    found.insert(1, "pid", who.pids.numpy())
    found.insert(2, "camid", who.camids.numpy())
    found.insert(len(found.columns) - 1, "nearest_pid", search.pids[nearest])
    whole = ["first_hit", "last_hit", "nearest", "nearest_pid"]
    found = found.astype(dict.fromkeys(whole, "Int64"))
    found.loc[nearest < 0, ["nearest", "nearest_pid", "nearest_distance"]] = np.nan
    firsts = np.bincount(found.loc[counts, "first_hit"].to_numpy(int), minlength=MAX_RANK + 1)
    cmc = np.cumsum(firsts[1:])[: min(MAX_RANK, size)] / (counts.sum() or np.nan)
    matches = {"query": query, "camid": who.camids.numpy()[query], "rank": rank, "gallery": row}
    matches["gallery_camid"] = search.camids[row]
    mean, inp = (float(found[name].mean()) for name in ("average_precision", "inp"))
    return Scores(search.protocol, cmc, mean, inp, found, pd.DataFrame(matches), size)


def rank_list(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    query_row: int,
    *,
    top: int = 10,
    chunk: int = 1024,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """List what one query finds first: gallery (its row), distance, pid, camid, match; by rank.

    What does not count is left out, as in `evaluate`, and the distances and ties are the same. Rows
    past the gallery's own are queries, where the protocol searches them.
    """
    if not 0 <= query_row < len(query.pids):
        raise IndexError(f"there are {len(query.pids)} queries; {query_row} is none of them")
    search = Search(query, gallery, protocol, chunk, device)
    (distances,) = search.distances(np.array([query_row]))
    return _first(search, query_row, distances, top)


def rank_lists(
    query: Embeddings, gallery: Embeddings, protocol: Protocol, *, top: int = 10
) -> Iterator[pd.DataFrame]:
    """Yield `rank_list` of each query in turn, faster than one by one."""
    search = Search(query, gallery, protocol, 1024, "cpu")
    for query_row, distances in enumerate(search.distances()):
        yield _first(search, query_row, distances, top)


def _first(search: Search, query_row: int, distances: np.ndarray, top: int) -> pd.DataFrame:
    """List the first `top` rows for a query by its (G,) distances."""
    match, junk = search.roles(query_row)
    rows = nearest_rows(distances, junk, top)
    return pd.DataFrame(
        {
            "gallery": rows,
            "distance": distances[rows],
            "pid": search.pids[rows],
            "camid": search.camids[rows],
            "match": match[rows],
        },
        index=pd.RangeIndex(1, len(rows) + 1, name="rank"),
    )
