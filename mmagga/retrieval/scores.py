"""CMC, mAP and mINP, and the rank lists behind them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmagga.data.tracklets import DISTRACTOR
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.protocol import Protocol
from mmagga.retrieval.ranking import Ranking, Search, prepare, rank_matches, squared_distances

MAX_RANK = 50
"""CMC curves end here, or at the size of the gallery."""


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
        """Give the CMC at rank k: NaN beyond the end of the curve, where it means nothing."""
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
    """Score the search for every query, by squared Euclidean distance.

    Gallery tracklets of the query's person and camera do not count (of a single camera: the query
    itself, see `Protocol.same_camera`); a query with no match left is dropped, and counted. AP is
    the mean over the hits of (hits so far / rank), INP is hits / rank of the last hit; ties keep
    gallery order. `chunk` queries meet `chunk` gallery rows at a time, all queries being held in
    float64: that bounds the memory. Neither `chunk` nor `device` changes a result. See `ranking`
    for how.

    Raises DataError where the sides do not fit, and NumericError where an embedding is not finite.
    Where no query has a match the measures are NaN.
    """
    search = prepare(query, gallery, protocol, chunk, device)
    return score_ranking(search, rank_matches(search, chunk), protocol)


def score_ranking(search: Search, ranking: Ranking, protocol: Protocol) -> Scores:
    """Turn the ranks of the matches into scores, NaN where there are none."""
    query = search.query
    per_query = _per_query(query, search.pids, ranking)
    valid = per_query[per_query["matches"] > 0]
    size = len(search.pids)
    first_hits = np.bincount(valid["first_hit"].to_numpy(int), minlength=MAX_RANK + 1)
    cmc = np.cumsum(first_hits[1:])[: min(MAX_RANK, size)] / (len(valid) or np.nan)
    means = valid[["average_precision", "inp"]].mean()
    hits = _hits(search, ranking)
    return Scores(protocol, cmc, float(means.iat[0]), float(means.iat[1]), per_query, hits, size)


def _per_query(query: Embeddings, gallery_pids: Tensor, ranking: Ranking) -> pd.DataFrame:
    """One row a query; see `Scores`."""
    ranks, nearest = ranking.ranks.numpy(), ranking.nearest.numpy()  # (Q, K), (Q,)
    matches = (ranks > 0).sum(1)
    hits = np.arange(1, ranks.shape[1] + 1)
    precision = np.divide(hits, ranks, out=np.zeros(ranks.shape), where=ranks > 0)
    # At rank 1 the precision just before is 1, as in MARS's code.
    before = np.divide(hits - 1, ranks - 1, out=np.ones(ranks.shape), where=ranks > 1)
    trapezoid = np.where(ranks > 0, (before + precision) / 2, 0)
    last = ranks.max(1, initial=0)
    table = pd.DataFrame(
        {
            "query": np.arange(len(ranks)),
            "pid": query.pids.numpy(),
            "camid": query.camids.numpy(),
            "average_precision": precision.sum(1) / np.maximum(matches, 1),
            "trapezoid_precision": trapezoid.sum(1) / np.maximum(matches, 1),
            "inp": matches / np.maximum(last, 1),
            "first_hit": ranks[:, :1].sum(1),  # K may be 0
            "last_hit": last,
            "matches": matches,
            "nearest": nearest,
            "nearest_pid": gallery_pids.numpy()[nearest],
            "nearest_distance": ranking.distance.numpy(),
        }
    )
    unmatched = ["average_precision", "trapezoid_precision", "inp", "first_hit", "last_hit"]
    alone = ["nearest", "nearest_pid", "nearest_distance"]
    table = table.astype(dict.fromkeys([*unmatched[3:], *alone[:2]], "Int64"))
    table.loc[matches == 0, unmatched] = np.nan
    table.loc[nearest < 0, alone] = np.nan
    return table


def _hits(search: Search, ranking: Ranking) -> pd.DataFrame:
    """One row a match; see `Scores`."""
    query, _ = found = (ranking.ranks > 0).nonzero(as_tuple=True)
    gallery = ranking.rows[found]
    return pd.DataFrame(
        {
            "query": query,
            "camid": search.query.camids[query],
            "rank": ranking.ranks[found],
            "gallery": gallery,
            "gallery_camid": search.camids[gallery],
        }
    )


def rank_list(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    query_row: int,
    top: int = 10,
    *,
    chunk: int = 1024,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """List what one query finds first: gallery (its row), distance, pid, camid, match; by rank.

    What does not count is left out, as in `evaluate`, and the distances and
    ties are the same. Rows past the gallery's own are queries, where the protocol searches them.
    """
    if not 0 <= query_row < len(query.pids):
        raise IndexError(f"there are {len(query.pids)} queries; {query_row} is none of them")
    search = prepare(query, gallery, protocol, chunk, device)
    vector = search.queries(np.array([query_row]))
    distances = torch.cat(
        [squared_distances(vector, block)[0].cpu() for _, block in search.blocks(chunk)]
    ).numpy()
    pids, camids = search.pids.numpy(), search.camids.numpy()
    pid = int(query.pids[query_row])
    same = pids == pid
    excluded = search.excluded(np.array([query_row]), np.arange(len(pids)))[0].numpy()
    counts = np.flatnonzero(~excluded)
    distances = distances[counts] / search.scale**2
    order = np.argsort(distances, kind="stable")[:top]
    rows = counts[order]
    return pd.DataFrame(
        {
            "gallery": rows,
            "distance": distances[order],
            "pid": pids[rows],
            "camid": camids[rows],
            "match": same[rows] & (pid != DISTRACTOR),
        },
        index=pd.RangeIndex(1, len(rows) + 1, name="rank"),
    )
