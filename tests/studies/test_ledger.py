"""The ledger on a tiny rendered set, against evaluations made one by one."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from mmagga.__main__ import main
from mmagga.config import DEMO, ModelConfig, StageConfig
from mmagga.data import load_tracklets
from mmagga.data.synthetic import PRESETS, render
from mmagga.model.build import build_model
from mmagga.retrieval import PROTOCOLS, evaluate, rerank
from mmagga.retrieval.embedding import joined, query_and_gallery, tracklet_embeddings
from mmagga.retrieval.yardsticks import camera_centred
from mmagga.runs import Run
from mmagga.studies.ledger import CONVENTIONS, ledger, sampled, show, with_its_run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("ledger") / "data"
    render(root, "tiny", workers=1)
    return dataclasses.replace(
        DEMO, root=root, frames=2, height=128, width=64, workers=0, device="cpu",
        model=ModelConfig(backbone="resnet18", width=16), ids_per_batch=2, clips_per_id=2,
        stages=(StageConfig(epochs=1, lr=1e-3),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tracklets(config):
    return load_tracklets(config.dataset, config.root)


@pytest.fixture(scope="module")
def model(config):
    return build_model(config, 4)


@pytest.fixture(scope="module")
def table(model, tracklets, config):
    return ledger(model, tracklets, config, bar=False)


def test_each_row_is_what_evaluating_so_gives(table, model, tracklets, config):
    dense = query_and_gallery(model, tracklets, config, False)
    few = sampled(tracklets, config.frames, "evenly")
    people = tracklet_embeddings(model, tracklets.split("train"), config, bar=False)["dense"]
    centred = [camera_centred(side, people) for side in dense]
    itself = [camera_centred(side, joined(*dense)) for side in dense]
    scores = {
        "paper": evaluate(*dense, PROTOCOLS["mars"]),
        "queries not searched": evaluate(*dense, PROTOCOLS["mars_without_queries"]),
        "re-ranking": rerank(*dense, PROTOCOLS["mars"]),
        "camera-centred": evaluate(*centred, PROTOCOLS["mars"]),
        "camera-centred, transductive": evaluate(*itself, PROTOCOLS["mars"]),
        "T frames evenly": evaluate(
            *query_and_gallery(model, few, config, False), PROTOCOLS["mars"]
        ),
    }
    rows = table.set_index("convention")
    for name, expected in scores.items():
        row, summary = rows.loc[name], expected.summary()
        assert row["mAP"] == pytest.approx(expected.mAP)
        assert row["mINP"] == pytest.approx(expected.mINP)
        for count in ("valid_queries", "dropped_queries", "gallery"):
            assert row[count] == summary[count]
        for k in (1, 5, 20):
            assert row[f"rank-{k}"] == pytest.approx(expected.rank(k), nan_ok=True)
    paper = scores["paper"].per_query
    trapezoid = paper["trapezoid_precision"].mean()
    assert rows.loc["trapezoid AP", "mAP"] == pytest.approx(trapezoid)
    assert rows.loc["trapezoid AP", "difference"] == pytest.approx(trapezoid - scores["paper"].mAP)
    without = scores["queries not searched"].per_query["average_precision"]
    common = (without - paper["average_precision"]).mean()
    assert rows.loc["queries not searched", "difference"] == pytest.approx(common)


def test_a_convention_under_which_nobody_can_be_found(model, config, tmp_path):
    """Two tracklets a person are both queries: without them there is nobody to find."""
    spec = dataclasses.replace(PRESETS["tiny"], tracklets=(2, 2))
    root = render(tmp_path / "pairs", spec, workers=1)
    pairs = load_tracklets(config.dataset, root)
    table = ledger(model, pairs, config, bar=False).set_index("convention")
    row = table.loc["queries not searched"]
    assert math.isnan(row["mAP"])
    assert row["valid_queries"] == 0
    assert row["dropped_queries"] == len(pairs.split("query"))
    assert len(table) == 12
    assert "–" in show(table.reset_index())


def test_the_papers_row_is_first_and_marked(table):
    assert table["is_paper"].tolist() == [True] + [False] * (len(table) - 1)
    assert table.loc[0, "convention"] == "paper"
    assert math.isnan(table.loc[0, "difference"])
    assert (table["mAP_low"] <= table["mAP"]).all()
    assert (table["mAP"] <= table["mAP_high"]).all()
    # Of all rows only these are of other data: a clip rule must change something.
    dense = table.loc[0, "mAP"]
    changed = table.set_index("convention")["mAP"]
    rules = ["first clip only", "T frames evenly", "T random frames", "clips by real frames"]
    assert (changed[rules] != dense).any()
    assert (table["changes"].str.len() > 0).all()
    assert set(table["convention"]) < set(CONVENTIONS)
    text = show(table)
    assert "paper *" in text
    assert "nan" not in text.splitlines()[1]


def test_training_people_who_miss_a_camera_centre_nothing(model, tracklets, config):
    seen = (tracklets.table["split"] != "train") | (tracklets.camids == tracklets.camids[0])
    names = ledger(model, tracklets.subset(seen), config, bar=False)["convention"].tolist()
    assert "camera-centred" not in names
    assert "camera-centred, transductive" in names


def test_sampled_frames(tracklets):
    lengths = tracklets.lengths
    few, again = (sampled(tracklets, 4, "random", seed=3) for _ in range(2))
    other, even = sampled(tracklets, 4, "random", seed=4), sampled(tracklets, 4, "evenly")
    assert few.lengths.tolist() == np.minimum(lengths, 4).tolist()
    assert few.names.tolist() == again.names.tolist() != other.names.tolist()
    for row in range(len(tracklets)):
        whole = tracklets.frames(row)
        for some in (few, even):
            places = [whole.index(path) for path in some.frames(row)]
            assert places == sorted(set(places))
    longest = int(np.argmax(lengths))
    n = int(lengths[longest])
    places = [tracklets.frames(longest).index(path) for path in even.frames(longest)]
    assert places == [int((i + 0.5) * n / 4) for i in range(4)]


def logged(folder, config, **metrics):
    """Write what a run that was evaluated leaves behind; give it."""
    run = Run.of(config, folder)
    run.open(config)
    given = {"protocol": "mars", "epoch": 1, "rank-5": None, "gallery": 9, "mINP": 0.1}
    run.save_metrics(given | metrics)
    return run


def test_the_best_epoch_needs_several(table, config, tmp_path):
    run = logged(tmp_path, config, mAP=0.65)
    assert with_its_run(table, run) is table
    for epoch, (rank1, mean) in enumerate([(0.5, 0.3), (0.8, 0.6), (0.7, 0.65)]):
        metrics = {"protocol": "mars", "mAP": mean, "rank-1": rank1, "rank-5": None, "gallery": 9}
        run.append("epochs", {"epoch": epoch, "step": epoch, "metrics": metrics})
        run.append("epochs", {"epoch": epoch, "step": epoch})  # not evaluated
    row = with_its_run(table, run).iloc[-1]
    assert (row["convention"], row["mAP"], row["rank-1"]) == ("best on test", 0.6, 0.8)
    assert row["difference"] == pytest.approx(-0.05)
    assert math.isnan(row["mAP_low"])


def test_the_mean_over_splits_needs_several(table, config, tmp_path):
    means = (0.5, 0.6, 0.9)
    runs = [
        logged(tmp_path, dataclasses.replace(config, split=split), mAP=mean, gallery=9 + split**2)
        for split, mean in enumerate(means)
    ]
    logged(tmp_path, dataclasses.replace(config, seed=3, split=3), mAP=0.0)  # another seed
    logged(tmp_path, dataclasses.replace(config, split=4), mAP=0.0, epoch=0)  # not finished
    Run.of(dataclasses.replace(config, split=5), tmp_path).open(config)  # not evaluated
    for run in runs:
        rows = with_its_run(table, run).set_index("convention")
        assert rows.index[-2:].tolist() == ["all splits", "split 0"]
        assert rows.loc["all splits", "mAP"] == pytest.approx(np.mean(means))
        assert rows.loc["all splits", "mAP_sd"] == pytest.approx(np.std(means, ddof=1))
        assert rows.loc["all splits", "changes"] == "mean over 3 splits; mAP ± 20.8"
        assert rows.loc["split 0", "mAP"] == means[0]
        assert math.isnan(rows.loc["split 0", "rank-5"])
        assert rows["is_paper"].sum() == 1
    assert "all splits" in show(rows.reset_index())


def test_the_verb(config, tmp_path, capsys):
    from mmagga.training import train

    run = train(config, tmp_path / "run", bar=False)
    out = tmp_path / "ledger.csv"
    assert main(["ledger", "--run", str(run.folder), "--out", str(out), "--device", "cpu"]) == 0
    assert "paper *" in capsys.readouterr().out
    written = pd.read_csv(out)
    assert written.loc[0, "mAP"] == pytest.approx(run.load_metrics()["mAP"])
