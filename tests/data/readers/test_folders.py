import os
import unicodedata

import numpy as np
import pytest
import trees
from scipy.io import savemat

from mmagga.data import load_tracklets
from mmagga.data.readers.folders import list_folder, list_frames, read_matrix
from mmagga.errors import DataError


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_natural_order_whatever_the_disk(tmp_path):
    touch(tmp_path, "f10.png", "f9.png", "f09.png", "e11.png", "F1.png")
    assert list_folder(tmp_path) == ["F1.png", "e11.png", "f09.png", "f9.png", "f10.png"]


def test_only_images_are_frames(tmp_path):
    touch(tmp_path, "1.png", "2.JPG", "Thumbs.db", "notes.txt", ".1.png")
    assert list_frames(tmp_path) == ["1.png", "2.JPG"]


def test_names_that_need_no_escaping_here(tmp_path):
    names = ["CON.png", "x..png", "a b.png", "行人 #1 [a].jpg"]
    touch(tmp_path, *names)
    assert sorted(list_frames(tmp_path)) == sorted(names)


def test_both_unicode_forms_open_and_sort_alike(tmp_path):
    for form in ("NFC", "NFD"):
        folder = tmp_path / form
        folder.mkdir()
        touch(folder, *(unicodedata.normalize(form, name) for name in ("f.png", "é.png", "z.png")))
        names = list_frames(folder)
        assert [unicodedata.normalize("NFC", n) for n in names] == ["f.png", "z.png", "é.png"]
        assert all((folder / name).is_file() for name in names)


@pytest.mark.parametrize(
    "twins", [("a.png", "A.png"), ("é.png", unicodedata.normalize("NFD", "é.png"))]
)
def test_names_that_are_one_file_elsewhere_are_refused(tmp_path, twins):
    touch(tmp_path, *twins)
    if len(os.listdir(tmp_path)) < 2:
        pytest.skip("they are one file on this disk")
    with pytest.raises(DataError, match="only in case or Unicode form"):
        list_folder(tmp_path)


@pytest.mark.parametrize("name", [b"\xff.png", b"a\\b.png", b"a\n.png"])
def test_names_that_other_systems_refuse(tmp_path, name):
    try:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    except OSError:
        pytest.skip("this disk refuses it too")
    with pytest.raises(DataError, match="other systems refuse"):
        list_folder(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "person_0001")
    with pytest.raises(DataError, match="person_0001 cannot be listed"):
        list_folder(tmp_path / "person_0001")


def test_small_integers_from_a_table_do_not_wrap(tmp_path):
    """`query_IDX` of MARS is uint16, in which 0 - 1 is 65,535."""
    savemat(tmp_path / "t.mat", {"table": np.array([[0, 1, 65535]], np.uint16)})
    assert (read_matrix(tmp_path / "t.mat", "table") - 1).tolist() == [[-1, 0, 65534]]


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, np.nan, 0.5])
def test_what_is_no_whole_number_is_refused(tmp_path, value):
    savemat(tmp_path / "t.mat", {"table": np.array([[1.0, value]])})
    with pytest.raises(DataError, match="not a table of whole numbers"):
        read_matrix(tmp_path / "t.mat", "table")


@pytest.mark.parametrize(
    ("dataset", "folder", "image"),
    [
        ("ilids_vid", "i-LIDS-VID/sequences/cam1/person001", "cam1_person001_00001 copy.png"),
        ("prid2011", "prid_2011/multi_shot/cam_a/person_0001", "0001 (1).png"),
        ("duke_video", "DukeMTMC-VideoReID/train/0001/0001", "0001_C2_F0001_X00001 (1).jpg"),
    ],
)
def test_copies_and_other_files_are_left_out_and_counted(tmp_path, dataset, folder, image):
    root = getattr(trees, dataset)(tmp_path / dataset)
    before = load_tracklets(dataset, root)
    trees.write_frames(root / folder, [image, "preview.jpg", "._x.png", "Thumbs.db", "notes.txt"])
    after = load_tracklets(dataset, root)
    assert trees.rows(after) == trees.rows(before)
    assert set(after.notes) - set(before.notes) == {
        f"stray files: 5 are no frames and left out ({image}, preview.jpg, ._x.png, …)"
    }
