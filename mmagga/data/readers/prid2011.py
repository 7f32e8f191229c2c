"""PRID 2011, the multi-shot part."""

from pathlib import Path

from mmagga.data.readers.folders import list_frames, list_persons, require, two_cameras
from mmagga.data.readers.splits import PUBLISHED, choose, fingerprint, origin, read_splits, shorten
from mmagga.data.tracklets import Tracklets

CAMERAS = ("prid_2011/multi_shot/cam_a", "prid_2011/multi_shot/cam_b")
SHORTEST = 27
"""Frames in both cameras that a person of the published splits has."""

_SPLITS = "splits_prid2011.json"
_SOURCE = (
    "The frames come from the data set's project page (PRID 2011, Graz University of Technology), "
    "the ten splits from the people who publish results on it; see data/README.md"
)


def load_prid2011(root: Path, split: int = 0) -> Tracklets:
    """Read split 0 to 9 of PRID 2011: two static cameras over a street, one walk past each.

    M. Hirzer, C. Beleznai, P. M. Roth, H. Bischof, "Person Re-identification by Descriptive and
    Discriminative Classification", SCIA 2011.

    | split   | identities | tracklets       |
    |---------|------------|-----------------|
    | train   | 89         | 178             |
    | query   | 89         | 89, camera a    |
    | gallery | 89         | 89, camera b    |

    The first 200 persons appear in both cameras; the published splits use the 178 of them with at
    least 27 frames in each. Here the split file decides. Layout of `root`:
    prid_2011/multi_shot/cam_{a,b}/person_NNNN/NNNN.png and splits_prid2011.json.

    Raises DataError if something is missing or does not fit together. Opens no frame.
    """
    root = Path(root)
    cameras = dict(zip(CAMERAS, ("the frames of camera a", "the frames of camera b")))
    require(root, cameras | {_SPLITS: "the train and test persons of ten splits"}, _SOURCE)
    splits = read_splits(root / _SPLITS)
    first, second = (list_persons(root / camera) for camera in CAMERAS)
    chosen = choose("prid2011", splits, split, {*first} & {*second})
    gathered = two_cameras("prid2011", root, CAMERAS, chosen)
    notes = [origin("prid2011", splits, _SPLITS)]
    if fingerprint(splits) == PUBLISHED["prid2011"]:
        notes += _short(root, [*chosen["train"], *chosen["test"]])
    return gathered.build(notes)


def _short(root: Path, persons: list[str]) -> list[str]:
    """Return who has fewer frames than anybody in the published splits has."""
    short = [p for p in persons if min(len(list_frames(root / c / p)) for c in CAMERAS) < SHORTEST]
    if not short:
        return []
    return [
        f"frames: {len(short)} persons have fewer than {SHORTEST} in a camera ({shorten(short)}), "
        "which nobody in the published splits has: was the archive unpacked to the end?"
    ]
