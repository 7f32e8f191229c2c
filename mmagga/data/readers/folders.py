"""Walking the folders of a data set: the same rows and the same order on every machine.

A frame keeps the name it has on disk, since that name opens it; order and comparisons use the NFC
form, so that disks that store accents differently give the same order.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mmagga.data.readers.splits import Split, shorten
from mmagga.data.tracklets import Tracklets, make_tracklets
from mmagga.errors import DataError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"}
"""Suffixes of frames, in any case; what else lies in a tracklet's folder is no frame."""


def require(root: Path, wanted: dict[str, str], source: str) -> None:
    """Raise DataError that names all of `wanted` (path below `root`: what it is) that is missing.

    `source` says where the missing things come from.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected {', '.join(wanted)} in it. {source}")
    missing = [f"{path} ({what})" for path, what in wanted.items() if not (root / path).exists()]
    if missing:
        raise DataError(f"{root} lacks {'; '.join(missing)}. {source}")


def read_matrix(path: Path, key: str) -> np.ndarray:
    """Read a table of whole numbers from a .mat file, as int64; DataError if it is none."""
    from scipy.io import loadmat

    try:
        matrix = loadmat(path, variable_names=[key])[key]
        with np.errstate(invalid="ignore"):  # NaN becomes a number, and is refused below
            whole = matrix.astype(np.int64)  # from uint16, where 0 - 1 would be 65,535
    except Exception as error:  # on damaged files loadmat raises nearly anything
        raise DataError(
            f"{path} holds no table {key!r} ({type(error).__name__}: {error}): copy it again"
        ) from error
    if whole.ndim != 2 or not np.array_equal(whole, matrix):
        raise DataError(f"{path}: {key} is not a table of whole numbers: copy it again")
    return whole


def list_folder(folder: Path) -> list[str]:
    """List the visible names of a folder in natural order: digits by value, the rest by letter.

    Raises DataError if it cannot be read, if a name is not Unicode, or if two names would be one
    file on a disk that ignores case or Unicode forms.
    """
    try:
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable() or "\\" in name:  # undecodable bytes are unprintable surrogates
            raise DataError(f"{folder} holds {name!r}, a name that other systems refuse: rename it")
        twin = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name:
            raise DataError(
                f"{folder} holds both {min(name, twin)!r} and {max(name, twin)!r}, which differ "
                "only in case or Unicode form and are one file on many disks: rename one"
            )
    return sorted(names, key=natural)


def list_frames(folder: Path) -> list[str]:
    """List the image files of a folder by their suffix, in natural order."""
    return [name for name in list_folder(folder) if Path(name).suffix.lower() in IMAGES]


def list_strays(folder: Path) -> list[str]:
    """List what lies in a folder of frames and is no image by its name, hidden files too."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name.startswith(".") or path.suffix.lower() not in IMAGES
    )


def skeleton(name: str) -> str:
    """Return a frame's name without suffix, every number in it written as #.

    The frames of one video or data set have the same; copies and previews have others, such as
    `# (#)` or `preview`.
    """
    return re.sub("[0-9]+", "#", unicodedata.normalize("NFC", Path(name).stem)).casefold()


def stray_note(strays: Sequence[str]) -> list[str]:
    """Count files that are no frames, such as `0003 (1).png` or Thumbs.db."""
    if not strays:
        return []
    return [f"stray files: {len(strays)} are no frames and left out ({shorten(strays, 3)})"]


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key in which 2 comes before 10; equal numbers ("2", "02") fall back on the letters."""
    name = unicodedata.normalize("NFC", name)
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def last_number(name: str) -> int | None:
    """Return the last number in a name: the person of `person012`, the frame of `0007.png`."""
    numbers = re.findall(r"[0-9]+", Path(name).stem)
    return int(numbers[-1]) if numbers else None


class Gathered:
    """Tracklets as a reader finds them, one `add` each; `build` makes the checked table."""

    def __init__(self, dataset: str, root: Path) -> None:
        self.dataset, self.root = dataset, root
        self.rows: list[tuple[str, int, int, int, int]] = []
        self.names: list[str] = []
        self.gaps: list[tuple[str, int]] = []
        self.strays: list[str] = []

    def add(
        self,
        split: str,
        pid: int,
        camid: int,
        *,
        folder: str,
        frames: Sequence[str],
        numbers: Sequence[int | None] | None = None,
    ) -> None:
        """Add the tracklet in `folder` (POSIX, below root) with its frame files, in time order.

        `numbers` are the frames' own, by default the last in each name. Raises DataError if there
        is no frame.
        """
        if not frames:
            raise DataError(
                f"{self.dataset}: the tracklet {self.root / folder} (person {pid}, camera {camid}) "
                "has no frames: unpack the data set again"
            )
        self.rows.append((split, pid, camid, len(self.names), len(frames)))
        self.names += [f"{folder}/{frame}" for frame in frames]
        numbers = [last_number(frame) for frame in frames] if numbers is None else numbers
        if None not in numbers and (skipped := numbers[-1] - numbers[0] + 1 - len(numbers)) > 0:
            self.gaps.append((folder, skipped))

    def build(self, notes: Iterable[str], **extra: object) -> Tracklets:
        """Make the table; gaps in the frame numbers and files that are no frames are notes."""
        notes = (*notes, *gap_note(self.gaps), *stray_note(self.strays))
        return make_tracklets(self.dataset, self.root, self.rows, self.names, notes=notes, **extra)


def gap_note(gaps: Sequence[tuple[str, int]]) -> list[str]:
    """Return which tracklets skip frame numbers: (tracklet, how many numbers)."""
    if not gaps:
        return []
    total, first = sum(count for _, count in gaps), shorten([name for name, _ in gaps], 3)
    return [f"gaps: {len(gaps)} tracklets skip {total} frame numbers ({first}); all files are used"]


def two_cameras(dataset: str, root: Path, cameras: tuple[str, str], split: Split) -> Gathered:
    """Gather one tracklet a person and camera: `root`/camera/person/frames.

    Camera 1 of a test person is a query, camera 2 gallery; training persons give both. The person
    id is the number in the folder's name. Images are frames if their names are those of most but
    for the digits.
    """
    gathered = Gathered(dataset, root)
    persons = [*split["train"], *split["test"]]
    folders = [f"{camera}/{person}" for camera in cameras for person in persons]
    images = {folder: list_frames(root / folder) for folder in folders}
    forms = Counter(skeleton(name) for names in images.values() for name in names)
    (form, _), *_ = forms.most_common(1) or [("", 0)]
    for side, labels in (("train", ("train", "train")), ("test", ("query", "gallery"))):
        for person in split[side]:
            for camid, (camera, label) in enumerate(zip(cameras, labels, strict=True), start=1):
                folder = f"{camera}/{person}"
                frames = [name for name in images[folder] if skeleton(name) == form]
                gathered.strays += sorted({*images[folder]} - {*frames})
                gathered.strays += list_strays(root / folder)
                gathered.add(label, last_number(person), camid, folder=folder, frames=frames)
    return gathered


def list_persons(folder: Path) -> list[str]:
    """List the folders named with a person's number, in plain string order.

    Raises DataError if two of them have the same number.
    """
    names = sorted(name for name in list_folder(folder) if re.fullmatch(r"person_?[0-9]+", name))
    pids = [last_number(name) for name in names]
    if len(set(pids)) < len(pids):
        twice = next(name for name, pid in zip(names, pids, strict=True) if pids.count(pid) > 1)
        raise DataError(f"{folder} has several folders for person {last_number(twice)}: rename one")
    return names
