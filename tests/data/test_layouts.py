"""The rendered set in each layout, read back by the reader that the layout is made for."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image
from test_synthetic import files, read_csv
from trees import shuffle_listings

from mmagga.__main__ import main
from mmagga.cli.datasets import render as verb
from mmagga.data import Tracklets, load_tracklets
from mmagga.data.synthetic import LAYOUTS, SyntheticSpec, read_masks, render, verify, writing
from mmagga.errors import DataError, MmaggaError

SPEC = SyntheticSpec(
    7, 6, cameras=3, tracklets=(2, 4), frames=(2, 4), distractors=3, junk=2, height=64, width=32
)
TWO_CAMERAS = ["ilids_vid", "prid2011"]
PERSON = 2  # the lowest label of a mask that is part of the person


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    return {
        name: render(folder / name, SPEC, layout=name, workers=1, progress=False)
        for name in LAYOUTS
    }


@pytest.fixture(params=LAYOUTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def counts(tracklets: Tracklets) -> dict[str, list[int]]:
    """Give (identities, tracklets, cameras) of each split."""
    return tracklets.summary()[["identities", "tracklets", "cameras"]].T.to_dict("list")


# ---- the readers read it -----------------------------------------------------------------------


@pytest.mark.parametrize("two_cameras", TWO_CAMERAS)
def test_two_cameras_have_everybody_once_in_each(roots, two_cameras: str) -> None:
    for split in (0, 9):
        tracklets = load_tracklets(two_cameras, roots[two_cameras], split)
        wanted = {"train": [7, 14, 2], "query": [6, 6, 1], "gallery": [6, 6, 1]}
        assert counts(tracklets) == wanted
        seen = Counter(zip(tracklets.pids.tolist(), tracklets.camids.tolist()))
        assert seen == {(pid, camid): 1 for pid in range(1, 14) for camid in (1, 2)}


@pytest.mark.parametrize("two_cameras", TWO_CAMERAS)
def test_ten_splits_differ_and_share_nobody(roots, two_cameras: str) -> None:
    tested = []
    for split in range(10):
        tracklets = load_tracklets(two_cameras, roots[two_cameras], split)
        sides = {side: set(tracklets.split(side).pids.tolist()) for side in ("train", "query")}
        assert not sides["train"] & sides["query"]
        assert sides["query"] == set(tracklets.split("gallery").pids.tolist())
        assert any("FOREIGN" in note for note in tracklets.notes)  # no published split
        tested.append(frozenset(sides["query"]))
    assert len(set(tested)) == 10
    with pytest.raises(MmaggaError, match="splits 0 to 9"):
        load_tracklets(two_cameras, roots[two_cameras], 10)


def test_both_kinds_of_split_file_say_the_same(roots) -> None:
    for split in range(10):
        ilids, prid = (load_tracklets(n, roots[n], split).table for n in TWO_CAMERAS)
        assert ilids.equals(prid)


def test_another_seed_draws_other_splits(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / f"{seed}").mkdir()
        LAYOUTS["prid2011"].write_tables(tmp_path / f"{seed}", replace(SPEC, seed=seed))
    first, second = (json.loads((tmp_path / s / "splits_prid2011.json").read_text()) for s in "01")
    assert all(a != b for a, b in zip(first, second))


def test_duke_asks_once_for_each_person_and_never_for_distractors(roots) -> None:
    tracklets = load_tracklets("duke_video", roots["duke_video"])
    query, gallery = (tracklets.split(side) for side in ("query", "gallery"))
    assert sorted(tracklets.split("train").table["pid"].unique()) == list(range(1, 8))
    assert query.pids.tolist() == list(range(8, 14))
    assert set(gallery.pids) == set(range(8, 17))  # the last three are the distractors
    for pid, camid in zip(query.pids, query.camids):
        assert set(gallery.camids[gallery.pids == pid]) - {camid}  # there is something to find
    known = read_csv(roots["duke_video"] / "info/identities.csv")
    assert [int(row["pid"]) for row in known] == list(range(1, 17))


def test_mars_and_duke_show_the_same_people(roots) -> None:
    mars, duke = (read_csv(roots[n] / "info/identities.csv") for n in ("mars", "duke_video"))
    assert duke[:13] == mars
    pairs = [load_tracklets(n, roots[n]) for n in ("mars", "duke_video")]
    assert Counter(pairs[0].pids[pairs[0].pids > 0]) == Counter(pairs[1].pids[pairs[1].pids < 14])


# ---- frames, masks, tables ---------------------------------------------------------------------


def test_frames_decode_and_masks_lie_beside_them(roots, name: str) -> None:
    tracklets = load_tracklets(name, roots[name])
    form = {".jpg": "JPEG", ".png": "PNG"}[LAYOUTS[name].suffix]
    for row in range(len(tracklets)):
        masks = read_masks(tracklets, row)
        assert masks.shape == (tracklets.lengths[row], SPEC.height, SPEC.width)
        for path, mask in zip(tracklets.frames(row), masks):
            with Image.open(path) as frame:
                assert (frame.format, frame.mode) == (form, "RGB")
                assert np.asarray(frame).std() > 5
            assert (mask >= PERSON).sum() > 50 or tracklets.pids[row] == 0
    assert len({*tracklets.names}) == len(tracklets.names)
    assert not any(note.startswith("gaps") for note in tracklets.notes)


def test_tables_name_the_frames_that_the_reader_names(roots, name: str) -> None:
    told = [row["frame"] for row in read_csv(roots[name] / "info/frames.csv")]
    read = [str(path).rpartition(".")[0] for path in load_tracklets(name, roots[name]).names]
    if name == "mars":  # there the file's name alone tells the frame
        read = [path.rpartition("/")[2] for path in read]
    assert sorted(told) == sorted(read)  # each of them once


def test_nothing_depends_on_the_order_of_listings(roots, name: str, monkeypatch) -> None:
    before = load_tracklets(name, roots[name])
    shuffle_listings(monkeypatch, seed=3)
    after = load_tracklets(name, roots[name])
    assert after.table.equals(before.table)
    assert after.names.tolist() == before.names.tolist()


# ---- the folder --------------------------------------------------------------------------------


def test_two_workers_write_the_same_bytes_as_one(roots, tmp_path: Path) -> None:
    again = render(tmp_path / "again", SPEC, layout="ilids_vid", workers=2, progress=False)
    assert files(again) == files(roots["ilids_vid"])


def test_a_second_render_is_left_alone(roots, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "film", None)  # nothing may be rendered
    before = {path: path.stat().st_mtime_ns for path in roots[name].rglob("*")}
    assert render(roots[name], SPEC, layout=name) == roots[name]
    verify(roots[name])
    assert {path: path.stat().st_mtime_ns for path in roots[name].rglob("*")} == before


def test_a_changed_mask_is_found(roots, tmp_path: Path) -> None:
    copy = shutil.copytree(roots["ilids_vid"], tmp_path / "copy")
    next((copy / "masks").rglob("*.png")).write_bytes(b"?")
    with pytest.raises(DataError, match="differ"):
        verify(copy)


def test_another_layout_in_the_folder_is_refused(roots) -> None:
    with pytest.raises(DataError, match="layout is ilids_vid, wanted prid2011"):
        render(roots["ilids_vid"], SPEC, layout="prid2011")
    with pytest.raises(DataError, match="layout is mars, wanted duke_video"):
        render(roots["mars"], SPEC, layout="duke_video")


def test_what_a_layout_cannot_hold_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layouts are mars, ilids_vid, prid2011, duke_video"):
        render(tmp_path / "set", SPEC, layout="viper")
    with pytest.raises(ValueError, match="to 9999 in all"):
        render(tmp_path / "set", replace(SPEC, distractors=9990), layout="duke_video")
    assert not any(tmp_path.iterdir())


def test_the_command_line_has_every_layout(tmp_path: Path, capsys) -> None:
    assert get_args(get_type_hints(verb)["layout"]) == tuple(LAYOUTS)
    words = ["render", "--root", str(tmp_path / "set"), "--preset", "tiny", "--workers", "1"]
    assert main([*words, "--layout", "prid2011"]) == 0
    assert "rendered: " in capsys.readouterr().out
    assert len(load_tracklets("prid2011", tmp_path / "set", split=9)) == 18
