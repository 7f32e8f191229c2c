import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trees
from scipy.io import savemat

from mmagga.data import load_tracklets
from mmagga.errors import DataError, MmaggaError


@pytest.fixture
def root(tmp_path):
    return trees.mars(tmp_path / "mars")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def table(root, side, row, values):
    """Change one row of a table; -1 is the last."""
    tracks = trees.MARS_TRAIN if side == "train" else trees.MARS_TEST
    _, rows = trees.mars_names(tracks)
    rows[row] = values
    savemat(root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": rows})


def queries(root, rows):
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([rows], np.uint16)})


def test_a_tree_in_its_true_layout(root):
    mars = load_tracklets("mars", root)
    read = trees.rows(mars)
    assert [(split, pid, cam, len(frames)) for split, pid, cam, frames in read] == [
        *[("train", *track) for track in trees.MARS_TRAIN],
        ("query", 2, 1, 2),
        ("query", 4, 5, 2),
        ("gallery", 0, 2, 3),
        ("gallery", 2, 1, 5),
        ("gallery", 2, 4, 3),
        ("gallery", 4, 6, 2),
    ]
    assert read[1][3] == [f"bbox_train/0001/0001C2T0002F00{f}.jpg" for f in (1, 2)]
    assert read[4][3] == [f"bbox_test/0002/0002C1T0001F00{f}.jpg" for f in (1, 2)]
    assert all(path.is_file() for row in range(len(mars)) for path in mars.frames(row))
    assert mars.queries_in_gallery
    summary = mars.summary()
    assert summary.loc["gallery", ["identities", "tracklets", "distractors"]].tolist() == [2, 4, 1]
    assert "junk: 2 tracklets dropped" in mars.notes
    assert any("FOREIGN" in note for note in mars.notes)


def test_queries_keep_the_order_of_the_file(root):
    queries(root, [7, 4])
    assert load_tracklets("mars", root).split("query").pids.tolist() == [4, 2]


def test_the_order_of_folders_does_not_matter(root, monkeypatch):
    plain = trees.rows(load_tracklets("mars", root))
    trees.shuffle_listings(monkeypatch, 1)
    assert trees.rows(load_tracklets("mars", root)) == plain


def test_skipped_frame_numbers_are_counted_and_nothing_is_dropped(root):
    edit(root / "info/train_name.txt", "0001C1T0001F003", "0001C1T0001F007")
    mars = load_tracklets("mars", root)
    assert mars.lengths[0] == 3
    assert [note for note in mars.notes if note.startswith("gaps: 1 tracklets skip 4 frame")]


FAULTS = {
    "no frames": (lambda root: shutil.rmtree(root / "bbox_test"), r"bbox_test \(the test frames\)"),
    "no query list": (
        lambda root: (root / "info/query_IDX.mat").unlink(),
        r"query_IDX.mat \(which test tracklets are queries\).*MARS-evaluation",
    ),
    "half unpacked": (
        lambda root: shutil.rmtree(root / "bbox_test/0004"),
        r"bbox_test lacks the folders of 1 persons \(0004\)",
    ),
    "name leaves the root": (
        lambda root: edit(root / "info/train_name.txt", "0001C1T0001F002.jpg", "../../etc/passwd"),
        r"train_name.txt, line 2: '../../etc/passwd' is not a frame name",
    ),
    "name twice": (
        lambda root: edit(root / "info/train_name.txt", "0001C1T0001F002", "0001C1T0001F001"),
        "names 1 frames twice",
    ),
    "row past the names": (
        lambda root: table(root, "train", -1, (10, 9999, 3, 6)),
        r"1 tracklets have frames outside 1 to 10.*row 4",
    ),
    "row from 0": (lambda root: table(root, "train", 0, (0, 3, 1, 1)), "frames outside 1 to 10"),
    "empty tracklet": (lambda root: table(root, "test", 4, (10, 9, 2, 1)), "no frames.*row 5"),
    "negative person": (lambda root: table(root, "test", 4, (9, 13, -7, 1)), "a person below -1"),
    "wrong name list": (
        lambda root: table(root, "train", 0, (1, 4, 1, 1)),
        "row 1: a tracklet from 0001C1T0001F001.jpg to 0001C2T0002F001.jpg mixes",
    ),
    "query 0, which wraps in uint16": (
        lambda root: queries(root, [4, 0]),
        r"1 of 2 queries.*\(0\)",
    ),
    "query past the table": (lambda root: queries(root, [65535]), r"1 of 1 queries.*\(65535\)"),
    "query twice": (lambda root: queries(root, [4, 4]), "names a query twice"),
    "query is junk": (lambda root: queries(root, [1, 4]), r"1 queries are junk.*rows 1\)"),
    "damaged table": (
        lambda root: (root / "info/query_IDX.mat").write_bytes(b"<html>not found</html>"),
        "holds no table 'query_IDX'",
    ),
    "another file's table": (
        lambda root: savemat(root / "info/query_IDX.mat", {"queries": [1]}),
        "holds no table 'query_IDX'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(root, fault):
    break_it, message = FAULTS[fault]
    break_it(root)
    with pytest.raises(DataError, match=message):
        load_tracklets("mars", root)


def test_a_table_of_fractions_is_refused(root):
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[4.5]])})
    with pytest.raises(DataError, match="not a table of whole numbers"):
        load_tracklets("mars", root)
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[np.nan, 4]])})
    with pytest.raises(DataError, match="not a table of whole numbers"):
        load_tracklets("mars", root)


def test_a_person_on_both_sides_is_refused(tmp_path):
    root = trees.mars(tmp_path / "mars", train=[(1, 1, 2), (2, 1, 2)])
    with pytest.raises(DataError, match=r"1 persons are in the training and in the test set \(2"):
        load_tracklets("mars", root)


def test_there_is_one_split(root):
    with pytest.raises(MmaggaError, match="one split, number 0, not 3"):
        load_tracklets("mars", root, split=3)


def test_the_built_in_set_has_this_layout_and_says_how_to_make_it(root, tmp_path):
    synthetic = load_tracklets("synthetic", root)
    assert synthetic.dataset == "synthetic"
    assert trees.rows(synthetic) == trees.rows(load_tracklets("mars", root))
    assert not any("FOREIGN" in note for note in synthetic.notes)
    with pytest.raises(DataError, match=r"python -m mmagga render --root .*nowhere"):
        load_tracklets("synthetic", tmp_path / "nowhere")


FACTS = Path(__file__).parents[2] / "facts"


def test_tracklets_of_the_published_size(tmp_path):
    """As many tracklets of each person and camera as MARS has, under other names and lengths."""
    counts = json.loads((FACTS / "mars_tracklets.json").read_text(encoding="utf-8"))
    mars = load_tracklets("mars", trees.mars_from_counts(tmp_path / "mars", counts))
    check_counts(mars)
    assert mars.notes[0] == "junk: 870 tracklets dropped"
    assert mars.notes[1].startswith("split: FOREIGN")


def test_the_published_tables(real_data, tmp_path):
    """All of MARS but the pictures: 1.19 million names."""
    mars = load_tracklets(
        "mars", trees.mars_from_tables(tmp_path / "mars", real_data / "mars_info")
    )
    check_counts(mars)
    assert mars.summary()["frames"].tolist() == [509_914, 114_493, 543_216]
    assert (mars.lengths.min(), mars.lengths.max()) == (2, 920)
    assert mars.notes == ("junk: 870 tracklets dropped", "split: the published one (info/*.mat)")
    assert mars.names.nbytes < 20 * len(mars.names)  # the rest, 35 bytes a name, is not counted


def check_counts(mars):
    summary = mars.summary()
    assert summary["tracklets"].tolist() == [8298, 1980, 9330]
    assert summary["identities"].tolist() == [625, 626, 620]
    assert summary.loc["gallery", "distractors"] == 3248
    query, gallery = (set_(mars.split(name)) for name in ("query", "gallery"))
    assert unmatched(query, gallery) == 140
    assert unmatched(query, query + gallery) == 0


def set_(tracklets):
    return list(zip(tracklets.pids.tolist(), tracklets.camids.tolist(), strict=True))


def unmatched(query, gallery):
    """Count the queries whose person no other camera has in the gallery."""
    cameras = {}
    for pid, camera in gallery:
        cameras.setdefault(pid, set()).add(camera)
    return sum(not cameras.get(pid, set()) - {camera} for pid, camera in query)
