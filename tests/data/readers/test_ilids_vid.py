import json
import shutil
from random import Random

import numpy as np
import pytest
import trees
from scipy.io import savemat

from mmagga.data import load_checked, load_tracklets
from mmagga.data.files.index import check_frames
from mmagga.data.readers.ilids_vid import SPLITS
from mmagga.data.readers.splits import read_splits
from mmagga.errors import DataError, MmaggaError


@pytest.fixture
def root(tmp_path):
    return trees.ilids_vid(tmp_path / "ilids")


def test_a_tree_in_its_true_layout(root):
    """Row 1 of the splits is 6 1 2 3 4 5: persons 6, 1 and 2 of the sorted folders are tested."""
    ilids = load_tracklets("ilids_vid", root, split=1)
    read = trees.rows(ilids)
    # Folders are 1 2 3 5 6 7.
    assert [row[:3] for row in read] == [
        *[("train", pid, camera) for pid in (3, 5, 6) for camera in (1, 2)],
        *[(split, pid, cam) for pid in (1, 2, 7) for split, cam in (("query", 1), ("gallery", 2))],
    ]
    folder = "i-LIDS-VID/sequences/cam2/person003"
    assert read[1][3] == [f"{folder}/cam2_person003_0000{i}.png" for i in (1, 2, 3)]
    assert all(path.is_file() for row in range(len(ilids)) for path in ilids.frames(row))
    assert not ilids.queries_in_gallery
    assert ilids.notes == (
        f"splits: FOREIGN ({SPLITS[0]}): not the published ones; results compare only with "
        "their own",
    )


def test_splits_share_an_index_and_what_was_left_out_of_it(root, monkeypatch, tmp_path):
    monkeypatch.setenv("MMAGGA_CACHE", str(tmp_path / "cache"))
    (root / "i-LIDS-VID/sequences/cam2/person003/cam2_person003_00002.png").write_bytes(b"junk")
    check_frames(load_tracklets("ilids_vid", root), on_bad="drop", progress=False)
    for split in (0, 1):
        assert "1 bad frames left out" in load_checked("ilids_vid", root, split).notes[-1]


def test_the_order_of_folders_does_not_matter(root, monkeypatch):
    """The authors' code numbers os.listdir as it comes; so would a reader that does not sort."""
    plain = trees.rows(load_tracklets("ilids_vid", root, split=3))
    trees.shuffle_listings(monkeypatch, 3)
    assert trees.rows(load_tracklets("ilids_vid", root, split=3)) == plain


def test_json_splits(root):
    shutil.rmtree(root / "train-test people splits")
    splits = [{"train": ["person007"], "test": ["person002"]}]
    (root / "splits_ilids_vid.json").write_text(json.dumps(splits))
    assert [row[:3] for row in trees.rows(load_tracklets("ilids_vid", root))] == [
        ("train", 7, 1),
        ("train", 7, 2),
        ("query", 2, 1),
        ("gallery", 2, 2),
    ]


def test_skipped_frame_numbers_are_counted(root):
    (root / "i-LIDS-VID/sequences/cam1/person003/cam1_person003_00002.png").unlink()
    ilids = load_tracklets("ilids_vid", root)
    assert ilids.notes[-1].startswith("gaps: 1 tracklets skip 1 frame numbers (i-LIDS-VID/")


def write_rows(rows, key="ls_set"):
    return lambda root: savemat(root / SPLITS[0], {key: np.array(rows)})


FAULTS = {
    "no splits": (
        lambda root: shutil.rmtree(root / "train-test people splits"),
        r"lacks train-test.*ilidsvid.mat \(the train and test persons of ten splits\)",
    ),
    "no frames": (
        lambda root: shutil.rmtree(root / "i-LIDS-VID"),
        r"cam1 \(the frames of camera 1\); .*cam2 \(.*project page",
    ),
    "person in one camera": (
        lambda root: shutil.rmtree(root / "i-LIDS-VID/sequences/cam2/person002"),
        r"1 persons are in one camera only \(person002\), which shifts every split",
    ),
    "person in no camera": (
        lambda root: [
            shutil.rmtree(root / f"i-LIDS-VID/sequences/cam{i}/person002") for i in (1, 2)
        ],
        "split 0 does not name each of 1 to 5 once",
    ),
    "index 0": (write_rows([[0, 1, 2, 3, 4, 5]]), "split 0 does not name each of 1 to 6 once"),
    "negative": (write_rows([[-1, 1, 2, 3, 4, 5]]), "does not name each"),
    "person on both sides": (write_rows([[1, 2, 3, 4, 5, 1]]), "does not name each"),
    "other key": (write_rows([[1, 2, 3, 4, 5, 6]], "splits"), "holds no table 'ls_set'"),
    "empty tracklet": (
        lambda root: [
            path.unlink() for path in (root / "i-LIDS-VID/sequences/cam1/person002").iterdir()
        ],
        r"person002 \(person 2, camera 1\) has no frames",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(root, fault):
    break_it, message = FAULTS[fault]
    break_it(root)
    with pytest.raises(DataError, match=message):
        load_tracklets("ilids_vid", root)


def test_splits_end(root):
    with pytest.raises(MmaggaError, match="splits 0 to 9, not 10"):
        load_tracklets("ilids_vid", root, split=10)


@pytest.fixture(params=["invented", "true"])
def published(request, monkeypatch):
    """The published splits; or others of their size, which the reader is told are those."""
    if request.param == "true":
        folder = request.getfixturevalue("real_data") / "splits"
        return read_splits(folder / "splits_ilids_vid.json")
    return trees.publish(monkeypatch, "ilids_vid", trees.ilids_persons(300), 150)


@pytest.fixture
def full(published, tmp_path):
    """Three hundred persons under their names, and the .mat file that gives these splits."""
    persons = sorted(published[0]["train"] + published[0]["test"])
    number = {person: i for i, person in enumerate(persons, start=1)}
    rows = [[number[p] for p in (*split["test"], *split["train"])] for split in published]
    root = tmp_path / "full"
    shots = root / "i-LIDS-VID/sequences"
    form = "cam{camera}_{person}_{frame:05d}.png"
    trees.two_cameras([shots / "cam1", shots / "cam2"], persons, form, frames=1)
    (root / SPLITS[0]).parent.mkdir()
    savemat(root / SPLITS[0], {"ls_set": np.array(rows, np.uint16)})
    return root


def test_the_published_splits_are_recognised(full, published, monkeypatch):
    trees.shuffle_listings(monkeypatch, 4)
    for number, split in enumerate(published):
        ilids = load_tracklets("ilids_vid", full, number)
        assert ilids.summary()["tracklets"].tolist() == [300, 150, 150]
        assert [f"person{pid:03d}" for pid in ilids.split("query").pids] == split["test"]
        assert ilids.notes == (f"splits: the published ones ({SPLITS[0]})",)


def test_machine_dependent_splits_are_named(full, published):
    """Another kit's splits.json: the published indices into a folder in the disk's own order."""
    persons = sorted(published[0]["train"] + published[0]["test"])
    swapped = dict(zip(persons, Random(0).sample(persons, len(persons)), strict=True))
    mixed = [{side: [swapped[p] for p in split[side]] for side in split} for split in published]
    (full / "splits.json").write_text(json.dumps(mixed))
    notes = load_tracklets("ilids_vid", full).notes
    assert notes[0] == f"splits: the published ones ({SPLITS[0]})"
    assert notes[1].startswith("not used: splits: MACHINE-DEPENDENT (splits.json)")

    (full / SPLITS[0]).unlink()  # now it is used, and named
    (note,) = load_tracklets("ilids_vid", full).notes
    assert note.startswith("splits: MACHINE-DEPENDENT (splits.json)")

    (full / "splits_ilids_vid.json").write_text(json.dumps(published))
    (full / "splits.json").write_text("{}")
    assert load_tracklets("ilids_vid", full).notes == (
        "splits: the published ones (splits_ilids_vid.json)",
        "not used: splits.json, which holds no splits",
    )
