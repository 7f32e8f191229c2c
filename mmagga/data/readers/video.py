"""What a tracker leaves: a video, or a folder of its frames, and a text file of boxes."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmagga.data.readers.folders import list_frames
from mmagga.errors import DataError

IGNORED, ZERO, REPEATED = "marked to be ignored", "of zero size", "repeated in a frame"


def read_tracks(path: Path) -> tuple[np.ndarray, Counter[str]]:
    """Read a MOTChallenge text file: (N, 6) frame, id, left, top, width, height, by frame and id.

    Also gives how many boxes were left out, by reason. Raises DataError if the file is no such
    list, or has no track ids, as the files of detections have none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = np.loadtxt(text.splitlines(), delimiter=",", ndmin=2) if text.strip() else None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no list of tracks: {error}") from error
    if rows is None or rows.shape[1] < 6:
        found = "is empty" if rows is None else f"has {rows.shape[1]} columns"
        raise DataError(f"{path} {found}; expected frame, id, left, top, width, height, …")
    boxes = rows[:, :6]
    whole = np.isfinite(boxes).all(axis=1) & (boxes[:, :2] % 1 == 0).all(axis=1)
    wrong = ~whole | (boxes[:, 0] < 1) | (boxes[:, 1] < 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: {wrong.sum()} boxes have no frame from 1, track id from 0, or finite box; "
            f"the first is number {row + 1}, {boxes[row].tolist()}. Are they tracks, or detections?"
        )
    left_out: Counter[str] = Counter()
    if rows.shape[1] > 6:
        left_out[IGNORED] = int((rows[:, 6] == 0).sum())
        boxes = boxes[rows[:, 6] != 0]
    _, first = np.unique(boxes[:, :2], axis=0, return_index=True)  # sorted by frame, then id
    left_out[REPEATED] = len(boxes) - len(first)
    boxes = boxes[first]
    empty = (boxes[:, 4:] <= 0).any(axis=1)
    left_out[ZERO] = int(empty.sum())
    return boxes[~empty], left_out


def read_video(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Give the frames `wanted` (ascending, from 1), each as number and (H, W, 3) uint8 BGR.

    Frames that the video lacks, or that cannot be decoded, are left out. Raises DataError if
    there is no such video.
    """
    import cv2

    if path.is_dir():
        files = _numbered_files(path)
        for number in wanted:
            if number in files:
                data = np.fromfile(files[number], np.uint8)  # imread fails on names in Unicode
                image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
                if image is not None:
                    yield number, image
        return
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            found = "cannot be opened as a video" if path.is_file() else "does not exist"
            raise DataError(f"{path} {found}; expected a video file or a folder of frames")
        reached = 0
        for number in wanted:
            while reached < number and video.grab():
                reached += 1
            if reached < number:
                return
            decoded, image = video.retrieve()
            if decoded:
                yield number, image
    finally:
        video.release()


def _numbered_files(folder: Path) -> dict[int, Path]:
    names = list_frames(folder)
    numbers = [int(stem) for name in names if re.fullmatch("[0-9]+", stem := Path(name).stem)]
    if len(set(numbers)) < len(names):
        numbers = list(range(1, len(names) + 1))
    return {number: folder / name for number, name in zip(numbers, names, strict=True)}
