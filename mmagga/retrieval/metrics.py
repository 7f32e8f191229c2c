"""CMC, mAP and mINP, and the rank lists behind them.

Distances are exact. On a grid of 2^-25 of the largest norm, coordinates are integers, and products
and squared distances stay within 2^53, up to where float64 holds every integer: the order of
summation, and with it the chunk, the threads and the device, cannot change a bit. Equal vectors
therefore tie exactly, and ties are broken by gallery order. Rounding to the grid moves a squared
distance of unit vectors by about 3e-8; a float32 matrix product is off by some 1e-7.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mmagga.config import Config
from mmagga.data.tracklets import DISTRACTOR, Tracklets
from mmagga.errors import DataError, NumericError
from mmagga.retrieval.embedding import Embeddings, query_and_gallery
from mmagga.retrieval.protocol import Protocol

MAX_RANK = 50
"""CMC curves end here, or at the size of the gallery."""
_GRID_BITS = 25
_CELLS = 2**23
"""Distances held at once: 64 MB."""


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


def score_rows(search: "Search", rows: Iterable[np.ndarray]) -> Scores:
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
    return _scores(search, pd.DataFrame(queries, columns=columns), *map(np.concatenate, zip(*hits)))


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
    search: "Search", found: pd.DataFrame, query: np.ndarray, rank: np.ndarray, row: np.ndarray
) -> Scores:
    """Put together what was found for each query, and each match by its query, rank and row."""
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
    hits = {"query": query, "camid": who.camids.numpy()[query], "rank": rank, "gallery": row}
    hits["gallery_camid"] = search.camids[row]
    mean, inp = (float(found[name].mean()) for name in ("average_precision", "inp"))
    return Scores(search.protocol, cmc, mean, inp, found, pd.DataFrame(hits), size)


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


# --- distances ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """Queries and what they search; vectors are put on the grid when they are needed.

    The gallery's rows come first; the queries follow where the protocol searches them. Raises
    DataError where the sides do not fit, NumericError where a vector is not finite.
    """

    query: Embeddings
    gallery: Embeddings
    protocol: Protocol
    chunk: int
    device: torch.device | str

    def __post_init__(self) -> None:
        query, gallery = self.query, self.gallery
        if not len(query.pids) or not (len(gallery.pids) or self.protocol.queries_in_gallery):
            raise DataError(
                f"Expected queries and a gallery, found {len(query.pids)} and {len(gallery.pids)} "
                "tracklets."
            )
        if query.vectors.shape[1] != gallery.vectors.shape[1]:
            raise DataError(
                f"Query embeddings have {query.vectors.shape[1]} numbers, the gallery's "
                f"{gallery.vectors.shape[1]}: they come from different models."
            )
        shared = np.intersect1d(query.camids, gallery.camids)
        if self.protocol.disjoint_cameras and len(shared):
            raise DataError(
                f'Protocol "{self.protocol.name}" expects queries and gallery from different '
                f'cameras, but both have camera {shared[0]}. Did you want "query_gallery" or '
                '"mars"?'
            )
        _ = self.largest  # looks at every number

    @cached_property
    def parts(self) -> tuple[Embeddings, ...]:
        """What is searched; rows are numbered through."""
        both = self.gallery, self.query
        return both if self.protocol.queries_in_gallery else both[:1]

    @cached_property
    def pids(self) -> np.ndarray:
        """(G,) person ids of all that is searched."""
        return np.concatenate([part.pids for part in self.parts])

    @cached_property
    def camids(self) -> np.ndarray:
        """(G,) camera ids of all that is searched."""
        return np.concatenate([part.camids for part in self.parts])

    @cached_property
    def largest(self) -> float:
        """The largest norm of a vector."""
        sides = (self.query, "query"), (self.gallery, "gallery")
        return max(_largest_norm(side, name, self.chunk) for side, name in sides)

    @cached_property
    def scale(self) -> float:
        """Grid steps in a unit of the vectors: a power of two."""
        # A unit vector may be a rounding longer than 1; up to 2^0.25 there is room for it.
        exponent = math.ceil(math.log2(self.largest) - 0.25) if self.largest else 0
        return 2.0 ** (_GRID_BITS - exponent)

    def roles(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows match this query and which do not count for it: (G,) bool each."""
        pid = int(self.query.pids[query])
        same = self.pids == pid
        if self.protocol.same_camera:  # the queries are the last rows
            junk = np.arange(len(same)) == len(self.gallery.pids) + query
        else:
            junk = same & (self.camids == int(self.query.camids[query]))
        return same & ~junk & (pid != DISTRACTOR), junk

    def distances(self, queries: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield squared Euclidean distances (G,) of each query, or of these, to all rows.

        Each is a view that may be written to, and lasts until the next one.
        """
        numbers = np.arange(len(self.query.pids)) if queries is None else queries
        step = max(1, min(self.chunk, len(numbers), _CELLS // len(self.pids)))
        memory = np.empty((step, len(self.pids)))
        for start in range(0, len(numbers), step):
            vectors = self.grid(self.query, numbers[start : start + step])  # (q, D)
            rows = memory[: len(vectors)]  # (q, G)
            done = 0
            for block in self.blocks():
                rows[:, done : done + len(block)] = between(vectors, block)
                done += len(block)
            rows /= self.scale**2
            yield from rows

    def blocks(self) -> Iterator[Tensor]:
        """Yield all rows on the grid, (n, D) with n at most `chunk`."""
        for part in self.parts:
            for start in range(0, len(part.pids), self.chunk):
                yield self.grid(part, slice(start, start + self.chunk))

    def grid(self, side: Embeddings, rows: slice | np.ndarray) -> Tensor:
        """Return some rows of a side on the grid: (n, D) float64 that hold integers."""
        taken = _take(side.vectors, rows).to(self.device, torch.float64, copy=True)
        return taken.mul_(self.scale).round_()


def between(a: Tensor, b: Tensor) -> np.ndarray:
    """(n, D) and (m, D) on the grid -> (n, m) squared Euclidean distances, exact integers."""
    norms = [torch.einsum("nd,nd->n", side, side) for side in (a, b)]  # no second (n, D)
    return (norms[0][:, None] + norms[1]).addmm_(a, b.T, alpha=-2).cpu().numpy()


def _largest_norm(embeddings: Embeddings, name: str, chunk: int) -> float:
    largest = 0.0
    for start in range(0, len(embeddings.pids), chunk):
        block = _take(embeddings.vectors, slice(start, start + chunk))
        norms = torch.linalg.vector_norm(block, dim=1, dtype=torch.float64)
        if not norms.isfinite().all():
            row = start + int((~norms.isfinite()).nonzero()[0])
            raise NumericError(
                f"{name} embedding {row} (person {embeddings.pids[row]}, camera "
                f"{embeddings.camids[row]}) is not finite: no rank could be trusted."
            )
        largest = max(largest, norms.max().item())
    return largest


def _take(vectors: Tensor | np.ndarray, rows: slice | np.ndarray) -> Tensor:
    """Return some rows as a tensor. A memory map may be read-only, which torch wants copied."""
    if isinstance(vectors, np.ndarray):
        return torch.from_numpy(np.array(vectors[rows]))
    return vectors[rows]
