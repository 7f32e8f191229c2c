"""Own video from `data crop` to notebook 5: one and two cameras; no, some and all names."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from walk import walk

from mmagga.__main__ import main
from mmagga.browser.state import BrowserState
from mmagga.config import DEMO, ModelConfig
from mmagga.data import load_tracklets
from mmagga.model.build import build_model
from mmagga.runs import Run

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

PLACES = [{1: (20, 40), 2: (200, 60), 3: (110, 20)}, {1: (210, 50), 2: (30, 90), 3: (120, 60)}]
"""(left, top) of each track in the first frame, by camera; track 3 looks as track 1."""
NAMES = {
    "none": None,
    "some": "camera,track,pid\n1,1,7\n1,3,7\n2,1,7\n",
    "all": "camera,track,pid\n1,1,7\n1,2,8\n1,3,7\n2,1,7\n2,2,8\n2,3,9\n",
}
CASES = [(cameras, names) for cameras in (1, 2) for names in NAMES]
QUERIES_WITH_A_MATCH = {(1, "none"): 0, (1, "some"): 2, (1, "all"): 2, (2, "none"): 0,
                        (2, "some"): 2, (2, "all"): 3}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained network in a run folder."""
    model = ModelConfig(backbone="resnet18", width=16)
    root = tmp_path_factory.mktemp("nowhere")
    config = replace(DEMO, root=root, frames=2, workers=0, device="cpu", model=model)
    run = Run(tmp_path_factory.mktemp("runs") / "untrained")
    run.open(config)
    torch.manual_seed(0)
    run.save_state(1, {"num_ids": 5, "model": build_model(config, 5).state_dict()})
    return run


@pytest.fixture(scope="module")
def crop(tmp_path_factory):
    """Make the data set of a case; return its folder."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    looks = random.integers(0, 255, (2, 90, 40, 3), dtype=np.uint8)
    for camera, places in enumerate(PLACES, start=1):
        rows = []
        (folder / f"video{camera}").mkdir()
        for number in range(1, 7):
            image = np.full((240, 320, 3), 90, np.uint8)
            for track, (x, y) in places.items():
                image[y : y + 90, x : x + 40] = looks[track % 2]
                rows.append(f"{number},{track},{x},{y},40,90,1,-1,-1,-1\n")
            data = cv2.imencode(".png", image)[1].tobytes()
            (folder / f"video{camera}/{number:06}.png").write_bytes(data)
        (folder / f"tracks{camera}.txt").write_text("".join(rows))

    def make(cameras, names):
        out = folder / f"{cameras}-{names}"
        if out.exists():
            return out
        words = ["data", "crop", "--out", str(out)]
        for option, form in (("--videos", "video{}"), ("--tracks", "tracks{}.txt")):
            words += [option, *(str(folder / form.format(n + 1)) for n in range(cameras))]
        if NAMES[names]:
            (folder / "who.csv").write_text(NAMES[names])
            words += ["--identities", str(folder / "who.csv")]
        assert main(words) == 0
        return out

    return make


def verb(name, run, root):
    return main([name, str(run.folder), "--dataset", "mot", "--root", str(root)])


@pytest.mark.parametrize(("cameras", "names"), CASES)
def test_evaluate_says_whom_each_query_found(cameras, names, run, crop, capsys):
    root = crop(cameras, names)
    capsys.readouterr()
    assert verb("evaluate", run, root) == 0
    said = capsys.readouterr().out
    table = pd.read_csv(run.folder / "queries-mot.csv")
    expected = QUERIES_WITH_A_MATCH[cameras, names]
    assert (table["matches"] > 0).sum() == expected
    assert ("ranked, not scored: none of the 3 queries has a match" in said) == (not expected)
    assert ("mAP" in said) == bool(expected)
    assert ("one camera: each tracklet is searched among all others" in said) == (cameras == 1)
    assert "identities: " in said
    assert table["nearest_distance"].notna().all()
    assert table["tracklet"].tolist() == [f"crops/c1_t{n}_0/000001.png" for n in (1, 2, 3)]
    assert (table["tracklet"] != table["nearest_tracklet"]).all()
    assert (table["nearest_camid"] == cameras).all()
    assert [Path(name).parent.name for name in table["nearest_tracklet"]][:1] == [
        "c1_t3_0" if cameras == 1 else "c2_t1_0"  # who looks the same
    ]


def test_the_only_tracklet_finds_nobody(run, tmp_path):
    (tmp_path / "video").mkdir()
    image = cv2.imencode(".png", np.full((90, 60, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "video/1.png").write_bytes(image)
    (tmp_path / "t.txt").write_text("1,1,5,5,40,80\n")
    words = ["--videos", str(tmp_path / "video"), "--tracks", str(tmp_path / "t.txt")]
    assert main(["data", "crop", *words, "--out", str(tmp_path / "own")]) == 0
    assert verb("evaluate", run, tmp_path / "own") == 0
    table = pd.read_csv(run.folder / "queries-mot.csv")
    assert table[["nearest", "nearest_tracklet", "nearest_camid"]].isna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize(("cameras", "names"), [(1, "none"), (1, "all"), (2, "some")])
def test_every_other_verb_takes_it(cameras, names, run, crop, tmp_path):
    root = crop(cameras, names)
    for name in ("ledger", "report"):
        assert verb(name, run, root) == 0
    out = ["--out", str(tmp_path / "attention"), "--clips", "3"]
    words = ["attention", str(run.folder), "--dataset", "mot", "--root", str(root)]
    assert main([*words, *out]) == 0
    assert (tmp_path / "attention/battery.csv").exists()


def test_within_one_camera_the_browser_ranks_as_the_evaluation_does(run, crop):
    state = BrowserState(run, load_tracklets("mot", crop(1, "all")))
    ranked = [state.rank(row, state.vectors[row]).first for row in range(3)]
    hits = state.per_query["first_hit"].astype(object).where(state.per_query["matches"] > 0, None)
    assert ranked == hits.tolist()
    assert ranked.count(None) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("cameras", "names"), [(1, "none"), (1, "all"), (2, "some")])
def test_notebook_5_takes_it(cameras, names, run, crop, tmp_path):
    parameters = {"DATASET": "mot", "ROOT": str(crop(cameras, names)), "RUN": str(run.folder)}
    parameters |= {"FIGURES": str(tmp_path / "figures"), "CLIPS": 2}
    walk(NOTEBOOKS / "5_attention.ipynb", parameters, echo=False)
    assert load_tracklets("mot", parameters["ROOT"]).one_camera == (cameras == 1)
