"""Where a score comes from, against loops over pairs and queries."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_curve

from mmagga import figures
from mmagga.data import load_tracklets
from mmagga.data.masks import has_masks, read_masks
from mmagga.data.synthetic import render
from mmagga.errors import DataError
from mmagga.retrieval import (
    PROTOCOLS,
    Embeddings,
    bootstrap,
    by_bins,
    camera_pairs,
    cmc_bands,
    describe_queries,
    distance_histogram,
    evaluate,
    quantile_edges,
    rank_list,
)


def people(n: int, seed: int, ids: int = 9, dim: int = 8, noise: float = 1.0) -> Embeddings:
    g = np.random.default_rng(seed)
    pids = g.integers(0, ids, n)
    vectors = np.random.default_rng(99).standard_normal((ids, dim))[pids]
    vectors = vectors + noise * g.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    parts = torch.from_numpy(pids), torch.from_numpy(g.integers(1, 5, n))
    return Embeddings(torch.from_numpy(vectors).float(), *parts)


QUERY, GALLERY = people(30, 1), people(150, 2)


@pytest.fixture(scope="module")
def scores():
    return evaluate(QUERY, GALLERY, PROTOCOLS["mars"])


def test_hits_are_the_matches_of_the_rank_list(scores):
    for query, hits in scores.hits.groupby("query"):
        ranked = rank_list(QUERY, GALLERY, PROTOCOLS["mars"], query, top=1000)
        matches = ranked[ranked["match"]]
        assert hits["rank"].tolist() == matches.index.tolist()
        assert hits["gallery"].tolist() == matches["gallery"].tolist()
        assert hits["gallery_camid"].tolist() == matches["camid"].tolist()
        assert set(hits["camid"]) == {int(QUERY.camids[query])}
    assert len(scores.hits) == scores.per_query["matches"].sum()


def test_the_trapezoid_of_mars_evaluation_code(scores):
    """Their loop over the whole rank list, with its running recall and precision."""
    for row in scores.per_query[scores.per_query["matches"] > 0].itertuples():
        ranked = rank_list(QUERY, GALLERY, PROTOCOLS["mars"], row.query, top=1000)
        area, old_recall, old_precision, hits = 0.0, 0.0, 1.0, 0
        for rank, match in ranked["match"].items():
            hits += match
            recall, precision = hits / row.matches, hits / rank
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
        assert row.trapezoid_precision == pytest.approx(area)
    assert scores.per_query.loc[QUERY.pids.numpy() == 0, "trapezoid_precision"].isna().all()


def test_camera_pairs_leave_third_cameras_out(scores):
    found = camera_pairs(scores).set_index(["camid", "gallery_camid"])
    precisions = {}
    for query in range(len(QUERY.pids)):
        ranked = rank_list(QUERY, GALLERY, PROTOCOLS["mars"], query, top=1000)
        for camera in ranked.loc[ranked["match"], "camid"].unique():
            kept = ranked[~ranked["match"] | (ranked["camid"] == camera)]["match"].to_numpy()
            ranks = np.flatnonzero(kept) + 1
            ap = np.mean(np.arange(1, len(ranks) + 1) / ranks)
            precisions.setdefault((int(QUERY.camids[query]), camera), []).append((ap, len(ranks)))
    assert set(found.index) == set(precisions)
    for pair, values in precisions.items():
        row = found.loc[pair]
        assert row["mAP"] == pytest.approx(np.mean([ap for ap, _ in values]))
        assert (row["queries"], row["matches"]) == (len(values), sum(n for _, n in values))
    assert found["matches"].sum() == len(scores.hits)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_distances_of_all_pairs(chunk):
    searched = Embeddings(*(torch.cat(pair) for pair in zip(GALLERY, QUERY)))
    found = distance_histogram(QUERY, GALLERY, PROTOCOLS["mars"], bins=4000, chunk=chunk)
    same = QUERY.pids[:, None] == searched.pids
    counts = ~(same & (QUERY.camids[:, None] == searched.camids))
    same &= searched.pids > 0
    distances = torch.cdist(QUERY.vectors.double(), searched.vectors.double())
    for bins, pairs in ((found.same, same & counts), (found.different, ~same & counts)):
        expected, _ = np.histogram(distances[pairs], found.edges)
        assert np.abs(bins.cumsum() - expected.cumsum()).max() <= 1  # one on the edge of a bin
        assert bins.sum() == pairs.sum()
    wrong, right, _ = roc_curve(same[counts], -distances[counts])
    at = np.argmin(np.abs(wrong - (1 - right)))
    rate, threshold = found.equal_error
    assert rate == pytest.approx((wrong[at] + 1 - right[at]) / 2, abs=0.01)
    assert 0 < threshold < 2


def test_overlap_goes_from_nothing_to_all():
    far, mixed = (
        [side._replace(pids=side.pids + 1) for side in (people(40, 3, 4, 8, noise),
                                                        people(80, 4, 4, 8, noise))]
        for noise in (0.01, 1e6)
    )  # fmt: skip
    apart, together = (distance_histogram(*p, PROTOCOLS["mars"], bins=20) for p in (far, mixed))
    assert apart.overlap == 0
    assert apart.equal_error[0] == 0
    assert together.overlap > 0.8
    assert together.equal_error[0] == pytest.approx(0.5, abs=0.1)
    one = people(40, 3, 1)
    with pytest.raises(DataError, match="only one"):
        distance_histogram(one, one, PROTOCOLS["mars"])


def test_bands_hold_the_curve(scores):
    bands = cmc_bands(scores.per_query, 15)
    np.testing.assert_allclose(bands["mean"], scores.cmc[:15])
    assert (bands["low"] <= bands["mean"]).all()
    assert (bands["mean"] <= bands["high"]).all()
    assert (bands["high"] - bands["low"]).iloc[0] > 0
    with pytest.raises(ValueError, match="1 to 50"):
        cmc_bands(scores.per_query, 51)


def test_bins_hold_every_known_query_once(scores):
    table = scores.per_query.assign(length=np.arange(30) % 7 + 1)
    bins = by_bins(table, "length", [1, 3, 5, 7])
    assert bins["queries"].sum() == scores.valid_queries
    first = table[table["length"] <= 3]
    assert bins["mean"].iloc[0] == pytest.approx(first["average_precision"].mean())
    assert tuple(bins.loc[0, ["mean", "low", "high"]]) == bootstrap(first)
    assert bins["left"].tolist() == [1, 3, 5]
    assert by_bins(table.assign(length=np.nan), "length", [0, 1]).empty
    edges = quantile_edges(pd.Series([1, 1, 1, 1, 2, 3, np.nan]), 4)
    assert edges == sorted(set(edges))
    assert (edges[0], edges[-1]) == (1, 3)


@pytest.mark.parametrize("layout", ["mars", "prid2011"])
def test_queries_know_length_and_occlusion(tmp_path, layout):
    root = tmp_path / "data"
    render(root, "tiny", layout=layout, workers=1)
    tracklets = load_tracklets({"mars": "synthetic"}.get(layout, layout), root)
    g = np.random.default_rng(0)
    query, gallery = (
        Embeddings(
            torch.from_numpy(g.standard_normal((len(part), 4))).float(),
            torch.tensor(part.pids),
            torch.tensor(part.camids),
        )
        for part in (tracklets.split("query"), tracklets.split("gallery"))
    )
    scores = evaluate(query, gallery, PROTOCOLS["mars"])
    table = describe_queries(scores, tracklets)
    assert table["length"].tolist() == tracklets.split("query").lengths.tolist()
    info = pd.read_csv(root / "info/tracklets.csv").set_index(["pid", "camid", "frames"])
    keys = zip(table["pid"], table["camid"], table["length"])
    expected = [info.loc[[key], "occluded"].to_numpy() for key in keys]
    for share, candidates in zip(table["occluded"], expected):
        assert np.abs(candidates - share).min() < 2e-3
    assert not table["occluded"].isna().any()

    (root / "info/frames.csv").unlink()
    assert all(map(math.isnan, describe_queries(scores, tracklets)["occluded"]))
    other = evaluate(GALLERY, QUERY, PROTOCOLS["mars"])
    with pytest.raises(DataError, match="choose the data set"):
        describe_queries(other, tracklets)


def test_all_curves_and_cameras_are_drawn():
    ranks = pd.DataFrame({"rank": [1, 2], "mean": 0.5, "low": 0.4, "high": 0.6})
    figure = figures.cmc_band_figure({f"method {k}": ranks for k in range(9)}, title="")
    assert len(figure.axes[0].lines) == 9
    points = pd.DataFrame({"pid": 1, "camid": range(11)} | dict.fromkeys(
        ("pca_x", "pca_y", "tsne_x", "tsne_y"), 0.0))  # fmt: skip
    points.attrs["perplexity"] = 5.0
    figure = figures.embedding_figure(points, title="")
    assert len(figure.legends[0].get_texts()) == 11
    plt.close("all")


def test_a_folder_of_masks_by_others_is_not_read(tmp_path):
    root = render(tmp_path / "data", "tiny")
    tracklets = load_tracklets("synthetic", root)
    assert has_masks(tracklets)
    next((root / "masks").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="render the data set again"):
        [read_masks(tracklets, row) for row in range(len(tracklets))]
    (root / "info" / "dataset.json").unlink()
    assert not has_masks(tracklets)
