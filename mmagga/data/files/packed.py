"""A pack: all frames of a data set in one file, for disks that are slow with a million small ones.

    header (4096 bytes of JSON, padded) | N frames of height x width x 3 bytes |
    N hashes of the files they were made of, 16 bytes each | their names

It holds the pixels at one size (MARS at 256×128: 117 GB, at 128×64: 29 GB), is memory-mapped and
needs no decoding; `benchmarks/loader.py` has the numbers.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from mmagga.data.files.decoding import decode, file_hash, read_bytes
from mmagga.data.files.index import known_hashes
from mmagga.data.files.names import join_names, split_names, used_frames
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError, SettingError
from mmagga.system.files import commit
from mmagga.system.progress import progress as progress_bar

FORMAT = "mmagga pack 2"
HEADER_BYTES = 4096


def pack(tracklets: Tracklets, path: Path, size: tuple[int, int], *, progress: bool = True) -> None:
    """Write the pixels of all frames of `tracklets` into one file, at `size` (H, W).

    Splits and subsets can all be read from the pack of the whole. Memory does not grow with the
    data. Raises DataError for a bad frame and ResourceError when the disk is full; then there is
    no pack, or still the old one. A pack is compared with the index when it is opened: frames that
    have other bytes under the same names since are refused.
    """
    path = Path(path).expanduser()
    if min(size) < 1:
        raise SettingError(f"height and width: at least 1, not {size[0]} and {size[1]}")
    if path.resolve().is_relative_to(tracklets.root.resolve()):
        raise DataError(f"{path} is inside the data set, which is never written to: pack elsewhere")
    names = tracklets.names[used_frames(tracklets)]
    data_bytes = len(names) * size[0] * size[1] * 3

    def write(file: BinaryIO) -> None:
        file.write(bytes(HEADER_BYTES))
        hashes = np.zeros((len(names), 16), np.uint8)
        with progress_bar(enabled=progress, total=len(names), unit="frame", desc="pack") as bar:
            for i, name in enumerate(names):
                path = tracklets.root / name
                content = read_bytes(path)
                hashes[i] = file_hash(content)
                file.write(decode(content, size, name=str(path)).tobytes())
                bar.update()
        joined = join_names(names)
        file.write(hashes.tobytes())
        file.write(joined)
        header = {
            "format": FORMAT,
            "dataset": tracklets.dataset,
            "size": list(size),
            "frames": len(names),
            "data_end": HEADER_BYTES + data_bytes,
            "bytes": file.tell(),
            "names_sha256": hashlib.sha256(joined).hexdigest(),
        }
        file.seek(0)
        file.write(json.dumps(header).encode().ljust(HEADER_BYTES))

    commit(path, write, need=data_bytes)


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of a pack. Raises DataError if it is missing, cut short or something else."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(HEADER_BYTES))
    except OSError as error:
        raise DataError(
            f"no pack at {path} ({error.strerror}): make one with `python -m mmagga data pack`"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not a pack of frames: create it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path} is not a pack that this version reads ({FORMAT}): pack again")
    found = Path(path).stat().st_size
    if found != header["bytes"]:
        raise DataError(f"the pack {path} has {found:,} of {header['bytes']:,} bytes: pack again")
    return header


class PackedFrames:
    """Frame number i of `Tracklets.names`, from a pack: the pixels that its file would give."""

    def __init__(self, tracklets: Tracklets, size: tuple[int, int], path: Path) -> None:
        self.size, self.path = size, Path(path).expanduser()
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

    def frame(self, number: int) -> np.ndarray:
        """Return the pixels of one frame, (H, W, 3) uint8."""
        height, width = self.size
        start = HEADER_BYTES + self.slots[number] * height * width * 3
        return self._map()[start : start + height * width * 3].reshape(height, width, 3)


def _foreign(path: Path, holds: str, wanted: str) -> DataError:
    return DataError(f"the pack {path} holds {holds}, wanted: {wanted}. Pack again, elsewhere")
