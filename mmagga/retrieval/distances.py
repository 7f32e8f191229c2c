"""Exact distances between query and gallery, row by row in bounded memory.

On a grid of 2^-25 of the largest norm, coordinates are integers, and products and squared distances
stay within 2^53, up to where float64 holds every integer: the order of summation, and with it the
chunk, the threads and the device, cannot change a bit. Equal vectors therefore tie exactly, and
ties are broken by gallery order. Rounding to the grid moves a squared distance of unit vectors by
about 3e-8; a float32 matrix product is off by some 1e-7.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmagga.data.tracklets import DISTRACTOR
from mmagga.errors import DataError, NumericError
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.protocol import Protocol

_GRID_BITS = 25
_CELLS = 2**23
"""Distances held at once: 64 MB."""


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
    """Return some rows as a tensor. Read-only memory maps are copied."""
    if isinstance(vectors, np.ndarray):
        return torch.from_numpy(np.array(vectors[rows]))
    return vectors[rows]
