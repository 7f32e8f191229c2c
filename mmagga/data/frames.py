"""The frames of `Tracklets` at one size, from their files or from a pack: the same pixels."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmagga.data.files.decoding import decode
from mmagga.data.files.packed import PackedFrames
from mmagga.data.tracklets import Tracklets


class FileFrames:
    """Frame number i of `Tracklets.names`, decoded from its file."""

    def __init__(self, tracklets: Tracklets, size: tuple[int, int]) -> None:
        self.root, self.names, self.size = str(tracklets.root), tracklets.names, size

    def frame(self, number: int) -> np.ndarray:
        """Return the pixels of one frame, (H, W, 3) uint8."""
        return decode(os.path.join(self.root, self.names[number]), self.size)


class Frames:
    """The frames of `Tracklets`, by tracklet and position, from one of the two sources.

    Pickles to a few arrays; what must be opened is opened by each process when it first reads.
    """

    def __init__(self, tracklets: Tracklets, source: FileFrames | PackedFrames) -> None:
        self.source, self.size = source, source.size
        self.firsts = tracklets.table["first"].to_numpy()
        self.lengths = tracklets.lengths

    def read(self, row: int, positions: Sequence[int]) -> np.ndarray:
        """Read frames `positions` of tracklet `row`: (n, H, W, 3) uint8; repeats are read once."""
        first, length = self.firsts[row], self.lengths[row]
        if not all(0 <= position < length for position in positions):
            raise IndexError(f"tracklet {row} has frames 0 to {length - 1}, not {list(positions)}")
        frames = {p: self.source.frame(first + p) for p in dict.fromkeys(positions)}
        return np.stack([frames[position] for position in positions])


def open_frames(tracklets: Tracklets, size: tuple[int, int], packed: Path | None = None) -> Frames:
    """Return a reader of `tracklets` at `size` (H, W), from its files or from a pack of them.

    Raises DataError if the pack is damaged or of other frames.
    """
    source = PackedFrames(tracklets, size, packed) if packed else FileFrames(tracklets, size)
    return Frames(tracklets, source)
