import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mmagga.data import DATASETS, load_tracklets
from mmagga.data.tracklets import make_tracklets
from mmagga.errors import DataError, MmaggaError

ROWS = [
    ("train", 1, 1, 0, 2),
    ("train", 1, 2, 2, 1),
    ("query", 5, 1, 3, 1),
    ("gallery", 5, 2, 4, 3),
    ("gallery", 0, 2, 7, 1),
]
NAMES = [f"{i}.jpg" for i in range(8)]


def make(rows=ROWS, names=NAMES):
    return make_tracklets("tiny", "/data/tiny", rows, names)


def test_the_summary_counts_each_split():
    summary = make().summary()
    assert summary.index.tolist() == ["train", "query", "gallery"]
    assert summary["identities"].tolist() == [1, 1, 1]
    assert summary["tracklets"].tolist() == [2, 1, 2]
    assert summary["distractors"].tolist() == [0, 0, 1]
    assert summary["cameras"].tolist() == [2, 1, 1]
    assert summary["frames"].tolist() == [3, 1, 4]
    assert summary["shortest"].tolist() == [1, 1, 1]
    assert summary["longest"].tolist() == [2, 1, 3]


def test_an_absent_split_counts_nothing():
    summary = make(ROWS[2:]).summary()
    assert summary.loc["train"].tolist() == [0] * 7


def test_a_subset_shares_the_names():
    tracklets = make()
    gallery = tracklets.split("gallery")
    assert gallery.names is tracklets.names
    assert [path.as_posix() for path in gallery.frames(0)] == [
        f"/data/tiny/{i}.jpg" for i in (4, 5, 6)
    ]
    assert tracklets.subset([3, 0]).pids.tolist() == [5, 1]
    assert tracklets.subset(tracklets.table["camid"] == 2).camids.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="split is one of train, query, gallery, not 'test'"):
        tracklets.split("test")


def test_columns_are_whole_numbers_and_names_are_strings():
    tracklets = make()
    assert {tracklets.pids.dtype, tracklets.camids.dtype, tracklets.lengths.dtype} == {
        np.dtype(np.int64)
    }
    assert type(tracklets.names[0]) is str


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("test", 9, 1, 0, 1), r"unknown split \['test'\]"),
        (("query", 9, 1, 0, 0), r"1 tracklets have no frames.*\(person 9, camera 1\)"),
        (("query", 9, 1, 7, 2), "person 9 refers to frames 7 to 8, but only 8 are listed"),
        (("query", 9, 1, -1, 2), "person 9 refers to frames -1 to 0"),
        (("train", 5, 1, 0, 1), r"1 persons are in the training and in the test set \(5"),
    ],
)
def test_rows_that_cannot_be(row, message):
    with pytest.raises(DataError, match=message):
        make([*ROWS, row])


def test_distractors_are_nobody_and_may_be_on_both_sides():
    assert len(make([*ROWS, ("train", 0, 1, 0, 1)])) == 6


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(MmaggaError, match="'nars'; there are synthetic, mars, ilids_vid"):
        load_tracklets("nars", tmp_path)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_missing_folder_is_named(dataset, tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder; expected"):
        load_tracklets(dataset, tmp_path / "nowhere")


def test_readers_import_nothing_heavy():
    code = "import sys, mmagga.data; print({'torch', 'cv2', 'scipy', 'tqdm'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_rows_are_numbered_through_whatever_the_reader_gave():
    columns = ["split", "pid", "camid", "first", "length"]
    rows = pd.DataFrame(ROWS, columns=columns, index=[0, 1, 0, 1, 2])
    assert make(rows).table.index.tolist() == [0, 1, 2, 3, 4]
