"""Embeddings in files: made by a run or by any other model, scored, searched, exported."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mmagga.__main__ import main
from mmagga.config import DEMO, ModelConfig
from mmagga.data import load_checked
from mmagga.data.synthetic import render
from mmagga.errors import DataError
from mmagga.model.build import build_model
from mmagga.retrieval import Protocol, evaluate
from mmagga.retrieval.search import choose_threshold, find, search, suggest_merges
from mmagga.retrieval.stored import StoredEmbeddings, load_embeddings, read_images, tracklet_names
from mmagga.runs import Run
from mmagga.studies.scoring import MODEL, judge


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory):
    return load_checked("synthetic", render(tmp_path_factory.mktemp("sockets") / "data", "tiny"))


@pytest.fixture(scope="module")
def run(tracklets, tmp_path_factory):
    config = dataclasses.replace(
        DEMO, root=tracklets.root, frames=2, height=128, width=64, workers=0, device="cpu",
        model=ModelConfig(backbone="resnet18", width=16),
    )  # fmt: skip
    run = Run(tmp_path_factory.mktemp("sockets") / "run")
    run.open(config)
    torch.manual_seed(0)
    run.save_state(1, {"num_ids": 4, "model": build_model(config, 4).state_dict()})
    return run


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("sockets") / "demo.npz"
    assert main(["embed", str(run.folder), "--out", str(path), "--device", "cpu"]) == 0
    return path


def people(n=40, ids=10, noise=0.05, seed=0) -> StoredEmbeddings:
    """Persons 1 to `ids` under cameras 1 and 2, every one seen by both."""
    g = np.random.default_rng(seed)
    pids = np.arange(n) % ids + 1
    vectors = np.random.default_rng(1).standard_normal((ids + 1, 32))[pids]
    vectors = vectors + noise * g.standard_normal((n, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    camids = np.arange(n) // ids % 2 + 1
    names = np.array([f"crops/c{c}_t{i}_0/0001.png" for i, c in enumerate(camids)])
    splits = np.where(camids == 1, "query", "gallery")
    return StoredEmbeddings(vectors.astype(np.float32), names, splits, pids, camids)


def test_embed_writes_every_tracklet(file, tracklets, run):
    stored = load_embeddings(file)
    assert stored.names.tolist() == tracklet_names(tracklets)
    assert stored.splits.tolist() == tracklets.table["split"].tolist()
    assert stored.pids.tolist() == tracklets.pids.tolist()
    assert np.allclose(np.linalg.norm(stored.vectors, axis=1), 1, atol=1e-5)
    assert np.ptp(stored.vectors, axis=0).max() > 0


def test_a_folder_of_images_and_of_folders(tmp_path, run, capsys):
    for name in ("a.png", "b/2.png", "b/10.png", "c/1.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("no frame")
        else:
            Image.new("RGB", (64, 128), (9, 99, 199)).save(tmp_path / name)
    found = read_images(tmp_path)
    assert tracklet_names(found) == ["a.png", "b/2.png", "c/1.jpg"]
    assert found.lengths.tolist() == [1, 2, 1]
    out = tmp_path / "out.npz"
    words = ["embed", str(run.folder), "--out", str(out), "--images", str(tmp_path)]
    assert main([*words, "--device", "cpu"]) == 0
    assert load_embeddings(out).names.tolist() == ["a.png", "b/2.png", "c/1.jpg"]
    assert main([*words, "--root", "x"]) == 2
    with pytest.raises(DataError, match="no images"):
        read_images(tmp_path.joinpath("d").mkdir() or tmp_path / "d")


@pytest.mark.parametrize("names", [True, False])
def test_any_models_embeddings_are_scored(tracklets, tmp_path, names, capsys):
    """A file of another program: features of every tracklet, shuffled if it has names."""
    g = np.random.default_rng(0)
    order = g.permutation(len(tracklets)) if names else np.arange(len(tracklets))
    features = g.standard_normal((99, 8))[tracklets.pids] + g.standard_normal((len(tracklets), 8))
    arrays = {"features": features[order]}
    if names:
        arrays["names"] = np.array(tracklet_names(tracklets))[order]
    np.savez(tmp_path / "theirs.npz", **arrays)
    words = ["--dataset", "synthetic", "--root", str(tracklets.root), "--height", "64"]
    words += ["--width", "32", "--out", str(tmp_path / "out")]
    assert main(["score", str(tmp_path / "theirs.npz"), *words]) == 0
    said = capsys.readouterr().out
    assert "camera-centred thumbnail" in said
    everyone = StoredEmbeddings(features.astype(np.float32)).of(tracklets)
    query, gallery = (
        type(everyone)(*(field[tracklets.table["split"].to_numpy() == side] for field in everyone))
        for side in ("query", "gallery")
    )
    scores = evaluate(query, gallery, Protocol.for_tracklets(tracklets))
    methods = pd.read_csv(tmp_path / "out" / "methods.csv").set_index("method")
    assert methods.loc[MODEL, "mAP"] == pytest.approx(scores.mAP)
    assert {"thumbnail", "colour histogram", "this model, camera-centred"} < set(methods.index)
    ledger = pd.read_csv(tmp_path / "out" / "ledger.csv").set_index("convention")
    assert ledger.loc["paper", "mAP"] == pytest.approx(scores.mAP)
    assert {"re-ranking", "camera-centred", "trapezoid AP"} < set(ledger.index)
    ranks = pd.read_csv(tmp_path / "out" / "ranks.csv")
    assert set(ranks["query"]) == set(tracklet_names(tracklets.split("query")))
    first = ranks[ranks["rank"] == 1].set_index("query")["match"]
    assert first.mean() == pytest.approx(scores.rank(1))
    assert "| this model" in (tmp_path / "out" / "tables.md").read_text().replace("**", "")


def test_a_file_alone_is_scored_by_its_own_arrays():
    judged = judge(people())
    assert judged.scores.protocol.name == "two_camera"
    assert judged.scores.mAP == 1
    assert judged.methods["method"].tolist()[0] == MODEL
    assert len(judged.ranks) == 20 * 10
    with pytest.raises(DataError, match="lack pids, camids, splits"):
        judge(StoredEmbeddings(people().vectors))
    train = dataclasses.replace(
        people(), splits=np.where(people().pids > 5, "train", people().splits)
    )
    assert "this model, camera-centred" in judge(train).methods["method"].tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, r"no array vectors.*x \(3,\)"),
        ({"vectors": np.zeros((3, 2)), "pids": np.zeros(2)}, "pids has 2 rows, vectors 3"),
        ({"vectors": np.array([[0, 1], [np.nan, 0]])}, "row 1 of the vectors is not finite"),
        ({"vectors": np.zeros((1, 2)), "split": np.array(["test"])}, "unknown split 'test'"),
        ({"vectors": np.array([{}])}, "not an .npz file of plain arrays"),
    ],
)
def test_files_that_cannot_be_read(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_embeddings(tmp_path / "x.npz")


def test_a_tracklet_without_an_embedding_is_named(tracklets):
    names = np.array(tracklet_names(tracklets))
    some = StoredEmbeddings(np.ones((len(names) - 1, 4), np.float32), names[1:])
    with pytest.raises(DataError, match=f"1 of {len(names)} tracklets.* the first is {names[0]}"):
        some.of(tracklets)
    with pytest.raises(DataError, match="have no names"):
        dataclasses.replace(some, names=None).of(tracklets)


def test_search_lists_the_nearest():
    stored = people()
    table = search(stored, "c1_t3_0/0001.png", top=3)
    assert table["query"].unique().tolist() == ["crops/c1_t3_0/0001.png"]
    distances = np.linalg.norm(stored.vectors - stored.vectors[3], axis=1)
    distances[3] = np.inf
    assert table["row"].tolist() == distances.argsort()[:3].tolist()
    np.testing.assert_allclose(table["distance"], np.sort(distances)[:3], atol=1e-6)
    assert table["pid"].tolist() == [4, 4, 4]
    everyone = search(stored, top=2)
    assert len(everyone) == 2 * 40
    assert (everyone["query"] != everyone["name"]).all()
    assert find(stored, 7) == find(stored, "7") == 7
    with pytest.raises(DataError, match="40 of 40 tracklets are named 'crops'"):
        find(stored, "crops")


def test_a_threshold_and_merges(tmp_path):
    stored = people(noise=0.2)
    chosen = choose_threshold(stored)
    assert chosen.accepted == chosen.refused < 0.1
    easy = dataclasses.replace(people(noise=0.0), splits=np.full(40, "train"))
    both = [np.concatenate([getattr(side, f) for side in (stored, easy)])
            for f in ("vectors", "names", "splits", "pids", "camids")]  # fmt: skip
    assert choose_threshold(StoredEmbeddings(*both)) == chosen
    unknown = dataclasses.replace(people(20, noise=0.05, seed=5), pids=np.arange(20) + 1)
    merges = suggest_merges(unknown, chosen.distance)
    assert merges.columns.tolist()[:4] == ["camera", "track", "piece", "name"]
    assert len(merges) == 20
    for _, pair in merges.groupby("pid"):
        assert pair["camera"].tolist() in ([1, 2], [2, 1])
        assert abs(pair["track"].iloc[0] - pair["track"].iloc[1]) == 10
    assert suggest_merges(unknown, 0.0).empty
    unknown.save(tmp_path / "own.npz")
    stored.save(tmp_path / "known.npz")
    words = ["--labelled", str(tmp_path / "known.npz"), "--merges", str(tmp_path / "who.csv")]
    assert (
        main(["search", str(tmp_path / "own.npz"), *words, "--out", str(tmp_path / "l.csv")]) == 0
    )
    assert len(pd.read_csv(tmp_path / "who.csv")) == 20
    assert main(["search", str(tmp_path / "own.npz"), "--merges", str(tmp_path / "w.csv")]) == 3


@pytest.mark.parametrize("verb", ["search", "score"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(verb, tmp_path, capsys):
    (tmp_path / "taken").write_text("")  # a file, where a folder is wanted
    words = [verb, str(tmp_path / "none.npz"), "--out", str(tmp_path / "taken" / "here")]
    assert main(words) == 2
    assert "cannot be written" in capsys.readouterr().err
