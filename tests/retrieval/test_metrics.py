"""Scores against the authors' numbers, a plain loop, scikit-learn and a table made by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mmagga.errors import DataError, NumericError
from mmagga.retrieval import PROTOCOLS, Embeddings, Protocol, distances, evaluate, rank_list
from mmagga.retrieval.metrics import rank_lists

PARITY = Path(__file__).parents[1] / "parity"
PLAIN = PROTOCOLS["query_gallery"]
MEASURES = ["average_precision", "inp", "first_hit", "last_hit", "matches", "nearest"]


def make(vectors, pids, camids) -> Embeddings:
    return Embeddings(
        torch.as_tensor(np.asarray(vectors), dtype=torch.float32),
        torch.as_tensor(np.asarray(pids), dtype=torch.int64),
        torch.as_tensor(np.asarray(camids), dtype=torch.int64),
    )


def on_a_line(positions, pids, camids) -> Embeddings:
    return make(np.asarray(positions, float)[:, None], pids, camids)


def random_set(n: int, seed: int, ids: int = 12, dim: int = 16) -> Embeddings:
    g = np.random.default_rng(seed)
    vectors = g.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return make(vectors, g.integers(0, ids, n), g.integers(1, 5, n))


def joined(gallery: Embeddings, query: Embeddings) -> Embeddings:
    return Embeddings(*(torch.cat(pair) for pair in zip(gallery, query)))


def plain_loop(query: Embeddings, gallery: Embeddings) -> pd.DataFrame:
    """The definition, query by query, in float64."""
    rows = []
    for vector, pid, camid in zip(*(part.double().numpy() for part in query)):
        distance = ((gallery.vectors.double().numpy() - vector) ** 2).sum(1)
        same, here = gallery.pids.numpy() == pid, gallery.camids.numpy() == camid
        order = [i for i in np.argsort(distance, kind="stable") if not (same[i] and here[i])]
        ranks = [r for r, i in enumerate(order, 1) if same[i] and pid != 0]
        ap = np.mean([n / r for n, r in enumerate(ranks, 1)]) if ranks else math.nan
        inp = len(ranks) / ranks[-1] if ranks else math.nan
        ends = (ranks[0], ranks[-1]) if ranks else (math.nan, math.nan)
        rows.append((ap, inp, *ends, len(ranks), order[0] if order else math.nan))
    return pd.DataFrame(rows, columns=MEASURES)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    np.testing.assert_allclose(
        found[MEASURES].astype("Float64").to_numpy(float, na_value=np.nan),
        expected[MEASURES].to_numpy(float),
        rtol=1e-12,
    )


def test_the_authors_numbers():
    with np.load(PARITY / "metrics.npz") as file:
        pack = dict(file)
    # The pack's persons count from 0; here 0 is a distractor, which nobody is.
    query, gallery = (
        make(pack[f"{s}_features"], pack[f"{s}_pids"] + 1, pack[f"{s}_camids"])
        for s in ("query", "gallery")
    )
    scores = evaluate(query, gallery, PLAIN)
    np.testing.assert_allclose(scores.cmc, pack["cmc"], rtol=1e-6)
    assert scores.mAP == pytest.approx(float(pack["mAP"]), rel=1e-6)
    assert scores.mINP == pytest.approx(float(pack["mINP"]), rel=1e-6)
    assert_same(scores.per_query, plain_loop(query, gallery))


# Few positions, persons and cameras: ties, junk, distractors and unmatched queries abound.
tracklet = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 2))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(tracklet, min_size=1, max_size=6),
    st.lists(tracklet, min_size=1, max_size=14),
    st.booleans(),
    st.integers(1, 20),
)
def test_a_plain_loop_with_ties(queries, gallery, queries_in_gallery, chunk):
    query, gallery = (on_a_line(*zip(*rows)) for rows in (queries, gallery))
    expected = plain_loop(query, joined(gallery, query) if queries_in_gallery else gallery)
    protocol = Protocol("test", queries_in_gallery)
    scores = evaluate(query, gallery, protocol, chunk=chunk)
    assert_same(scores.per_query, expected)
    if expected["matches"].sum() == 0:
        assert np.isnan([*scores.cmc, scores.mAP, scores.mINP]).all()
        assert scores.summary()["mAP"] is None
        assert str(scores).startswith(f"ranked, not scored: none of the {len(queries)} queries")
        return
    assert scores.mAP == pytest.approx(expected["average_precision"].mean())
    assert scores.mINP == pytest.approx(expected["inp"].mean())
    valid = expected["first_hit"].dropna()
    ranks = np.arange(1, len(scores.cmc) + 1)
    np.testing.assert_allclose(scores.cmc, (valid.to_numpy()[:, None] <= ranks).mean(0))


@settings(deadline=None, max_examples=50)
@given(st.lists(tracklet, min_size=1, max_size=9), st.integers(1, 20))
def test_of_a_single_camera_only_the_query_itself_is_excluded(rows, chunk):
    everybody = on_a_line(*zip(*rows))
    empty = Embeddings(*(field[:0] for field in everybody))
    # The same by the common rule: each tracklet has a camera of its own.
    apart = everybody._replace(camids=torch.arange(len(rows)))
    protocol = PROTOCOLS["one_camera"]
    found = evaluate(everybody, empty, protocol, chunk=chunk).per_query
    assert_same(found, plain_loop(apart, apart))
    for row in found.itertuples():
        ranked = rank_list(everybody, empty, protocol, row.query, top=99)
        assert sorted([*ranked["gallery"], row.query]) == list(range(len(rows)))
        assert ranked["match"].sum() == row.matches


def test_scikit_learn_agrees():
    query, gallery = random_set(30, 1), random_set(200, 2)
    per_query = evaluate(query, gallery, PLAIN).per_query
    for row in per_query[per_query["matches"] > 0].itertuples():
        same = gallery.pids == row.pid
        counts = ~(same & (gallery.camids == row.camid))
        distance = (gallery.vectors - query.vectors[row.query]).square().sum(1)[counts]
        expected = average_precision_score(same[counts].numpy(), -distance.numpy())
        assert row.average_precision == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("protocol", ["mars", "query_gallery"])
def test_chunk_changes_nothing(protocol, monkeypatch):
    query, gallery = random_set(70, 3, dim=512), random_set(333, 4, dim=512)
    gallery.vectors[200:300] = gallery.vectors[:100]  # exact ties, far apart
    gallery.vectors[50:60] = query.vectors[:10]
    whole = evaluate(query, gallery, PROTOCOLS[protocol], chunk=1000)
    for chunk in (13, 64, 333):
        part = evaluate(query, gallery, PROTOCOLS[protocol], chunk=chunk)
        pd.testing.assert_frame_equal(part.per_query, whole.per_query, check_exact=True)
    monkeypatch.setattr(distances, "_CELLS", 1000)  # three queries at once
    part = evaluate(query, gallery, PROTOCOLS[protocol])
    pd.testing.assert_frame_equal(part.per_query, whole.per_query, check_exact=True)


def test_threads_change_nothing():
    query, gallery = random_set(40, 5, dim=512), random_set(300, 6, dim=512)
    threads = torch.get_num_threads()
    try:
        tables = []
        for n in (1, 2):
            torch.set_num_threads(n)
            tables.append(evaluate(query, gallery, PLAIN).per_query)
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_equal_vectors_tie_and_keep_gallery_order():
    g = np.random.default_rng(0)
    vector = g.standard_normal((1, 999)) / 30
    query = make(g.standard_normal((5, 999)) / 30, [1] * 5, [1] * 5)
    pids = np.full(101, 2)
    pids[70] = 1
    gallery = make(np.repeat(vector, 101, axis=0), pids, [2] * 101)
    per_query = evaluate(query, gallery, PLAIN, chunk=16).per_query
    assert (per_query["first_hit"] == 71).all()
    assert (per_query["nearest"] == 0).all()
    thirds = on_a_line(np.arange(300) % 3, [2] * 300, [2] * 300)
    ranked = rank_list(on_a_line([0], [1], [1]), thirds, PLAIN, 0, top=300, chunk=16)
    assert ranked["gallery"].tolist() == [*range(0, 300, 3), *range(1, 300, 3), *range(2, 300, 3)]


def test_the_camera_rule():
    # Nearest is the query's own tracklet (same camera): it does not count, nor does it take a rank.
    query = on_a_line([0], [7], [1])
    gallery = on_a_line([0, 1, 2, 3], [7, 8, 7, 7], [1, 1, 2, 1])
    row = evaluate(query, gallery, PLAIN).per_query.iloc[0]
    assert (row["matches"], row["first_hit"], row["last_hit"]) == (1, 2, 2)
    assert (row["nearest"], row["nearest_pid"], row["nearest_distance"]) == (1, 8, 1.0)


def test_distractors_match_nobody():
    query = on_a_line([0, 0], [0, 5], [1, 1])
    gallery = on_a_line([1, 2], [0, 5], [2, 2])
    scores = evaluate(query, gallery, PLAIN)
    assert scores.per_query["matches"].tolist() == [0, 1]
    assert scores.per_query["first_hit"].tolist() == [pd.NA, 2]
    assert scores.identities == 1
    assert not rank_list(query, gallery, PLAIN, 0)["match"].any()


def test_queries_in_the_gallery_or_not():
    # By hand. Person 1: its match lies at 4. Person 2 is seen elsewhere only by other queries.
    query = on_a_line([0, 10, 11], [1, 2, 2], [1, 1, 2])
    gallery = on_a_line([4, 1], [1, 3], [2, 2])
    without = evaluate(query, gallery, PROTOCOLS["mars_without_queries"])
    assert (without.valid_queries, without.dropped_queries, without.gallery_size) == (1, 2, 2)
    assert without.mAP == without.mINP == 0.5  # person 3 at 1 comes first
    assert "1 of 3 queries have a match" in str(without)

    both = evaluate(query, gallery, PROTOCOLS["mars"])
    assert (both.valid_queries, both.dropped_queries, both.gallery_size) == (3, 0, 5)
    assert both.per_query["nearest"].tolist() == [1, 4, 3]  # rows 2, 3, 4 are the queries
    assert both.per_query["average_precision"].tolist() == [0.5, 1, 1]
    assert both.rank(1) == pytest.approx(2 / 3)


def test_a_gallery_of_five():
    query = on_a_line([0], [1], [1])
    gallery = on_a_line([1, 2, 3, 4, 5], [2, 3, 4, 5, 1], [2] * 5)
    scores = evaluate(query, gallery, PLAIN)
    assert scores.cmc.tolist() == [0, 0, 0, 0, 1]
    assert scores.rank(5) == 1
    assert math.isnan(scores.rank(20))
    assert "Rank-20 n/a" in str(scores)
    summary = json.loads(json.dumps(scores.summary(), allow_nan=False))
    assert (summary["rank-5"], summary["rank-20"], summary["mAP"]) == (1.0, None, 0.2)
    with pytest.raises(ValueError, match="begin at 1"):
        scores.rank(0)


def test_a_first_hit_past_the_curve():
    query = on_a_line([0], [1], [1])
    gallery = on_a_line(range(80), [2] * 79 + [1], [2] * 80)
    scores = evaluate(query, gallery, PLAIN)
    assert len(scores.cmc) == 50
    assert scores.cmc.sum() == 0
    assert scores.mAP == 1 / 80


def test_a_query_with_nothing_to_search():
    query = on_a_line([0, 0], [1, 2], [1, 1])
    gallery = on_a_line([1], [1], [1])
    per_query = evaluate(query, on_a_line([1, 3], [1, 2], [1, 2]), PLAIN).per_query
    assert per_query["nearest"].tolist() == [1, 0]
    nobody = evaluate(query, gallery, PLAIN)
    assert nobody.valid_queries == 0
    assert nobody.per_query["nearest"].isna().tolist() == [True, False]
    assert "(the same person under another camera)" in str(nobody)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_values_that_are_not_finite(value, side):
    sides = {"query": random_set(5, 0), "gallery": random_set(40, 1)}
    sides[side].vectors[3, 2] = value
    with pytest.raises(NumericError, match=f"{side} embedding 3 .person"):
        evaluate(**sides, protocol=PLAIN, chunk=2)


def test_sides_that_do_not_fit():
    with pytest.raises(DataError, match="different models"):
        evaluate(random_set(5, 0), random_set(5, 0, dim=8), PLAIN)
    with pytest.raises(DataError, match="found 5 and 0"):
        evaluate(random_set(5, 0), random_set(0, 0), PLAIN)
    with pytest.raises(DataError, match="both have camera 1"):
        evaluate(random_set(50, 0), random_set(50, 1), PROTOCOLS["two_camera"])


def test_a_memory_mapped_gallery(tmp_path):
    query, gallery = random_set(20, 1), random_set(150, 2)
    np.save(tmp_path / "vectors.npy", gallery.vectors.numpy())
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    scores = evaluate(query, gallery._replace(vectors=mapped), PROTOCOLS["mars"], chunk=32)
    expected = evaluate(query, gallery, PROTOCOLS["mars"])
    pd.testing.assert_frame_equal(scores.per_query, expected.per_query)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_left_alone(dtype):
    query, gallery = (
        made._replace(vectors=made.vectors.to(dtype))
        for made in (random_set(20, 1), random_set(60, 2))
    )
    before = query.vectors.clone(), gallery.vectors.clone()
    evaluate(query, gallery, PROTOCOLS["mars"])
    assert torch.equal(query.vectors, before[0])
    assert torch.equal(gallery.vectors, before[1])


@pytest.mark.parametrize("name", ["mars", "query_gallery"])
def test_rank_lists_tell_the_same_story(name):
    query, gallery = random_set(25, 1), random_set(120, 2)
    per_query = evaluate(query, gallery, PROTOCOLS[name]).per_query
    lists = rank_lists(query, gallery, PROTOCOLS[name], top=1000)
    for row, listed in zip(per_query.itertuples(), lists, strict=True):
        ranked = rank_list(query, gallery, PROTOCOLS[name], row.query, top=1000, chunk=17)
        pd.testing.assert_frame_equal(ranked, listed)
        hits = ranked.index[ranked["match"]]
        assert len(hits) == row.matches
        assert not ((ranked["pid"] == row.pid) & (ranked["camid"] == row.camid)).any()
        assert ranked["gallery"].iloc[0] == row.nearest
        assert ranked["distance"].iloc[0] == row.nearest_distance
        if len(hits):
            assert (hits[0], hits[-1]) == (row.first_hit, row.last_hit)
    assert ranked["distance"].is_monotonic_increasing
    assert len(rank_list(query, gallery, PROTOCOLS[name], 0)) == 10
    with pytest.raises(IndexError, match="25 queries"):
        rank_list(query, gallery, PROTOCOLS[name], 25)
