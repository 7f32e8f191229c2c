"""Your own video: boxes that a tracker found become crops in a folder, and the folder tracklets.

`crop_video` needs a video (a file, or a folder of its frames) and a text file of tracks for each
camera, and writes a new folder, which `load_tracklets("mot", folder)` reads:

    tracklets.csv              camera, track, piece, pid; an empty pid is an unknown person
    notes.txt                  what was left out, and why
    crops/c1_t7_0/000123.png   camera 1, track 7, its piece 0, frame 123

Who is who can be filled in later: in tracklets.csv, by hand.
"""

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmagga.data.files.decoding import SMALLEST
from mmagga.data.readers.folders import Gathered, list_frames, list_strays, require
from mmagga.data.readers.splits import only_split, shorten
from mmagga.data.readers.text import Line, read_lines, to_number
from mmagga.data.readers.tracks import Tracks, read_tracks
from mmagga.data.readers.video import Numbers, Places, find_frames, read_frames
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError, MmaggaError, ResourceError, SettingError
from mmagga.system.progress import progress as progress_bar

_TABLE = ["camera", "track", "piece", "pid"]
_FILES = {
    "tracklets.csv": "the list of tracklets",
    "notes.txt": "what was left out",
    "crops": "the tracklets' frames",
}
_SOURCE = "Make such a folder from video and tracks with mmagga.data.readers.own_video.crop_video"

OUTSIDE, SMALL = "outside the picture", f"under {SMALLEST} pixels a side"
LACKING = "in frames that the video lacks or that cannot be decoded"


def load_mot(root: Path, split: int = 0) -> Tracklets:
    """Read a folder that `crop_video` made.

    The tracklets of the first camera are queries, those of the others gallery; of a single camera
    all are queries, each searched among all others (`Tracklets.one_camera`). There is no training
    split. Persons are those of tracklets.csv. A tracklet without one counts as a person of its
    own, numbered above the known: it can be ranked, but as a query it has no match to score, and
    as an answer it is a wrong one.

    Raises DataError if something is missing or does not fit together. Opens no frame.
    """
    only_split("mot", split)
    root = Path(root)
    require(root, _FILES, _SOURCE)
    table = _read_table(root / "tracklets.csv", _TABLE)
    cameras = sorted(table["camera"].unique())
    gathered = Gathered("mot", root)
    for row, pid in zip(table.itertuples(), _persons(table), strict=True):
        split_name = "query" if row.camera == cameras[0] else "gallery"
        folder = f"crops/{_folder_name(row.camera, row.track, row.piece)}"
        images = list_frames(root / folder)
        frames = [name for name in images if re.fullmatch(r"[0-9]{6,}\.png", name)]
        gathered.strays += sorted({*images} - {*frames}) + list_strays(root / folder)
        gathered.add(split_name, pid, row.camera, folder=folder, frames=frames)
    notes = (root / "notes.txt").read_text(encoding="utf-8").splitlines()
    if len(cameras) == 1:
        notes.append(
            "one camera: each tracklet is searched among all others of the same camera; only the "
            "tracklet itself is excluded"
        )
    notes.append(_identity_note(table["pid"].notna()))
    one, largest = len(cameras) == 1, table["pid"].max()
    unnamed_from = 1 if pd.isna(largest) else int(largest) + 1
    return gathered.build(notes, queries_in_gallery=one, one_camera=one, unnamed_from=unnamed_from)


def crop_video(
    cameras: Sequence[tuple[str | Path, str | Path]],
    folder: str | Path,
    *,
    identities: str | Path | None = None,
    max_gap: int = 25,
    classes: Sequence[str] = (),
    numbers: Numbers = "auto",
    first_frame: int | None = None,
    progress: bool = True,
) -> Tracklets:
    """Cut tracked people out of video into the new folder `folder`, and read it.

    `cameras` holds (video, tracks) for camera 1, 2, …. A video is a file or a folder of pictures;
    `numbers` and `first_frame` say which picture a frame number means, see `find_frames`. Tracks
    are lines in MOTChallenge's form, `frame, id, left, top, width, height[, confidence[, class]]`,
    in pixels; see `read_tracks`, also for `classes`. `identities` is a CSV file with the columns
    camera, track, pid, and piece where pieces of one track are different persons. A track is cut in
    pieces where it is absent for more than `max_gap` frames: trackers use an id again. Boxes are
    clipped to the picture; those left out are counted in the notes.

    All files but the videos are read before the first crop, and one frame is in memory at a time.
    A call that fails or is interrupted leaves no `folder` behind. Raises DataError for files that
    cannot be read or do not fit together, or when nothing is left to crop.
    """
    folder = Path(folder).expanduser()
    pairs = [(Path(video).expanduser(), Path(tracks).expanduser()) for video, tracks in cameras]
    _refuse_target(folder, [video for video, _ in pairs])
    if max_gap < 0:
        raise SettingError(f"max_gap: at least 0, not {max_gap}")
    known = None if identities is None else _read_identities(Path(identities).expanduser())
    found = [
        _Camera.read(
            number, video, tracks=tracks, classes=classes, numbers=numbers, first=first_frame
        )
        for number, (video, tracks) in enumerate(pairs, start=1)
    ]
    partial = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        rows, notes = [], []
        for camera in found:
            pieces, said = _crop_camera(camera, partial / "crops", max_gap, progress)
            rows += pieces
            notes += said
        if not rows:
            raise DataError(f"there is nothing to crop: {'; '.join(notes)}")
        table = pd.DataFrame(rows, columns=_TABLE[:3]).sort_values(_TABLE[:3])
        table, unused = _identify(table, known)
        table.to_csv(partial / "tracklets.csv", index=False)
        text = "".join(f"{note}\n" for note in [*notes, *unused])
        (partial / "notes.txt").write_text(text, encoding="utf-8")
        load_mot(partial)  # what cannot be read must not be left behind
        partial.rename(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ResourceError(f"the disk of {folder} is full: choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_mot(folder)


# --- cropping -----------------------------------------------------------------------------------


class _Camera(NamedTuple):
    """One camera's boxes and where their pictures are."""

    number: int
    video: Path
    tracks: Tracks
    places: Places

    @classmethod
    def read(
        cls,
        number: int,
        video: Path,
        *,
        tracks: Path,
        classes: Sequence[str],
        numbers: Numbers,
        first: int | None,
    ) -> "_Camera":
        found = read_tracks(tracks, classes)
        frames = np.unique(found.boxes[:, 0].astype(np.int64)).tolist()
        return cls(number, video, found, find_frames(video, frames, numbers, first))


def _crop_camera(
    camera: _Camera, crops: Path, max_gap: int, progress: bool
) -> tuple[list[tuple[int, int, int]], list[str]]:
    """Write one camera's crops; return (camera, track, piece) of each tracklet, and notes."""
    boxes, counts = camera.tracks.boxes, camera.tracks.left_out.copy()
    total, clipped, pieces = len(boxes) + counts.total(), 0, _Pieces(max_gap)
    numbers, starts = np.unique(boxes[:, 0].astype(np.int64), return_index=True)
    parts = np.split(boxes[:, 1:], starts[1:]) if len(boxes) else []
    groups = dict(zip(numbers.tolist(), parts, strict=True))
    counts[LACKING] = len(boxes)
    places = camera.places.places
    with progress_bar(enabled=progress, total=len(places), unit="frame", desc="crop") as bar:
        for number, image in read_frames(camera.video, places):
            for track, *box in groups[number].tolist():
                counts[LACKING] -= 1
                crop, fate = _cut(image, box)
                if crop is None:
                    counts[fate] += 1
                    continue
                clipped += fate == "clipped"
                piece = pieces.at(int(track), number)
                name = _folder_name(camera.number, int(track), piece)
                _write(crops / name / f"{number:06d}.png", crop)
            bar.update()
    left_out = ", ".join(f"{count:,} {why}" for why, count in counts.items() if count) or "none"
    kept = total - counts.total()
    notes = [
        f"{kept:,} of {total:,} boxes cropped, {clipped:,} of them clipped; left out: {left_out}"
    ]
    notes += [*camera.places.notes, *camera.tracks.notes, *pieces.notes()]
    if kept and clipped > kept / 2:
        notes.append(
            "most boxes reach beyond the picture: are the fifth and sixth column width and height?"
        )
    where = f"camera {camera.number}"
    return [(camera.number, *row) for row in pieces.rows], [f"{where}: {note}" for note in notes]


class _Pieces:
    """Cuts tracks at their gaps, frame by frame."""

    def __init__(self, max_gap: int) -> None:
        self.max_gap = max_gap
        self.rows: list[tuple[int, int]] = []  # (track, piece)
        self._last: dict[int, tuple[int, int]] = {}  # track: (piece, frame)

    def notes(self) -> list[str]:
        """Name the tracks that were cut."""
        cut = sorted({track for track, piece in self.rows if piece})
        if not cut:
            return []
        return [
            f"{len(cut)} tracks are absent for more than {self.max_gap} frames and cut in pieces "
            f"there ({shorten(cut)}): each piece without a name is a person of its own"
        ]

    def at(self, track: int, frame: int) -> int:
        """Return the piece of `track` that `frame`, later than all before it, belongs to."""
        piece, before = self._last.get(track, (-1, None))
        if before is None or frame - before - 1 > self.max_gap:
            piece += 1
            self.rows.append((track, piece))
        self._last[track] = piece, frame
        return piece


def _cut(image: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray | None, str]:
    """Cut a box (left, top, width, height) out; without a crop, the reason."""
    height, width = image.shape[:2]
    left, top = box[0], box[1]
    right, bottom = left + box[2], top + box[3]
    inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    x0, y0, x1, y1 = map(round, inside)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, OUTSIDE
    if min(x1 - x0, y1 - y0) < SMALLEST:
        return None, SMALL
    return image[y0:y1, x0:x1], "clipped" if inside != (left, top, right, bottom) else "whole"


def _write(path: Path, image: np.ndarray) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())  # imwrite fails on Unicode names


def _refuse_target(folder: Path, videos: Sequence[Path]) -> None:
    if not videos:
        raise MmaggaError("crop_video needs at least one camera: (video, tracks)")
    if folder.exists():
        raise MmaggaError(f"{folder} exists: delete it or choose another folder for the crops")
    for video in videos:
        if folder.resolve().is_relative_to(video.resolve()):
            raise MmaggaError(f"{folder} lies inside the video {video}: choose a folder elsewhere")


# --- tables -------------------------------------------------------------------------------------


def _folder_name(camera: int, track: int, piece: int) -> str:
    return f"c{camera}_t{track}_{piece}"


def _identify(table: pd.DataFrame, known: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Add the column pid, empty where unknown; note identities of tracks that there are not.

    A row of `known` without a piece names all pieces of its track.
    """
    if known is None:
        return table.assign(pid=pd.array([pd.NA] * len(table), dtype="Int64")), []
    whole = known[known["piece"].isna()].set_index(["camera", "track"])["pid"]
    parts = known[known["piece"].notna()].set_index(["camera", "track", "piece"])["pid"]
    keys = list(table.itertuples(index=False, name=None))
    pids = [parts.get(key, whole.get(key[:2], pd.NA)) for key in keys]
    cropped = {*keys, *(key[:2] for key in keys)}
    unused = sorted(key for key in (*whole.index, *parts.index) if tuple(key) not in cropped)
    names = [tuple(int(number) for number in key) for key in unused]
    notes = [f"identities: {len(names)} are of (camera, track) without a crop: {shorten(names)}"]
    return table.assign(pid=pd.array(pids, dtype="Int64")), notes if names else []


def _persons(table: pd.DataFrame) -> pd.Series:
    """Return each tracklet's person: one without a name is a person, numbered above the known."""
    known = table["pid"].dropna()
    unknown = table["pid"].isna().cumsum()
    return table["pid"].fillna(unknown + (known.max() if len(known) else 0))


def _read_identities(path: Path) -> pd.DataFrame:
    return _read_table(path, ["camera", "track", "pid"], optional="piece")


def _read_table(path: Path, columns: list[str], optional: str | None = None) -> pd.DataFrame:
    """Read whole numbers in `columns`; only pid and an `optional` column may be empty.

    Sorted, each track or piece once. See `read_lines` for separators and byte order marks.
    """
    lines = read_lines(path)
    header = [name.strip().casefold() for name in lines[0].fields] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        found = (
            f"line {lines[0].number} is {shorten(lines[0].fields, 8)}" if lines else "it is empty"
        )
        raise DataError(
            f"{path} is not a table of {', '.join(columns)}: a header line with these names is "
            f"expected, but {found}"
        )
    may_lack = {"pid", optional}
    columns = [*columns, optional] if optional else columns
    places = {name: header.index(name) for name in columns if name in header}
    rows, seen = [], dict[tuple, int]()
    for line in lines[1:]:
        row = {
            name: _whole(path, line, places.get(name), name=name, may_lack=name in may_lack)
            for name in columns
        }
        key = tuple(value for name, value in row.items() if name != "pid")
        if key in seen:
            raise DataError(
                f"{path} has two rows for {_key_words(row)}, lines {seen[key]} and {line.number}: "
                "keep one"
            )
        seen[key] = line.number
        rows.append(row)
    table = pd.DataFrame(rows, columns=columns, dtype="Int64")
    return table.sort_values([name for name in columns if name != "pid"], ignore_index=True)


_LOWEST = {"camera": 1, "track": 0, "piece": 0, "pid": 1}


def _whole(path: Path, line: Line, place: int | None, *, name: str, may_lack: bool) -> int | None:
    field = line.fields[place] if place is not None and place < len(line.fields) else ""
    if not field and may_lack:
        return None
    value = to_number(field)
    if value is None or value % 1 or not _LOWEST[name] <= value < 10**15:
        raise DataError(
            f"{path}, line {line.number}: expected a whole number from {_LOWEST[name]} as {name}, "
            f"found {field!r}"
        )
    return int(value)


def _key_words(row: dict[str, int | None]) -> str:
    return ", ".join(f"{k} {v}" for k, v in row.items() if k != "pid" and v is not None)


def _identity_note(known: pd.Series) -> str:
    if known.all():
        return f"identities: known for all {len(known)} tracklets"
    if not known.any():
        return "identities: unknown; each track is a person of its own, and ranking has no scores"
    return (
        f"identities: known for {known.sum()} of {len(known)} tracklets; each other track is a "
        "person of its own, matches nobody, and counts as a wrong answer"
    )
