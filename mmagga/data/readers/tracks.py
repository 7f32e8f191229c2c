"""Lists of tracked boxes: MOTChallenge's form and what common trackers make of it."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmagga.data.readers.splits import shorten
from mmagga.data.readers.text import Line, read_lines, to_number
from mmagga.errors import DataError

IGNORED, ZERO, REPEATED = "marked to be ignored", "of zero size", "repeated in a frame"
PERSONS = ("person", "pedestrian", "people", "human", "man", "woman", "child")
"""Names of classes that are kept by default."""
EVERY_CLASS = "all"

_REQUIRED = ("frame", "id", "left", "top", "width", "height")
_EXPECTED = "frame, id, left, top, width, height"
_COLUMNS = {name: column for column, name in enumerate((*_REQUIRED, "confidence", "class"))}
_MOST_COLUMNS = 10
_LARGEST = 10**9
_UNKNOWN = ("", "nan", "none", "null")
_ALIASES = {
    "frame": "frame frameid frameno framenumber framenr frameindex frameidx imageid image",
    "id": "id trackid track trackerid objectid objid targetid identity personid tid",
    "left": "bbleft bboxleft boxleft left xmin x1 xtl bboxx bbx bbx1 x",
    "top": "bbtop bboxtop boxtop top ymin y1 ytl bboxy bby bby1 y",
    "width": "bbwidth bboxwidth boxwidth width bboxw bbw w",
    "height": "bbheight bboxheight boxheight height bboxh bbh h",
    "right": "bbright bboxright boxright right xmax x2 xbr bbx2",
    "bottom": "bbbottom bboxbottom boxbottom bottom ymax y2 ybr bby2",
    "confidence": "confidence conf score detconf flag considered notignored",
    "class": "class classid classname cls category categoryid type label objectclass objecttype",
}
"""What headers call a column, letters and digits only, the surest name first."""


class Tracks(NamedTuple):
    """The boxes of one camera."""

    boxes: np.ndarray
    """(N, 6) float64 frame, id, left, top, width, height, by frame and id; pixels."""
    left_out: Counter[str]
    """How many boxes were left out, by reason."""
    notes: list[str]
    """How columns were understood where that is not certain."""


def read_tracks(path: Path, classes: Sequence[str] = ()) -> Tracks:
    """Read a list of tracks: one box per line, `frame, id, left, top, width, height[, …]`.

    The seventh column is the confidence, 0 for a box to be ignored (where it is 0 everywhere it
    says nothing), the eighth the class where it holds names or whole numbers; -1 is unknown. A
    header may name the columns in any order, and right and bottom instead of width and height.
    `classes` are the names or numbers to keep, "all" for all; by default persons: `PERSONS`, and
    the number 0 where it occurs (COCO's person), else 1 (MOTChallenge's pedestrian). See
    `read_lines` for separators and packed files.

    Raises DataError, naming the line, for anything else.
    """
    lines = read_lines(path)
    if not lines:
        raise DataError(f"{path} is empty; expected lines of {_EXPECTED}")
    columns, body = _columns(path, lines)
    if not body:
        raise DataError(f"{path} has a header and no boxes; expected lines of {_EXPECTED}")
    boxes = np.array([_box(path, line, columns) for line in body])
    confidence = np.array([_confidence(path, line, columns) for line in body])
    if boxes[:, 2:].max() <= 1.5:
        raise DataError(
            f"{path}: no box is larger than 1.5 pixels, as if they were fractions of the picture; "
            "expected pixels: multiply by its width and height"
        )
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    labels = _labels(body, columns)
    kept = _of_classes(path, labels, classes=classes, left_out=left_out, notes=notes)
    boxes, confidence = boxes[kept], confidence[kept]
    if (confidence == 0).any() and not (confidence > 0).any():
        notes.append("confidence: 0 for every box, taken as unknown")
    else:
        left_out[IGNORED] = int((confidence == 0).sum())
        boxes = boxes[confidence != 0]
    _, first = np.unique(boxes[:, :2], axis=0, return_index=True)  # sorted by frame, then id
    left_out[REPEATED] = len(boxes) - len(first)
    boxes = boxes[first]
    empty = (boxes[:, 4:] <= 0).any(axis=1)
    left_out[ZERO] = int(empty.sum())
    return Tracks(boxes[~empty], left_out, notes)


# --- columns ------------------------------------------------------------------------------------


def _columns(path: Path, lines: list[Line]) -> tuple[dict[str, int], list[Line]]:
    """Return which column holds what, and the lines of boxes."""
    first = lines[0]
    if to_number(first.fields[0] if first.fields else "") is not None:
        wide = next((line for line in lines if len(line.fields) > _MOST_COLUMNS), None)
        if wide:
            raise DataError(
                f"{path}, line {wide.number} has {len(wide.fields)} fields, expected 6 to "
                f"{_MOST_COLUMNS}: {_EXPECTED}, … If these are decimal commas, separate the "
                "fields by semicolons; if there are other columns, name them in a header line"
            )
        return _COLUMNS, lines
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in first.fields]
    columns = {}
    for role, aliases in _ALIASES.items():
        found = next((alias for alias in aliases.split() if alias in names), None)
        if found is not None:
            columns[role] = names.index(found)
    missing = [name for name in _REQUIRED if name not in columns]
    ends = {"width": "right", "height": "bottom"}
    missing = [name for name in missing if ends.get(name) not in columns]
    if missing:
        raise DataError(
            f"{path}, line {first.number} is not a box and, as a header, names no column "
            f"{', '.join(missing)}; expected lines of {_EXPECTED}, or a header with these names, "
            f"found {shorten(first.fields, 12)}"
        )
    return columns, lines[1:]


def _field(line: Line, columns: dict[str, int], role: str) -> str:
    column = columns.get(role, len(line.fields))
    return line.fields[column] if column < len(line.fields) else ""


def _number(path: Path, line: Line, columns: dict[str, int], role: str) -> float:
    found = _field(line, columns, role)
    value = to_number(found)
    if value is None:
        many = "" if found else f"; it has {len(line.fields)} fields"
        raise DataError(
            f"{path}, line {line.number}: expected a number as {role}, found {found!r}{many}. "
            f"Lines are {_EXPECTED}, separated by commas, semicolons, tabs or blanks"
        )
    if not abs(value) <= _LARGEST:
        raise DataError(f"{path}, line {line.number}: {role} {value:g} is too large")
    return value


def _box(path: Path, line: Line, columns: dict[str, int]) -> list[float]:
    """Read frame, id, left, top, width and height of one line."""
    roles = [
        end if role not in columns else role
        for role, end in zip(_REQUIRED, (*_REQUIRED[:4], "right", "bottom"), strict=True)
    ]
    values = [_number(path, line, columns, role) for role in roles]
    frame, track, left, top, width, height = values
    if frame % 1 or frame < 0:
        raise DataError(
            f"{path}, line {line.number}: expected a whole frame number from 0, found {frame:g}"
        )
    if track % 1 or track < 0:
        raise DataError(
            f"{path}, line {line.number}: expected a whole track id from 0, found {track:g}. Are "
            "these tracks, or detections?"
        )
    if "width" not in columns:
        width -= left
    if "height" not in columns:
        height -= top
    return [frame, track, left, top, width, height]


def _confidence(path: Path, line: Line, columns: dict[str, int]) -> float:
    """Read the confidence; NaN where it is not given."""
    field = _field(line, columns, "confidence")
    if field.lower() in _UNKNOWN:
        return np.nan
    value = to_number(field)
    if value is None:
        raise DataError(
            f"{path}, line {line.number}: expected a number as confidence, found {field!r}"
        )
    return value


# --- classes ------------------------------------------------------------------------------------


def _labels(body: list[Line], columns: dict[str, int]) -> list[str]:
    """Return the class of each box as a word or whole number, "" where it is not known.

    Without a header the eighth column may be the x of MOTChallenge's three world coordinates:
    fractions are no classes.
    """
    fields = [_field(line, columns, "class") for line in body]
    values = [to_number(field) for field in fields]
    if any(value is not None and (value % 1 or value < -1) for value in values):
        return [""] * len(body)
    return [
        _label(field) if value is None else "" if value == -1 else f"{value:.0f}"
        for field, value in zip(fields, values, strict=True)
    ]


def _label(word: str) -> str:
    return "" if word.lower() in _UNKNOWN else word.casefold()


def _of_classes(
    path: Path,
    labels: list[str],
    *,
    classes: Sequence[str],
    left_out: Counter[str],
    notes: list[str],
) -> np.ndarray:
    """(N,) bool: boxes of the wanted classes and those of unknown class; count the others."""
    counts = Counter(label for label in labels if label)
    if classes:
        wanted = {str(name).strip().casefold() for name in classes}
    else:
        wanted = {*PERSONS, "0" if "0" in counts else "1"}
    if EVERY_CLASS in wanted:
        wanted = set(counts)
    others = {label: count for label, count in sorted(counts.items()) if label not in wanted}
    for label, count in others.items():
        left_out[f"of class {label}"] = count
    kept = np.array([not label or label in wanted for label in labels])
    known = [f"{label} ({count:,} boxes)" for label, count in sorted(counts.items())]
    if not kept.any():
        raise DataError(
            f"{path}: no box is of class {shorten(sorted(wanted), 9)}; the classes are "
            f"{shorten(known, 9)}: choose some of them with --classes"
        )
    if len(counts) > 1:
        taken = [label for label in sorted(counts) if label in wanted]
        why = "" if classes else ", taken as persons; --classes chooses others"
        notes.append(f"classes: {shorten(taken, 9) or 'unknown ones only'} kept{why}")
    return kept
