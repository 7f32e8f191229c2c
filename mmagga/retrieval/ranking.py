"""Ranks of the matches, without a sorted list of the gallery.

CMC, AP and INP need only the ranks of a query's matches, and a match's rank is one more than the
number of gallery tracklets before it. So the distances of the matches come first, and then the
gallery goes by in blocks, each of which adds to the counts: memory does not grow with the gallery.

Distances are exact. On a grid of 2^-25 of the largest norm, coordinates are integers, and products
and squared distances stay within 2^53, up to where float64 holds every integer: the order of
summation, and with it the block, the threads and the device, cannot change a bit. Equal vectors
therefore tie exactly, and ties are broken by gallery order. Rounding to the grid moves a squared
distance of unit vectors by about 3e-8; a float32 matrix product is off by some 1e-7.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmagga.data.tracklets import DISTRACTOR
from mmagga.errors import DataError, NumericError
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.protocol import Protocol

_GRID_BITS = 25
_NOWHERE = torch.iinfo(torch.int64).max
"""Gallery row of a match that does not exist: after every other."""


@dataclass(frozen=True)
class Search:
    """Queries and what they search, on the grid: nothing is copied before it is needed."""

    query: Embeddings
    parts: tuple[Embeddings, ...]
    """The gallery and, where the protocol wants it, the queries; rows are numbered through."""
    scale: float
    """Grid steps in a unit of the vectors: a power of two."""
    largest: float
    """The largest norm of a vector, in its own units."""
    device: torch.device | str
    protocol: Protocol

    def excluded(self, queries: np.ndarray, rows: np.ndarray) -> Tensor:
        """(q, n) bool: which of the searched `rows` (n,) do not count for `queries` (q,).

        Those of the query's person and camera or, if the protocol allows the same camera, the
        query itself.
        """
        some, searched = torch.from_numpy(queries), torch.from_numpy(rows)
        if self.protocol.same_camera:
            own = len(self.pids) - len(self.query.pids)  # the queries are the last rows searched
            return (own + some)[:, None] == searched
        same = self.query.pids[some, None] == self.pids[searched]
        return same & (self.query.camids[some, None] == self.camids[searched])

    @property
    def pids(self) -> Tensor:
        """(G,) person ids of all that is searched."""
        return torch.cat([part.pids for part in self.parts])

    @property
    def camids(self) -> Tensor:
        """(G,) camera ids of all that is searched."""
        return torch.cat([part.camids for part in self.parts])

    def queries(self, rows: slice | np.ndarray) -> Tensor:
        """Give some queries on the grid: (n, D) float64 holding integers."""
        return self._on_grid(self.query.vectors, rows)

    def blocks(self, chunk: int) -> Iterator[tuple[int, Tensor]]:
        """Give (first row, (n, D) on the grid) of all that is searched, n at most `chunk`."""
        offset = 0
        for part in self.parts:
            for start in range(0, len(part.pids), chunk):
                yield offset + start, self._on_grid(part.vectors, slice(start, start + chunk))
            offset += len(part.pids)

    def rows(self, rows: np.ndarray) -> Tensor:
        """Give the searched rows of these ascending numbers, on the grid."""
        offset, found = 0, []
        for part in self.parts:
            inside = rows[(rows >= offset) & (rows < offset + len(part.pids))]
            found.append(self._on_grid(part.vectors, inside - offset))
            offset += len(part.pids)
        return torch.cat(found)

    def _on_grid(self, vectors: Tensor | np.ndarray, rows: slice | np.ndarray) -> Tensor:
        taken = _take(vectors, rows).to(self.device, torch.float64)
        return (taken * self.scale).round_()


def prepare(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    chunk: int,
    device: torch.device | str,
) -> Search:
    """Check both sides and choose the grid. Raises DataError or NumericError, naming the row."""
    if not len(query.pids) or not (len(gallery.pids) or protocol.queries_in_gallery):
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
    if protocol.disjoint_cameras and len(shared):
        raise DataError(
            f'Protocol "{protocol.name}" expects queries and gallery from different cameras, but '
            f'both have camera {shared[0]}. Did you want "query_gallery" or "mars"?'
        )
    largest = max(_largest_norm(query, "query", chunk), _largest_norm(gallery, "gallery", chunk))
    # A unit vector may be a rounding longer than 1; up to 2^0.25 there is room for it.
    exponent = math.ceil(math.log2(largest) - 0.25) if largest else 0
    parts = (gallery, query) if protocol.queries_in_gallery else (gallery,)
    return Search(query, parts, 2.0 ** (_GRID_BITS - exponent), largest, device, protocol)


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
    """Give some rows as a tensor. A memory map may be read-only, which torch wants copied."""
    if isinstance(vectors, np.ndarray):
        return torch.from_numpy(np.array(vectors[rows]))
    return vectors[rows]


def squared_norms(vectors: Tensor) -> Tensor:
    """(n, D) on the grid -> (n,), without a second (n, D)."""
    return torch.einsum("nd,nd->n", vectors, vectors)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, D) and (m, D) on the grid -> (n, m) squared Euclidean, exact integers in float64."""
    return _squared_distances(a, squared_norms(a), b, squared_norms(b))


def _squared_distances(a: Tensor, a_norms: Tensor, b: Tensor, b_norms: Tensor) -> Tensor:
    return (a_norms[:, None] + b_norms).addmm_(a, b.T, alpha=-2)


@dataclass(frozen=True)
class Matches:
    """The matches of all queries, nearest first, then in gallery order; K is the largest number."""

    distances: Tensor
    """(Q, K) on the grid, infinite where there is no further match."""
    rows: Tensor
    """(Q, K) int64 rows of the gallery."""


def find_matches(search: Search) -> Matches:
    """Find the same person under another camera, for every query. Distractors match nobody."""
    of_query, of_gallery = (
        pd.Series(0, range(len(pids))).groupby(pids.numpy()).indices
        for pids in (search.query.pids, search.pids)
    )
    pairs = []
    for pid in of_query.keys() & of_gallery.keys() - {DISTRACTOR}:
        queries, rows = of_query[pid], of_gallery[pid]
        distances = squared_distances(search.queries(queries), search.rows(rows)).cpu()
        junk = search.excluded(queries, rows)
        pairs.append((queries, torch.from_numpy(rows), distances.masked_fill_(junk, math.inf)))
    shape = len(search.query.pids), max((len(rows) for _, rows, _ in pairs), default=0)
    distances = torch.full(shape, math.inf, dtype=torch.float64)
    rows = torch.full(shape, _NOWHERE)
    for queries, gallery_rows, found in pairs:
        distances[queries, : len(gallery_rows)] = found
        rows[queries, : len(gallery_rows)] = gallery_rows
    rows[distances.isinf()] = _NOWHERE
    distances, order = distances.sort(dim=1, stable=True)  # rows ascend: ties stay in gallery order
    return Matches(distances.to(search.device), rows.gather(1, order).to(search.device))


@dataclass(frozen=True)
class Ranking:
    """What a search found, on the CPU."""

    ranks: Tensor
    """(Q, K) ranks of the matches, ascending from 1; 0 where there is no further match."""
    rows: Tensor
    """(Q, K) rows of these matches; without meaning where there is none."""
    nearest: Tensor
    """(Q,) row of the nearest gallery tracklet that counts, -1 where there is none."""
    distance: Tensor
    """(Q,) its squared Euclidean distance, in units of the vectors."""


def rank_matches(search: Search, chunk: int) -> Ranking:
    """Rank the matches of every query among the gallery tracklets that count for it."""
    matches = find_matches(search)
    before = torch.zeros_like(matches.rows)  # (Q, K)
    nearest = torch.full((len(before),), -1, device=search.device)
    distance = torch.full((len(before),), math.inf, dtype=torch.float64, device=search.device)
    numbers = np.arange(len(before))
    slices = [slice(start, start + chunk) for start in range(0, len(before), chunk)]
    queries = [search.queries(some) for some in slices]
    norms = [squared_norms(vectors) for vectors in queries]
    for first, block in search.blocks(chunk):
        columns = np.arange(first, first + len(block))
        block_norms = squared_norms(block)
        for some, vectors, vector_norms in zip(slices, queries, norms):
            distances = _squared_distances(vectors, vector_norms, block, block_norms)
            junk = search.excluded(numbers[some], columns)
            distances.masked_fill_(junk.to(search.device), math.inf)
            ascending = _sorted(distances)
            before[some] += _count_before(
                distances, ascending, first, matches.distances[some], matches.rows[some]
            )
            nearer = (ascending[:, 0] < distance[some]).nonzero()[:, 0]
            rows = some.start + nearer
            distance[rows] = ascending[nearer, 0]
            nearest[rows] = first + _first_of_least(distances[nearer])
    ranks = (1 + before).masked_fill(matches.distances.isinf(), 0)
    distance = distance.cpu() / search.scale**2
    return Ranking(ranks.cpu(), matches.rows.cpu(), nearest.cpu(), distance)


def _sorted(distances: Tensor) -> Tensor:
    """Sort each row. On a CPU NumPy's sort is several times faster than torch's: it uses AVX."""
    if distances.device.type == "cpu":
        return torch.from_numpy(np.sort(distances.numpy(), axis=1))
    return distances.sort(dim=1).values


def _first_of_least(distances: Tensor) -> Tensor:
    """(n, m) -> (n,) column of each row's least value, the first of equals."""
    least = distances == distances.amin(1, keepdim=True)
    return least.to(torch.uint8).argmax(1)


def _count_before(
    distances: Tensor, ascending: Tensor, first: int, near: Tensor, rows: Tensor
) -> Tensor:
    """Count the block's tracklets before each match: nearer, or as near and earlier: (q, K).

    `distances` (q, n) of the block that starts at row `first`, `ascending` the same, each row
    sorted; `near` and `rows` (q, K) of the matches.
    """
    nearer = torch.searchsorted(ascending, near)
    as_near = torch.searchsorted(ascending, near, side="right") - nearer
    last = first + distances.shape[1]
    itself = (first <= rows) & (rows < last)
    tied = (as_near > itself) & near.isfinite()
    numbers = torch.arange(first, last, device=distances.device)
    for match in tied.any(0).nonzero()[:, 0]:
        some = tied[:, match].nonzero()[:, 0]
        earlier = distances[some] == near[some, match, None]
        earlier &= numbers < rows[some, match, None]
        nearer[some, match] += earlier.sum(1)
    return nearer
