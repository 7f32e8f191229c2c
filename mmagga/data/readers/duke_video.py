"""DukeMTMC-VideoReID."""

import re
from pathlib import Path

from mmagga.data.readers.folders import Gathered, list_folder, list_frames, list_strays, require
from mmagga.data.readers.splits import only_split, shorten
from mmagga.data.tracklets import SPLITS, Tracklets
from mmagga.errors import DataError

TRACKLETS = {"train": 2196, "query": 702, "gallery": 2636}
"""How many the published set has."""
WITHDRAWN = (
    "DukeMTMC was withdrawn by its authors in 2019 over privacy. The reader is here to check "
    "published results; take another set for new work"
)

_SOURCE = (
    "The data set was withdrawn in 2019 and this kit names no place to get it; see data/README.md"
)
_FRAME = re.compile(r"([0-9]{4})_?C([0-9])_?F([0-9]+)_?X([0-9]+)\.(?:jpg|png)")


def load_duke_video(root: Path, split: int = 0) -> Tracklets:
    """Read DukeMTMC-VideoReID: eight cameras on a campus. Withdrawn in 2019: see `WITHDRAWN`.

    Y. Wu, Y. Lin, X. Dong, Y. Yan, W. Ouyang, Y. Yang, "Exploit the Unknown Gradually: One-Shot
    Video-Based Person Re-Identification by Stepwise Learning", CVPR 2018; cut from DukeMTMC:
    E. Ristani, F. Solera, R. Zou, R. Cucchiara, C. Tomasi, "Performance Measures and a Data Set
    for Multi-Target, Multi-Camera Tracking", ECCV Workshops 2016.

    | split   | identities | tracklets |
    |---------|------------|-----------|
    | train   | 702        | 2,196     |
    | query   | 702        | 702       |
    | gallery | 1,110      | 2,636     |

    Layout of `root`: DukeMTMC-VideoReID/{train,query,gallery}/PPPP/TTTT/frames, named
    0001_C6_F0099_X30823.jpg or 0001C6F0099X30823.jpg: person, camera, frame, frame of the video.
    Frames are sorted by name and none is dropped, though some tracklets start at F0002.

    Raises DataError if something is missing or does not fit together. Opens no frame.
    """
    only_split("duke_video", split)
    root = Path(root)
    sides = {f"DukeMTMC-VideoReID/{side}": f"the {side} tracklets" for side in SPLITS}
    require(root, sides, _SOURCE)
    gathered = Gathered("duke_video", root)
    for side, label in zip(sides, SPLITS, strict=True):
        for person in _numbered(root / side):
            for tracklet in _numbered(root / side / person):
                _add(gathered, label, f"{side}/{person}/{tracklet}", int(person))
    counts = {side: sum(row[0] == side for row in gathered.rows) for side in SPLITS}
    origin = "counts: those of the published set"
    if counts != TRACKLETS:
        found = ", ".join(f"{n:,} {side} of {TRACKLETS[side]:,}" for side, n in counts.items())
        origin = f"counts: FOREIGN or incomplete: {found} tracklets"
    return gathered.build([WITHDRAWN, origin])


def _numbered(folder: Path) -> list[str]:
    return [name for name in list_folder(folder) if re.fullmatch("[0-9]+", name)]


def _add(gathered: Gathered, label: str, folder: str, pid: int) -> None:
    images = sorted(list_frames(gathered.root / folder))
    frames = [name for name in images if _FRAME.fullmatch(name)]
    odd = sorted({*images} - {*frames})
    if odd and not frames:
        raise DataError(
            f"{gathered.root / folder} holds {shorten(odd, 2)}; expected names like "
            "0001_C6_F0099_X30823.jpg"
        )
    gathered.strays += odd + list_strays(gathered.root / folder)
    parts = [part for part in map(_FRAME.fullmatch, frames) if part]
    whose = {(int(part[1]), int(part[2])) for part in parts}
    if len(whose) > 1 or any(person != pid for person, _ in whose):
        raise DataError(
            f"{gathered.root / folder} holds frames of (person, camera) {shorten(sorted(whose))}; "
            f"expected person {pid} and one camera: unpack the data set again"
        )
    _, camid = whose.pop() if whose else (pid, 0)  # without frames, `add` refuses
    gathered.add(
        label, pid, camid, folder=folder, frames=frames, numbers=[int(part[3]) for part in parts]
    )
