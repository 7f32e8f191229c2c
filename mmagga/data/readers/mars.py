"""MARS, and the built-in set, which is rendered in MARS's layout."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.data.readers.folders import gap_note, read_matrix, require
from mmagga.data.readers.splits import fingerprint, only_split, shorten
from mmagga.data.tracklets import DISTRACTOR, Tracklets, make_tracklets
from mmagga.errors import DataError

JUNK = -1
"""Person of the tracklets that show no person well enough; they are never searched."""
PUBLISHED = "34fc243f8b5bfa890fa3bb246d8f7f6778aabb8a5aa12a4904b87c6154b0d889"
"""`fingerprint` of the three published tables."""

_FOLDERS = {"bbox_train": "the training frames", "bbox_test": "the test frames"}
_INFO = {
    "info/train_name.txt": "the training frames' names, one a line",
    "info/test_name.txt": "the test frames' names, one a line",
    "info/tracks_train_info.mat": "the training tracklets",
    "info/tracks_test_info.mat": "the test tracklets",
    "info/query_IDX.mat": "which test tracklets are queries",
}
_NAME = re.compile(r"(00-1|[0-9]{4})C([0-9])T([0-9]{1,9})F([0-9]{1,9})\.(?:jpg|png)")


def load_mars(root: Path, split: int = 0) -> Tracklets:
    """Read MARS: six cameras on a campus, boxes and tracklets made by machine.

    L. Zheng, Z. Bie, Y. Sun, J. Wang, C. Su, S. Wang, Q. Tian, "MARS: A Video Benchmark for
    Large-Scale Person Re-identification", ECCV 2016.

    | split   | identities | tracklets                           |
    |---------|------------|-------------------------------------|
    | train   | 625        | 8,298                               |
    | query   | 626        | 1,980                               |
    | gallery | 620        | 9,330, of which 3,248 distractors   |

    The queries are searched too (11,310 in all): without them 140 have no match. 870 junk
    tracklets are dropped. Layout of `root`: bbox_train/ and bbox_test/, a folder of frames a
    person, and info/ with two name lists and three tables. A table's row is first frame, last
    frame (from 1, inclusive, into the name list), person, camera; its frames keep that order.

    Raises DataError if something is missing or does not fit together. Opens no frame.
    """
    only_split("mars", split)
    source = (
        "The frames come from MARS's project page, the info folder from its authors' "
        "MARS-evaluation code; see data/README.md"
    )
    return _read("mars", Path(root), source)


def load_synthetic(root: Path, split: int = 0) -> Tracklets:
    """Read the built-in set of rendered walkers; see `mmagga.data.synthetic`."""
    only_split("synthetic", split)
    return _read("synthetic", Path(root), f"Render it: python -m mmagga render --root {root}")


def _read(dataset: str, root: Path, source: str) -> Tracklets:
    require(root, _FOLDERS | _INFO, source)
    train_names = _read_names(root / "info/train_name.txt")
    test_names = _read_names(root / "info/test_name.txt")
    train = _read_tracks(root / "info/tracks_train_info.mat", "track_train_info", train_names)
    test = _read_tracks(root / "info/tracks_test_info.mat", "track_test_info", test_names)
    queries = _read_queries(root / "info/query_IDX.mat", test)
    _check_persons(root / "bbox_train", train_names)
    _check_persons(root / "bbox_test", test_names)

    junk = test[:, 2] == JUNK
    gallery = np.setdiff1d(np.flatnonzero(~junk), queries)
    rows = pd.concat(
        [
            _rows("train", train, 0),
            _rows("query", test[queries], len(train_names)),
            _rows("gallery", test[gallery], len(train_names)),
        ]
    )
    names = [f"bbox_train/{name[:4]}/{name}" for name in train_names]
    names += [f"bbox_test/{name[:4]}/{name}" for name in test_names]
    notes = [f"junk: {junk.sum():,} tracklets dropped"]
    if dataset == "mars":
        notes.append(_origin(train, test, queries))
    notes += gap_note(_gaps(train_names, train) + _gaps(test_names, test[~junk]))
    return make_tracklets(dataset, root, rows, names, queries_in_gallery=True, notes=tuple(notes))


def _rows(split: str, tracks: np.ndarray, offset: int) -> pd.DataFrame:
    first, last, pid, camid = tracks.T
    columns = {"pid": pid, "camid": camid, "first": first - 1 + offset, "length": last - first + 1}
    return pd.DataFrame({"split": split} | columns)


def _read_names(path: Path) -> list[str]:
    names = path.read_text(encoding="utf-8", errors="replace").split()
    for number, name in enumerate(names, start=1):
        # Also what keeps a name from leaving the data set's folder.
        if not _NAME.fullmatch(name):
            raise DataError(
                f"{path}, line {number}: {name!r} is not a frame name like 0001C1T0001F001.jpg: "
                "copy the file again"
            )
    if len(set(names)) < len(names):
        raise DataError(f"{path} names {len(names) - len(set(names))} frames twice: copy it again")
    return names


def _read_tracks(path: Path, key: str, names: list[str]) -> np.ndarray:
    """Read (N, 4) first, last, person, camera and check it against the name list."""
    tracks = read_matrix(path, key)
    if tracks.shape[1] != 4 or not len(tracks):
        raise DataError(f"{path}: {key} is {tracks.shape}, expected one row of 4 a tracklet")
    first, last, pid, camid = tracks.T
    faults = {
        f"frames outside 1 to {len(names):,}, the name list": (first < 1) | (last > len(names)),
        "no frames": last < first,
        "a person below -1": pid < JUNK,
        "a camera below 1": camid < 1,
    }
    for fault, wrong in faults.items():
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{path}: {wrong.sum():,} tracklets have {fault}; the first is row {row + 1}, "
                f"{tracks[row].tolist()}. Do the info files belong together?"
            )
    for row, (start, stop, person, _) in enumerate(tracks.tolist(), start=1):
        if person != JUNK and _who_where(names[start - 1]) != _who_where(names[stop - 1]):
            raise DataError(
                f"{path}, row {row}: a tracklet from {names[start - 1]} to {names[stop - 1]} "
                "mixes persons or cameras. Do the info files belong together?"
            )
    return tracks


def _who_where(name: str) -> str:
    return name.partition("T")[0]


def _read_queries(path: Path, test: np.ndarray) -> np.ndarray:
    """Read which rows of `test` are queries, from 0, in the file's order."""
    queries = read_matrix(path, "query_IDX").ravel() - 1
    outside = (queries < 0) | (queries >= len(test))
    if not len(queries) or outside.any():
        raise DataError(
            f"{path}: {outside.sum()} of {len(queries)} queries are outside 1 to {len(test)}, the "
            f"test tracklets ({shorten((queries[outside] + 1).tolist())}). Copy the file again"
        )
    if len(np.unique(queries)) < len(queries):
        raise DataError(f"{path} names a query twice: copy it again")
    nobody = queries[test[queries, 2] <= DISTRACTOR]
    if len(nobody):
        raise DataError(
            f"{path}: {len(nobody)} queries are junk or distractors, which match nobody (rows "
            f"{shorten((nobody + 1).tolist())}). Do the info files belong together?"
        )
    return queries


def _check_persons(folder: Path, names: list[str]) -> None:
    """Check that every person has a folder, with one listing instead of one stat per file."""
    missing = sorted({name[:4] for name in names} - set(os.listdir(folder)) - {"00-1"})
    if missing:
        raise DataError(
            f"{folder} lacks the folders of {len(missing)} persons ({shorten(missing)}): was it "
            "unpacked to the end?"
        )


def _origin(train: np.ndarray, test: np.ndarray, queries: np.ndarray) -> str:
    if fingerprint([train.tolist(), test.tolist(), (queries + 1).tolist()]) == PUBLISHED:
        return "split: the published one (info/*.mat)"
    return "split: FOREIGN (info/*.mat): not the published one; results compare only with their own"


def _gaps(names: list[str], tracks: np.ndarray) -> list[tuple[str, int]]:
    gaps = []
    for first, last, _, _ in tracks.tolist():
        start, end = (int(_NAME.fullmatch(names[i - 1])[4]) for i in (first, last))
        skipped = (end - start) - (last - first)
        if skipped > 0:
            gaps.append((names[first - 1].partition("F")[0], skipped))
    return gaps
