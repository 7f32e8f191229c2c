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
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.data.files.decoding import SMALLEST
from mmagga.data.readers.folders import Gathered, list_frames, require
from mmagga.data.readers.splits import only_split, shorten
from mmagga.data.readers.video import read_tracks, read_video
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError, MmaggaError, ResourceError
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
    all are queries and, since `queries_in_gallery` is set, gallery as well. There is no training
    split. Persons are those of tracklets.csv. A track without one counts as a person of its own,
    numbered above the known: it can be ranked, but as a query it has no match to score, and as an
    answer it is a wrong one.

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
        gathered.add(split_name, pid, row.camera, folder, list_frames(root / folder))
    notes = (root / "notes.txt").read_text(encoding="utf-8").splitlines()
    notes.append(_identity_note(table["pid"].notna()))
    return gathered.build(notes, queries_in_gallery=len(cameras) == 1)


def crop_video(
    cameras: Sequence[tuple[str | Path, str | Path]],
    folder: str | Path,
    *,
    identities: str | Path | None = None,
    max_gap: int = 25,
    progress: bool = True,
) -> Tracklets:
    """Cut tracked people out of video into the new folder `folder`, and read it.

    `cameras` holds (video, tracks) for camera 1, 2, …. A video is a file, or a folder of frames
    whose file names are the frame numbers; where they are not all plain numbers, frames count from
    1 in natural order. Tracks are lines in MOTChallenge's form, `frame, id, left, top, width,
    height[, confidence, …]`, frames from 1, pixels; confidence 0 marks a box to be ignored.
    `identities` is a CSV file with the columns camera, track, pid. A track is cut in pieces where
    it is absent for more than `max_gap` frames. Boxes are clipped to the picture; those left out
    are counted in the notes.

    One frame is in memory at a time. An interrupted call leaves no `folder` behind. Raises
    DataError for files that cannot be read, or when nothing is left to crop.
    """
    folder = Path(folder)
    _refuse_target(folder, [Path(video) for video, _ in cameras])
    partial = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        rows, notes = [], []
        for camera, (video, tracks) in enumerate(cameras, start=1):
            found, note = _crop_camera(
                camera, Path(video), Path(tracks), partial / "crops", max_gap, progress
            )
            rows += found
            notes.append(note)
        if not rows:
            raise DataError(f"there is nothing to crop: {'; '.join(notes)}")
        table = pd.DataFrame(rows, columns=_TABLE[:3]).sort_values(_TABLE[:3])
        table, unused = _identify(table, identities)
        table.to_csv(partial / "tracklets.csv", index=False)
        text = "".join(f"{note}\n" for note in [*notes, *unused])
        (partial / "notes.txt").write_text(text, encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ResourceError(f"the disk of {folder} is full: choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_mot(folder)


# --- cropping -----------------------------------------------------------------------------------


def _crop_camera(
    camera: int, video: Path, tracks: Path, crops: Path, max_gap: int, progress: bool
) -> tuple[list[tuple[int, int, int]], str]:
    """Write one camera's crops; give (camera, track, piece) of each tracklet, and a note."""
    boxes, counts = read_tracks(tracks)
    total, clipped, pieces = len(boxes) + counts.total(), 0, _Pieces(max_gap)
    numbers, starts = np.unique(boxes[:, 0].astype(np.int64), return_index=True)
    groups = dict(zip(numbers.tolist(), np.split(boxes[:, 1:], starts[1:]), strict=True))
    counts[LACKING] = len(boxes)
    with progress_bar(enabled=progress, total=len(groups), unit="frame", desc="crop") as bar:
        for number, image in read_video(video, list(groups)):
            for track, *box in groups[number].tolist():
                counts[LACKING] -= 1
                crop, fate = _cut(image, box)
                if crop is None:
                    counts[fate] += 1
                    continue
                clipped += fate == "clipped"
                piece = pieces.at(int(track), number)
                _write(crops / _folder_name(camera, int(track), piece) / f"{number:06d}.png", crop)
            bar.update()
    left_out = ", ".join(f"{count:,} {why}" for why, count in counts.items() if count) or "none"
    kept = total - counts.total()
    note = f"camera {camera}: {kept:,} of {total:,} boxes cropped, {clipped:,} of them clipped"
    return [(camera, *row) for row in pieces.rows], f"{note}; left out: {left_out}"


class _Pieces:
    """Cuts tracks at their gaps, frame by frame."""

    def __init__(self, max_gap: int) -> None:
        self.max_gap = max_gap
        self.rows: list[tuple[int, int]] = []  # (track, piece)
        self._last: dict[int, tuple[int, int]] = {}  # track: (piece, frame)

    def at(self, track: int, frame: int) -> int:
        """Give the piece of `track` that `frame`, later than all before it, belongs to."""
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


def _identify(table: pd.DataFrame, identities: str | Path | None) -> tuple[pd.DataFrame, list[str]]:
    """Add the column pid, empty where unknown; note identities of tracks that there are not."""
    if identities is None:
        return table.assign(pid=pd.array([pd.NA] * len(table), dtype="Int64")), []
    known = _read_table(Path(identities), ["camera", "track", "pid"])
    tracks, named = (
        set(zip(*(t[c].tolist() for c in ("camera", "track")))) for t in (table, known)
    )
    unused = sorted(named - tracks)
    notes = [f"identities: {len(unused)} are of (camera, track) without a crop: {shorten(unused)}"]
    return table.merge(known, how="left", on=["camera", "track"]), notes if unused else []


def _persons(table: pd.DataFrame) -> pd.Series:
    """Give each tracklet its person: a track without one is a person, numbered above the known."""
    known = table["pid"].dropna()
    unknown = table[table["pid"].isna()].groupby(["camera", "track"]).ngroup()
    return table["pid"].fillna(unknown + 1 + (known.max() if len(known) else 0))


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read whole numbers in `columns`; only pid may be empty. Sorted, each track or piece once."""
    try:
        table = pd.read_csv(path, usecols=columns, dtype="Int64")[columns]
    except (OSError, TypeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} is no table of {', '.join(columns)}: {error}") from error
    keys = [column for column in columns if column != "pid"]
    lowest = pd.Series({"camera": 1, "track": 0, "piece": 0, "pid": 1})[columns]
    if table[keys].isna().any(axis=None) or (table < lowest).any(axis=None):
        raise DataError(
            f"{path}: camera and pid count from 1, track and piece from 0; none may lack"
        )
    if table.duplicated(keys).any():
        twice = table[table.duplicated(keys)].iloc[0]
        raise DataError(f"{path} has two rows for {twice[keys].to_dict()}: keep one")
    return table.sort_values(keys, ignore_index=True)


def _identity_note(known: pd.Series) -> str:
    if known.all():
        return f"identities: known for all {len(known)} tracklets"
    if not known.any():
        return "identities: unknown; each track is a person of its own, and ranking has no scores"
    return (
        f"identities: known for {known.sum()} of {len(known)} tracklets; each other track is a "
        "person of its own, matches nobody, and counts as a wrong answer"
    )
