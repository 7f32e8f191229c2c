"""Re-ranking against a small dense version, written node by node from the formulas."""

import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmagga.retrieval import PROTOCOLS, Embeddings, distances, evaluate, reranking
from mmagga.retrieval.reranking import rerank

MEASURES = ["average_precision", "inp", "first_hit", "last_hit", "matches", "nearest"]


def people(n: int, seed: int, ids: int = 9, dim: int = 6, noise: float = 0.9) -> Embeddings:
    g = np.random.default_rng(seed)
    pids = g.integers(0, ids, n)
    centres = np.random.default_rng(99).standard_normal((ids, dim))
    vectors = centres[pids] + noise * g.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    parts = torch.from_numpy(pids), torch.from_numpy(g.integers(1, 4, n))
    return Embeddings(torch.from_numpy(vectors).float(), *parts)


def dense(query, searched, k1, k2, weight) -> np.ndarray:
    """(Q, G) re-ranked distances, with a loop for every "for all" in the paper."""
    v = torch.cat([query.vectors, searched.vectors]).double().numpy()
    d = ((v[:, None] - v) ** 2).sum(2)
    d = d / d.max(1, keepdims=True)
    order = np.argsort(d.round(9), axis=1, kind="stable")
    n = len(v)

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    encoding = np.zeros((n, n))
    for i in range(n):
        found = reciprocal(i, k1)
        expanded = set(found)
        for j in found:
            half = reciprocal(j, round(k1 / 2))
            if len(found & half) > 2 / 3 * len(half):
                expanded |= half
        for j in expanded:
            encoding[i, j] = np.exp(-d[i, j])
        encoding[i] /= encoding[i].sum()
    if k2 > 1:
        encoding = np.stack([encoding[order[i, :k2]].mean(0) for i in range(n)])
    least = np.minimum(encoding[:, None], encoding).sum(2)
    most = np.maximum(encoding[:, None], encoding).sum(2)
    final = (1 - weight) * (1 - least / most) + weight * d
    q = len(query.pids)
    return final[:q, q:]


def ranked(distances, query, searched) -> pd.DataFrame:
    rows = []
    for row, pid, camid in zip(distances, query.pids, query.camids):
        same, here = (searched.pids == pid).numpy(), (searched.camids == camid).numpy()
        order = [i for i in np.argsort(row.round(9), kind="stable") if not (same[i] and here[i])]
        ranks = [r for r, i in enumerate(order, 1) if same[i] and pid != 0]
        ap = np.mean([n / r for n, r in enumerate(ranks, 1)]) if ranks else np.nan
        ends = (ranks[0], ranks[-1]) if ranks else (np.nan, np.nan)
        inp = len(ranks) / ranks[-1] if ranks else np.nan
        rows.append((ap, inp, *ends, len(ranks), order[0]))
    return pd.DataFrame(rows, columns=MEASURES)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    k1=st.integers(1, 12),
    k2=st.integers(1, 5),
    weight=st.sampled_from([0.0, 0.3, 0.8]),
    protocol=st.sampled_from(["mars", "query_gallery"]),
    chunk=st.sampled_from([7, 32, 500]),
)
def test_the_formulas(seed, k1, k2, weight, protocol, chunk):
    query, gallery = people(12, seed), people(50, seed + 1)
    searched = gallery
    if protocol == "mars":
        searched = Embeddings(*(torch.cat(pair) for pair in zip(gallery, query)))
    expected = dense(query, searched, k1, k2, weight)
    scores = rerank(query, gallery, PROTOCOLS[protocol], k1=k1, k2=k2, weight=weight, chunk=chunk)
    found = scores.per_query
    table = ranked(expected, query, searched)
    reached = expected[np.arange(12), table["nearest"]]
    np.testing.assert_allclose(found["nearest_distance"].to_numpy(float), reached, atol=1e-6)
    if weight:  # without the distance, ties of the Jaccard distance hang on the last bit
        np.testing.assert_allclose(
            found[MEASURES].astype("Float64").to_numpy(float, na_value=np.nan),
            table.to_numpy(float),
            rtol=1e-12,
        )


def test_it_helps_where_neighbours_are_friends():
    query, gallery = people(40, 1, 30, 24, 0.8), people(400, 2, 30, 24, 0.8)
    before, after = (f(query, gallery, PROTOCOLS["mars"]) for f in (evaluate, rerank))
    assert after.mAP > before.mAP + 0.02
    assert (after.valid_queries, after.gallery_size) == (before.valid_queries, before.gallery_size)


def test_without_jaccard_nothing_changes():
    query, gallery = people(20, 1), people(90, 2)
    before = evaluate(query, gallery, PROTOCOLS["mars"]).per_query
    after = rerank(query, gallery, PROTOCOLS["mars"], weight=1.0).per_query
    columns = [name for name in before if name != "nearest_distance"]
    pd.testing.assert_frame_equal(before[columns], after[columns])


def test_chunks_change_nothing(monkeypatch):
    query, gallery = people(30, 3), people(170, 4)
    gallery.vectors[100:150] = gallery.vectors[:50]  # exact ties
    gallery.vectors[150:] = gallery.vectors[0]  # more equal nodes than neighbours
    whole = rerank(query, gallery, PROTOCOLS["mars"])
    monkeypatch.setattr(reranking, "_ROWS", 5)
    monkeypatch.setattr(distances, "_CELLS", 1000)
    parts = rerank(query, gallery, PROTOCOLS["mars"], chunk=11)
    pd.testing.assert_frame_equal(whole.per_query, parts.per_query, check_exact=True)


def test_fewer_nodes_than_neighbours_and_one_point():
    query, gallery = people(3, 3, 2), people(6, 4, 2)
    gallery = gallery._replace(pids=gallery.pids + 1, camids=gallery.camids + 3)
    query = query._replace(pids=query.pids + 1)
    assert 0 < rerank(query, gallery, PROTOCOLS["mars"]).mAP <= 1
    query.vectors[:], gallery.vectors[:] = 1, 1
    point = rerank(query, gallery, PROTOCOLS["query_gallery"])
    expected = evaluate(query, gallery, PROTOCOLS["query_gallery"])
    assert point.per_query["first_hit"].equals(expected.per_query["first_hit"])


def test_without_a_match_it_is_ranked_and_not_scored():
    query, gallery = people(3, 3), people(6, 4)
    found = rerank(query, gallery._replace(pids=gallery.pids + 50), PROTOCOLS["query_gallery"])
    assert np.isnan([found.mAP, found.mINP, found.rank(1)]).all()
    assert (found.per_query["nearest"] >= 0).all()


def test_of_a_single_camera_only_the_query_itself_is_excluded():
    query = people(8, 3)
    query = query._replace(camids=torch.ones_like(query.camids))
    empty = Embeddings(*(field[:0] for field in query))
    found = rerank(query, empty, PROTOCOLS["one_camera"], weight=1.0).per_query
    expected = evaluate(query, empty, PROTOCOLS["one_camera"]).per_query
    assert (found["nearest"] != found["query"]).all()
    assert found["nearest"].tolist() == expected["nearest"].tolist()
    assert found["matches"].tolist() == expected["matches"].tolist()
