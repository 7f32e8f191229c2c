"""A video, or a folder of its frames, and which of its pictures a tracker's frame number means."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mmagga.data.readers.folders import list_frames, list_strays, skeleton, stray_note
from mmagga.data.readers.splits import shorten
from mmagga.errors import DataError

Numbers = Literal["auto", "names", "order"]
"""How frame numbers find their pictures in a folder: by the numbers in the file names, by counting
the pictures in order, or by names where that cannot be a shift."""


class Places(NamedTuple):
    """Where the frames of a list of tracks are."""

    places: dict[int, Any]
    """Frame number, ascending: its picture, or its position in the video from 0. Frames that a
    folder lacks are not in it."""
    notes: list[str]
    """How the frame numbers were understood."""


def find_frames(
    path: Path, frames: Sequence[int], numbers: Numbers = "auto", first: int | None = None
) -> Places:
    """Find the pictures of `frames` in the video file or the folder of pictures `path`.

    `first` is the number of the first picture where pictures are counted: by default 1, or 0 where
    frame 0 occurs. Raises DataError if there is no such video, or if in a folder it is not certain
    which picture a number means.
    """
    frames = sorted({int(frame) for frame in frames})
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"{path} does not exist; expected a video file or a folder of frames")
        start = (0 if 0 in frames else 1) if first is None else first
        places: dict[int, Any] = {n: n - start for n in frames if n >= start}
        return Places(places, [f"frame {start} is the first picture of the video"])
    names, own = _series(path)
    strays = [*sorted({*list_frames(path)} - {*names}), *list_strays(path)]
    if own and numbers != "order":
        if numbers == "auto":
            _refuse_doubt(path, frames, own)
        how = f"pictures are found by the numbers in their names, {own[0]} to {own[-1]}"
        if numbers == "auto" and own[0] == 0 and 0 not in frames:
            how += (
                "; no box is in picture 0: if the tracker counted the pictures from 1, use "
                "--numbers order"
            )
    elif numbers == "names":
        raise DataError(f"{path}: the names of the pictures hold no numbers: rename them")
    else:
        start = (0 if 0 in frames else 1) if first is None else first
        own = list(range(start, start + len(names)))
        if numbers == "auto" and frames and frames[-1] > own[-1]:
            raise DataError(
                f"{path}: boxes are in frames {frames[0]} to {frames[-1]}, but the names of the "
                f"{len(names)} pictures are not numbered, and counted from {start} they end at "
                f"{own[-1]}: rename them, or use --numbers order"
            )
        how = f"pictures are counted from {start} in the order of their names"
    pictures = {number: path / name for number, name in zip(own, names, strict=True)}
    found: dict[int, Any] = {n: pictures[n] for n in frames if n in pictures}
    return Places(found, [how, *stray_note(strays)])


def read_frames(path: Path, places: Mapping[int, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Read the frames that `find_frames` found: number and (H, W, 3) uint8 BGR, one at a time.

    Frames that the video lacks, or that cannot be decoded, are left out. Raises DataError for a
    file that is no video.
    """
    import cv2

    if path.is_dir():
        for number, place in places.items():
            data = np.fromfile(place, np.uint8)  # imread fails on names in Unicode
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
            if image is not None:
                yield number, image
        return
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise DataError(
                f"{path} cannot be opened as a video; expected a video file or a folder of frames"
            )
        reached = -1
        for number, place in places.items():
            while reached < place and video.grab():
                reached += 1
            if reached < place:
                return
            decoded, image = video.retrieve()
            if decoded:
                yield number, image
    finally:
        video.release()


def _series(folder: Path) -> tuple[list[str], list[int]]:
    """Return the pictures of the video and their numbers, ascending; none if no name has digits.

    Names that differ in more than their digits are no part of the video, such as `0007 (1).png` or
    `cover.png`. Of several numbers in a name the last one that varies counts.
    """
    names = list_frames(folder)
    if not names:
        raise DataError(f"{folder} holds no pictures; expected the frames of a video")
    numbered = Counter(form for form in map(skeleton, names) if "#" in form)
    if not numbered:
        return names, []
    (form, most), *others = numbered.most_common()
    rivals = [other for other, count in others if count == most > 1]
    if rivals:
        raise DataError(
            f"{folder} holds several series of {most} pictures, {shorten([form, *rivals])}: which "
            "is the video? Move the others to another folder"
        )
    chosen = [name for name in names if skeleton(name) == form]
    digits = np.array([re.findall("[0-9]+", Path(name).stem) for name in chosen])
    varying = [column for column in digits.T if len(set(column)) > 1] or [digits[:, -1]]
    found: dict[int, str] = {}
    for name, number in zip(chosen, map(int, varying[-1]), strict=True):
        if number in found:
            raise DataError(
                f"{folder}: {found[number]} and {name} are both numbered {number}: keep one"
            )
        found[number] = name
    own = sorted(found)
    return [found[number] for number in own], own


def _refuse_doubt(folder: Path, frames: Sequence[int], numbers: Sequence[int]) -> None:
    """Raise DataError where boxes may be numbered otherwise than the pictures they belong to."""
    boxes, pictures = set(frames), set(numbers)
    if boxes <= pictures:
        return
    counted_from = [start for start in (0, 1) if boxes <= set(range(start, start + len(pictures)))]
    shifted = [step for step in (-1, 1) if {frame + step for frame in boxes} <= pictures]
    if not counted_from and not shifted and boxes & pictures:
        return
    lacking = len(boxes - pictures)
    start = counted_from[-1] if counted_from else numbers[0] - shifted[0] if shifted else None
    advice = (
        ""
        if start is None
        else f" If the tracker counted the pictures from {start} in the order of their names, use "
        f"--numbers order --first-frame {start}."
    )
    raise DataError(
        f"{folder}: boxes are in frames {frames[0]} to {frames[-1]}, the pictures are numbered "
        f"{numbers[0]} to {numbers[-1]}, and {lacking} frames have no picture of their number: the "
        f"numbers may be shifted.{advice} If they are those in the file names, use --numbers names"
    )
