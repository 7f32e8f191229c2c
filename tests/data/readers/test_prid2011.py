import json
import shutil

import pytest
import trees

from mmagga.data import load_tracklets
from mmagga.data.files.decoding import decode
from mmagga.errors import DataError, MmaggaError


@pytest.fixture
def root(tmp_path):
    return trees.prid2011(tmp_path / "prid2011")


def test_a_tree_in_its_true_layout(root):
    prid = load_tracklets("prid2011", root, split=9)
    read = trees.rows(prid)
    assert [row[:3] for row in read] == [
        *[("train", pid, camera) for pid in (1, 2, 3) for camera in (1, 2)],
        *[(split, pid, cam) for pid in (4, 5, 6) for split, cam in (("query", 1), ("gallery", 2))],
    ]
    folder = "prid_2011/multi_shot/cam_b/person_0001"
    assert read[1][3] == [f"{folder}/000{i}.png" for i in (1, 2, 3)]
    assert all(path.is_file() for row in range(len(prid)) for path in prid.frames(row))
    assert not prid.queries_in_gallery
    assert prid.notes[0].startswith("splits: FOREIGN (splits_prid2011.json)")


def test_the_split_file_decides_who_takes_part(root):
    splits = [{"train": ["person_0005"], "test": ["person_0002"]}]
    (root / "splits_prid2011.json").write_text(json.dumps(splits))
    prid = load_tracklets("prid2011", root)
    assert [row[:3] for row in trees.rows(prid)] == [
        ("train", 5, 1),
        ("train", 5, 2),
        ("query", 2, 1),
        ("gallery", 2, 2),
    ]


def test_the_order_of_folders_does_not_matter(root, monkeypatch):
    plain = trees.rows(load_tracklets("prid2011", root))
    trees.shuffle_listings(monkeypatch, 2)
    assert trees.rows(load_tracklets("prid2011", root)) == plain


def test_unpadded_frame_numbers_sort_by_value(root):
    folder = root / "prid_2011/multi_shot/cam_a/person_0001"
    shutil.rmtree(folder)
    trees.write_frames(folder, ["10.png", "9.png", "2.PNG", "Thumbs.db", ".hidden.png"])
    prid = load_tracklets("prid2011", root)
    assert [path.name for path in prid.frames(0)] == ["2.PNG", "9.png", "10.png"]
    assert (
        "gaps: 1 tracklets skip 6 frame numbers (prid_2011/multi_shot/cam_a/person_0001)"
        in (prid.notes[1])
    )


def split_file(text):
    def change(root):
        (root / "splits_prid2011.json").write_text(text)

    return change


FAULTS = {
    "no splits": (
        lambda root: (root / "splits_prid2011.json").unlink(),
        r"lacks splits_prid2011.json \(the train and test persons of ten splits\).*data/README.md",
    ),
    "no camera": (
        lambda root: shutil.rmtree(root / "prid_2011/multi_shot/cam_b"),
        r"cam_b \(the frames of camera b\)",
    ),
    "nothing": (lambda root: shutil.rmtree(root), "is not a folder; expected prid_2011"),
    "person without camera b": (
        lambda root: shutil.rmtree(root / "prid_2011/multi_shot/cam_b/person_0002"),
        r"1 persons have no folder in both cameras \(person_0002\)",
    ),
    "empty tracklet": (
        lambda root: [
            path.unlink() for path in (root / "prid_2011/multi_shot/cam_b/person_0002").iterdir()
        ],
        r"cam_b/person_0002 \(person 2, camera 2\) has no frames",
    ),
    "two folders for a person": (
        lambda root: trees.write_frames(root / "prid_2011/multi_shot/cam_a/person_1", ["1.png"]),
        "several folders for person 1",
    ),
    "half a file": (split_file('[{"train": ["person_'), "is not a list of splits"),
    "another form": (split_file('{"train": {}}'), "is not a list of splits"),
    "a name instead of a list": (
        split_file('[{"train": "person_0001", "test": ["person_0002"]}]'),
        "is not a list of splits",
    ),
    "path for a person": (
        split_file('[{"train": ["../../../etc"], "test": ["person_0002"]}]'),
        r"no folder in both cameras \(../../../etc\)",
    ),
    "person on both sides": (
        split_file('[{"train": ["person_0001"], "test": ["person_0001"]}]'),
        "1 persons are in the training and in the test set",
    ),
    "person twice": (
        split_file('[{"train": ["person_0001", "person_0001"], "test": ["person_0002"]}]'),
        "the train persons name somebody twice",
    ),
    "nobody to test": (
        split_file('[{"train": ["person_0001"], "test": []}]'),
        "no test persons",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(root, fault):
    break_it, message = FAULTS[fault]
    break_it(root)
    with pytest.raises(DataError, match=message):
        load_tracklets("prid2011", root)


@pytest.mark.parametrize("split", [-1, 10])
def test_splits_end(root, split):
    with pytest.raises(MmaggaError, match=f"splits 0 to 9, not {split}"):
        load_tracklets("prid2011", root, split=split)


@pytest.mark.parametrize("form", ["invented", "true"])
def test_the_published_splits_are_recognised(form, request, tmp_path, monkeypatch):
    root = trees.prid2011(tmp_path / "prid2011", persons=198, frames=1)
    if form == "true":
        shutil.copy(request.getfixturevalue("real_data") / "splits/splits_prid2011.json", root)
    else:
        persons = [f"person_{i:04d}" for i in range(1, 179)]
        splits = trees.publish(monkeypatch, "prid2011", persons, 89)
        (root / "splits_prid2011.json").write_text(json.dumps(splits))
    prid = load_tracklets("prid2011", root)
    assert prid.summary()["tracklets"].tolist() == [178, 89, 89]
    assert prid.notes[0] == "splits: the published ones (splits_prid2011.json)"
    assert prid.notes[1].startswith("frames: 178 persons have fewer than 27 in a camera")


def test_real_photographs(real_data):
    root = real_data / "real_pedestrians"
    sides = []
    for split in range(10):
        prid = load_tracklets("prid2011", root, split)
        assert prid.summary()["tracklets"].tolist() == [50, 24, 24]
        assert set(prid.lengths) == {8}
        assert "FOREIGN" in prid.notes[0]
        sides.append(tuple(prid.split("query").pids))
    assert len(set(sides)) == 10
    assert decode(prid.frames(0)[0]).shape == (128, 48, 3)  # JPEG inside .png
