"""The frames of `Tracklets` at one size, from their files or from a pack: the same pixels."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmagga.data.files.decoding import decode
from mmagga.data.files.index import known_hashes
from mmagga.data.files.names import split_names, used_frames
from mmagga.data.files.packed import HEADER_BYTES, read_header
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError


class Frames:
    """The frames of `Tracklets`, at one size; a subclass says where frame i of `names` is.

    Pickles to a few arrays; what must be opened is opened by each process when it first reads.
    """

    def __init__(self, tracklets: Tracklets, size: tuple[int, int]) -> None:
        self.size = size
        self.firsts = tracklets.table["first"].to_numpy()
        self.lengths = tracklets.lengths

    def read(self, row: int, positions: Sequence[int]) -> np.ndarray:
        """Read frames `positions` of tracklet `row`: (n, H, W, 3) uint8; repeats are read once."""
        first, length = self.firsts[row], self.lengths[row]
        if not all(0 <= position < length for position in positions):
            raise IndexError(f"tracklet {row} has frames 0 to {length - 1}, not {list(positions)}")
        frames = {position: self._frame(first + position) for position in dict.fromkeys(positions)}
        return np.stack([frames[position] for position in positions])

    def _frame(self, number: int) -> np.ndarray:
        raise NotImplementedError


class FileFrames(Frames):
    """Frames in the files of the data set."""

    def __init__(self, tracklets: Tracklets, size: tuple[int, int]) -> None:
        super().__init__(tracklets, size)
        self.root, self.names = str(tracklets.root), tracklets.names

    def _frame(self, number: int) -> np.ndarray:
        return decode(os.path.join(self.root, self.names[number]), self.size)


class PackedFrames(Frames):
    """Frames in a pack; the same pixels as `FileFrames`."""

    def __init__(self, tracklets: Tracklets, size: tuple[int, int], path: Path) -> None:
        super().__init__(tracklets, size)
        self.path = Path(path).expanduser()
        self.header = read_header(self.path)
        self._memory: np.ndarray | None = None
        self.slots = self._find(tracklets)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": None}

    def _find(self, tracklets: Tracklets) -> np.ndarray:
        """Return for each of `tracklets.names` its place in the pack; -1 where it is not used."""
        header = self.header
        if header["size"] != list(self.size):
            raise _foreign(self.path, f"size {header['size']}", f"{list(self.size)}")
        if header["dataset"] != tracklets.dataset:
            raise _foreign(self.path, f"data set {header['dataset']}", tracklets.dataset)
        used = used_frames(tracklets)
        slots = np.full(len(tracklets.names), -1)
        slots[used] = pd.Index(self._names()).get_indexer(pd.Index(tracklets.names[used]))
        missing = used[slots[used] < 0]
        if len(missing):
            raise _foreign(self.path, "other frames", f"{tracklets.names[missing[0]]}, for one")
        known = known_hashes(tracklets)
        if known is not None:
            other = used[(self._hashes()[slots[used]] != known).any(axis=1)]
            if len(other):
                first = tracklets.names[other[0]]
                raise _foreign(
                    self.path, f"other pixels of {len(other):,} frames", f"those of {first}"
                )
        return slots

    def _hashes(self) -> np.ndarray:
        """Return the hash of each file that was packed, (N, 16)."""
        count = self.header["frames"]
        start = self.header["data_end"]
        return self._map()[start : start + 16 * count].reshape(count, 16)

    def _names(self) -> np.ndarray:
        start = self.header["data_end"] + 16 * self.header["frames"]
        joined = self._map()[start:].tobytes()
        if hashlib.sha256(joined).hexdigest() != self.header["names_sha256"]:
            raise DataError(f"the pack {self.path} is damaged (its list of names): pack again")
        return split_names(joined)

    def _map(self) -> np.ndarray:
        if self._memory is None:
            self._memory = np.asarray(np.memmap(self.path, np.uint8, "r"))
        return self._memory

    def _frame(self, number: int) -> np.ndarray:
        height, width = self.size
        start = HEADER_BYTES + self.slots[number] * height * width * 3
        return self._map()[start : start + height * width * 3].reshape(height, width, 3)


def open_frames(tracklets: Tracklets, size: tuple[int, int], packed: Path | None = None) -> Frames:
    """Return a reader of `tracklets` at `size` (H, W), from its files or from a pack of them.

    Both give identical pixels. Raises DataError if the pack is damaged or of other frames.
    """
    return PackedFrames(tracklets, size, packed) if packed else FileFrames(tracklets, size)


def _foreign(path: Path, holds: str, wanted: str) -> DataError:
    return DataError(f"the pack {path} holds {holds}, wanted: {wanted}. Pack again, elsewhere")
