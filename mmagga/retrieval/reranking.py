"""k-reciprocal re-ranking by sparse rows: nothing of size nodes × nodes is ever made.

Z. Zhong, L. Zheng, D. Cao, S. Li, "Re-ranking Person Re-identification with k-reciprocal
Encoding", CVPR 2017; our own code, from the formulas. Two details are the published code's: a
distance is squared Euclidean over the largest in its row, and where queries are searched they are
nodes twice.

The nodes are the queries and all that is searched, N = Q + G. Finding neighbours takes O(N² D)
time, nearly all there is. Memory: N rows of some tens of weights, N (k1 + 1) neighbours, and blocks
of distances whose size is bounded.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csc_array, csr_array, vstack
from torch.nn.utils.rnn import pad_sequence

from mmagga.data.tracklets import DISTRACTOR
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.protocol import Protocol
from mmagga.retrieval.ranking import Ranking, Search, prepare, squared_distances
from mmagga.retrieval.scores import Scores, score_ranking

_CELLS = 2**23
"""Distances held at once while queries are ranked: 64 MB."""
_ROWS = 64
"""Nodes encoded at once: with their neighbours' vectors, some hundred MB."""


def rerank(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    chunk: int = 1024,
    device: torch.device | str = "cpu",
) -> Scores:
    """Score the search after re-ranking: `weight` · distance + (1 - `weight`) · Jaccard distance.

    `k1` neighbours make the reciprocal sets, `k2` the local query expansion; the defaults are the
    paper's. Camera rule, ties and errors are those of `evaluate`; `nearest_distance` is the
    re-ranked one. Neither `chunk` nor `device` changes a result.
    """
    search = prepare(query, gallery, protocol, chunk, device)
    nodes = replace(search, parts=(search.query, *search.parts))
    nearest, largest = _neighbours(nodes, max(k1 + 1, k2), chunk)
    encoding = _encode(nodes, nearest[:, : k1 + 1], largest, round(k1 / 2) + 1)
    if k2 > 1:
        encoding = _rows_of(nearest[:, :k2]) @ encoding / min(k2, nearest.shape[1])
    return score_ranking(search, _rank(search, encoding, largest, weight, chunk), protocol)


def _neighbours(nodes: Search, count: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Give each node's nearest nodes, itself among them, (N, count), and largest distance (N,)."""
    n = len(nodes.pids)
    count = min(count, n)
    nearest, largest = np.empty((n, count), np.int32), np.zeros(n)
    for start in range(0, n, chunk):
        some = slice(start, min(start + chunk, n))
        vectors = nodes.rows(np.arange(some.start, some.stop))
        best = np.full((len(vectors), count), np.inf)
        for first, block in nodes.blocks(chunk):
            distances = squared_distances(vectors, block).cpu().numpy()
            largest[some] = np.maximum(largest[some], distances.max(1))
            best, nearest[some] = _nearer(best, nearest[some], distances, first)
    return nearest, largest


def _nearer(
    best: np.ndarray, nearest: np.ndarray, distances: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge a block, from node `first` on, into the nearest so far (n, count); earlier on ties."""
    n, count = best.shape
    limit = best[:, -1]
    if distances.shape[1] > count:
        limit = np.minimum(limit, np.partition(distances, count - 1, axis=1)[:, count - 1])
    row, column = np.nonzero(distances <= limit[:, None])
    rows = np.concatenate([np.repeat(np.arange(n), count), row])
    values = np.concatenate([best.ravel(), distances[row, column]])
    names = np.concatenate([nearest.ravel(), first + column])
    order = np.lexsort((names, values, rows))  # stable, and later blocks have larger names
    kept = order[np.searchsorted(rows[order], np.arange(n))[:, None] + np.arange(count)]
    return values[kept], names[kept]


def _rows_of(neighbours: np.ndarray) -> csr_array:
    """(n, k) neighbours -> (n, n) matrix with a one for each."""
    n, k = neighbours.shape
    ones = np.ones(n * k, np.float32)
    return csr_array((ones, neighbours.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))


def _reciprocal(neighbours: np.ndarray) -> csr_array:
    """(n, k) neighbours -> (n, n) matrix with a one where two nodes are each other's."""
    forward = _rows_of(neighbours)
    return forward.multiply(forward.T).tocsr()


def _encode(nodes: Search, nearest: np.ndarray, largest: np.ndarray, half_count: int) -> csr_array:
    """Give each node its weights over its expanded k-reciprocal neighbours, of sum 1: (N, N)."""
    whole, half = _reciprocal(nearest), _reciprocal(nearest[:, :half_count])
    half_sizes = half.sum(1)
    parts = []
    for start in range(0, len(nearest), _ROWS):
        sets = whole[start : start + _ROWS]
        # half is symmetric: the product counts what i's set and j's half set have in common.
        common = sets.multiply(sets @ half).tocsr()
        common.data = (3 * common.data > 2 * half_sizes[common.indices]).astype(np.float32)
        expanded = (sets + common @ half).tocsr()
        expanded.eliminate_zeros()
        expanded.sort_indices()
        row = np.repeat(np.arange(len(sets.indptr) - 1), np.diff(expanded.indptr))
        columns, inverse = np.unique(expanded.indices, return_inverse=True)
        between = squared_distances(
            nodes.rows(np.arange(start, start + len(sets.indptr) - 1)), nodes.rows(columns)
        )
        distances = between.cpu().numpy()[row, inverse]
        scale = largest[start + row]  # 0 where all nodes are one point, and distances 0 with it
        weights = np.exp(-distances / np.where(scale > 0, scale, 1))
        sums = np.bincount(row, weights, minlength=len(sets.indptr) - 1)
        parts.append(csr_array((weights / sums[row], expanded.indices, expanded.indptr),
                               shape=expanded.shape))  # fmt: skip
    return vstack(parts, format="csr")


def _rank(
    search: Search, encoding: csr_array, largest: np.ndarray, weight: float, chunk: int
) -> Ranking:
    """Rank the matches of every query by the re-ranked distance."""
    queries = len(search.query.pids)
    pids = search.pids.numpy()
    by_column = encoding.tocsc()
    ranks, rows = [], []
    nearest, distance = np.full(queries, -1), np.full(queries, np.inf)
    step = max(1, min(chunk, _CELLS // len(pids)))
    for start in range(0, queries, step):
        vectors = search.queries(slice(start, start + step))
        blocks = [squared_distances(vectors, block) for _, block in search.blocks(chunk)]
        for q, row in enumerate(torch.cat(blocks, 1).cpu().numpy(), start):  # (G,)
            row *= weight / (largest[q] or 1)
            row += (1 - weight) * _jaccard(encoding, by_column, q)[queries:]
            same = pids == int(search.query.pids[q])
            junk = search.excluded(np.array([q]), np.arange(len(pids)))[0].numpy()
            row[junk] = np.inf
            order = np.argsort(row, kind="stable")
            hits = same & ~junk & (pids != DISTRACTOR)
            ranks.append(torch.from_numpy(np.flatnonzero(hits[order]) + 1))
            rows.append(torch.from_numpy(order[hits[order]]))
            if not junk.all():
                nearest[q], distance[q] = order[0], row[order[0]]
    first, second = (pad_sequence(each, batch_first=True) for each in (ranks, rows))
    return Ranking(first, second, torch.from_numpy(nearest), torch.from_numpy(distance))


def _jaccard(encoding: csr_array, by_column: csc_array, node: int) -> np.ndarray:
    """Jaccard distance from one node to all, (N,), of weights whose sum is 1 each."""
    mine = slice(encoding.indptr[node], encoding.indptr[node + 1])
    columns, weights = encoding.indices[mine], encoding.data[mine]
    starts, ends = by_column.indptr[columns], by_column.indptr[columns + 1]
    counts = ends - starts
    # The cells of these columns, one column after the other.
    cells = np.repeat(ends - counts.cumsum(), counts) + np.arange(counts.sum())
    least = np.minimum(by_column.data[cells], np.repeat(weights, counts))
    shared = np.bincount(by_column.indices[cells], least, minlength=encoding.shape[0])
    return 1 - shared / (2 - shared)
