"""Names of frames: which of a data set's are used, and how they are written into one file."""

import re

import numpy as np

from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError


def positions(tracklets: Tracklets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each frame of each tracklet, its number in `names`, its row and its position."""
    first, length = tracklets.table["first"].to_numpy(), tracklets.lengths
    row = np.repeat(np.arange(len(length)), length)
    position = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    return first[row] + position, row, position


def used_frames(tracklets: Tracklets) -> np.ndarray:
    """Return the positions in `names` of the frames that belong to a tracklet, ascending."""
    return np.unique(positions(tracklets)[0])


def join_names(names: np.ndarray) -> bytes:
    """Turn names into bytes; undecodable file names survive, no name holds the separator NUL."""
    return "\0".join(names.tolist()).encode("utf-8", "surrogateescape")


def split_names(joined: bytes | np.ndarray) -> np.ndarray:
    """Undo `join_names`."""
    return np.array(bytes(joined).decode("utf-8", "surrogateescape").split("\0"))


def refuse_escapes(names: np.ndarray) -> None:
    """Raise DataError for a name that leaves the folder it is looked for in."""
    escape = next(filter(_escapes, names.tolist()), None)
    if escape is not None:
        raise DataError(f"the frame name {escape!r} leaves the data set's folder: refused")


def _escapes(name: str) -> bool:
    """Return whether a name is empty, absolute, on a drive, through a parent, or cut by C."""
    absolute = name[:1] in ("", "/", "\\") or name[1:2] == ":"
    return absolute or "\0" in name or (".." in name and ".." in re.split(r"[/\\]", name))
