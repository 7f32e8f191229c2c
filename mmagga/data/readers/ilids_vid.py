"""iLIDS-VID."""

from pathlib import Path

import numpy as np

from mmagga.data.readers.folders import list_persons, read_matrix, require, two_cameras
from mmagga.data.readers.splits import Split, choose, origin, read_splits, shorten
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError

CAMERAS = ("i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2")
SPLITS = (
    "train-test people splits/train_test_splits_ilidsvid.mat",
    "splits_ilids_vid.json",
    "splits.json",
)
"""Where the ten splits are looked for, in this order; the last is what other kits write."""

_SOURCE = (
    "The archive from the data set's project page (iLIDS-VID, Queen Mary University of London) "
    "holds the frames and the splits; see data/README.md"
)


def load_ilids_vid(root: Path, split: int = 0) -> Tracklets:
    """Read split 0 to 9 of iLIDS-VID: 300 persons before two cameras of an airport hall.

    T. Wang, S. Gong, X. Zhu, S. Wang, "Person Re-Identification by Video Ranking", ECCV 2014.

    | split   | identities | tracklets       |
    |---------|------------|-----------------|
    | train   | 150        | 300             |
    | query   | 150        | 150, camera 1   |
    | gallery | 150        | 150, camera 2   |

    Layout of `root`: i-LIDS-VID/sequences/cam{1,2}/personNNN/camC_personNNN_NNNNN.png and
    "train-test people splits"/train_test_splits_ilidsvid.mat, whose `ls_set` is ten rows of
    indices, from 1, into the sorted person folders: the first half of a row is test. Instead of
    the .mat file, splits_ilids_vid.json may give the names.

    Raises DataError if something is missing or does not fit together. Opens no frame.
    """
    root = Path(root)
    cameras = dict(zip(CAMERAS, ("the frames of camera 1", "the frames of camera 2")))
    require(root, cameras, _SOURCE)
    persons = _persons(root)
    found = [name for name in SPLITS if (root / name).exists()]
    if not found:
        require(root, {SPLITS[0]: "the train and test persons of ten splits"}, _SOURCE)
    splits = _read(root / found[0], persons)
    notes = [origin("ilids_vid", splits, found[0]), *_unused(root, found[1:])]
    chosen = choose("ilids_vid", splits, split, persons)
    return two_cameras("ilids_vid", root, CAMERAS, chosen).build(notes)


def _persons(root: Path) -> list[str]:
    """List the persons in plain string order: the splits are indices into this list."""
    first, second = (list_persons(root / camera) for camera in CAMERAS)
    if first != second:
        alone = sorted({*first} ^ {*second})
        raise DataError(
            f"{root}: {len(alone)} persons are in one camera only ({shorten(alone)}), which shifts "
            "every split: unpack the archive again"
        )
    return first


def _unused(root: Path, names: list[str]) -> list[str]:
    """Describe the split files that lie there too: often another kit's."""
    notes = []
    for name in names:
        try:
            notes.append(f"not used: {origin('ilids_vid', read_splits(root / name), name)}")
        except DataError:
            notes.append(f"not used: {name}, which holds no splits")
    return notes


def _read(path: Path, persons: list[str]) -> list[Split]:
    if path.suffix == ".json":
        return read_splits(path)
    indices = read_matrix(path, "ls_set")
    everybody = np.arange(1, len(persons) + 1)
    for number, row in enumerate(indices):
        if not np.array_equal(np.sort(row), everybody):
            raise DataError(
                f"{path}: split {number} does not name each of 1 to {len(persons)} once, though "
                f"there are {len(persons)} person folders: unpack the archive again"
            )
    half = indices.shape[1] // 2
    return [
        {
            "train": [persons[i - 1] for i in sorted(row[half:])],
            "test": [persons[i - 1] for i in sorted(row[:half])],
        }
        for row in indices
    ]
