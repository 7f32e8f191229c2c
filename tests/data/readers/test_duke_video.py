import shutil

import pytest
import trees

from mmagga.data import load_tracklets
from mmagga.errors import DataError, MmaggaError

FORMS = [
    "{person:04d}_C{camera}_F{frame:04d}_X{x:05d}.jpg",
    "{person:04d}C{camera}F{frame:04d}X{x:05d}.jpg",
]


@pytest.fixture(params=FORMS, ids=["underscores", "plain"])
def root(tmp_path, request):
    return trees.duke_video(tmp_path / "duke", request.param)


def test_a_tree_in_its_true_layout(root):
    """Tracklets start at F0002, and keep all their frames."""
    duke = load_tracklets("duke_video", root)
    read = trees.rows(duke)
    assert [(*row[:3], len(row[3])) for row in read] == [
        (split, *track) for split, tracks in trees.DUKE.items() for track in tracks
    ]
    assert all(path.is_file() for row in range(len(duke)) for path in duke.frames(row))
    numbers = [int(name.split("F")[-1][:4]) for name in read[3][3]]
    assert numbers == list(range(2, 14))
    assert not duke.queries_in_gallery


def test_the_withdrawal_is_said_and_no_place_named(root):
    duke = load_tracklets("duke_video", root)
    assert "withdrawn by its authors in 2019" in duke.notes[0]
    assert duke.notes[1] == (
        "counts: FOREIGN or incomplete: 2 train of 2,196, 1 query of 702, 2 gallery of 2,636 "
        "tracklets"
    )
    shutil.rmtree(root)
    with pytest.raises(DataError, match="withdrawn in 2019") as caught:
        load_tracklets("duke_video", root)
    assert "http" not in str(caught.value) + " ".join(duke.notes)


def test_the_order_of_folders_does_not_matter(root, monkeypatch):
    plain = trees.rows(load_tracklets("duke_video", root))
    trees.shuffle_listings(monkeypatch, 5)
    assert trees.rows(load_tracklets("duke_video", root)) == plain


def test_skipped_frame_numbers_are_counted(root):
    next((root / "DukeMTMC-VideoReID/gallery/0003/0001").glob("*F0007*")).unlink()
    duke = load_tracklets("duke_video", root)
    assert duke.lengths[3] == 11
    assert duke.notes[-1].startswith("gaps: 1 tracklets skip 1 frame numbers")


def tracklet(root):
    return root / "DukeMTMC-VideoReID/train/0001/0001"


FAULTS = {
    "no gallery": (
        lambda root: shutil.rmtree(root / "DukeMTMC-VideoReID/gallery"),
        r"gallery \(the gallery tracklets\)",
    ),
    "empty tracklet": (
        lambda root: [path.unlink() for path in tracklet(root).iterdir()],
        r"train/0001/0001 \(person 1, .* has no frames",
    ),
    "two cameras": (
        lambda root: trees.write_frames(tracklet(root), ["0001_C7_F0009_X30000.jpg"]),
        r"\(1, 2\), \(1, 7\); expected person 1 and one camera",
    ),
    "two persons": (
        lambda root: trees.write_frames(tracklet(root), ["0002_C2_F0009_X30000.jpg"]),
        r"\(1, 2\), \(2, 2\); expected person 1 and one camera",
    ),
    "odd names": (
        lambda root: [p.rename(p.with_name("frame1.jpg")) for p in tracklet(root).iterdir()],
        r"holds frame1.jpg; expected names like 0001_C6_F0099_X30823.jpg",
    ),
    "person on both sides": (
        lambda root: shutil.copytree(
            root / "DukeMTMC-VideoReID/query/0003", root / "DukeMTMC-VideoReID/train/0003"
        ),
        r"1 persons are in the training and in the test set \(3",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(root, fault):
    break_it, message = FAULTS[fault]
    break_it(root)
    with pytest.raises(DataError, match=message):
        load_tracklets("duke_video", root)


def test_there_is_one_split(root):
    with pytest.raises(MmaggaError, match="one split"):
        load_tracklets("duke_video", root, split=1)
