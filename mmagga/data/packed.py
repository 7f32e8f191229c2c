"""A pack: all frames of a data set in one file, for disks that are slow with a million small ones.

    header (4096 bytes of JSON, padded) | frames, one after the other | N + 1 offsets | names

"original" holds the files as they are (MARS: 6 GB) and is decoded at every reading; it helps a
network disk. "raw" holds the pixels at one size (MARS at 256×128: 117 GB, at 128×64: 29 GB), which
is memory-mapped and needs no decoding; `benchmarks/loader.py` has the numbers.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pandas as pd

from mmagga.data.frames import Frames, decode, read_bytes
from mmagga.data.index import join_names, split_names, used_frames
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.files import commit
from mmagga.progress import progress as progress_bar

FORMAT = "mmagga pack 1"
HEADER_BYTES = 4096

Encoding = Literal["raw", "original"]


def pack(
    tracklets: Tracklets,
    path: Path,
    size: tuple[int, int],
    *,
    encoding: Encoding = "raw",
    progress: bool = True,
) -> None:
    """Write the frames of `tracklets` into one file, "raw" at `size` (H, W) or as they are.

    Splits and subsets can all be read from the pack of the whole. Memory does not grow with the
    data. Raises DataError for a bad frame and ResourceError when the disk is full; then there is
    no pack, or still the old one. Pixels that change under the same names go unnoticed: pack again.
    """
    if Path(path).resolve().is_relative_to(tracklets.root.resolve()):
        raise DataError(f"{path} is inside the data set, which is never written to: pack elsewhere")
    names = tracklets.names[used_frames(tracklets)]
    pixels = size[0] * size[1] * 3

    def write(file: BinaryIO) -> None:
        file.write(bytes(HEADER_BYTES))
        offsets = np.full(len(names) + 1, HEADER_BYTES, "<i8")
        with progress_bar(enabled=progress, total=len(names), unit="frame", desc="pack") as bar:
            for i, name in enumerate(names):
                data = _encode(tracklets.root / name, size, encoding)
                file.write(data)
                offsets[i + 1] = offsets[i] + len(data)
                bar.update()
        joined = join_names(names)
        file.write(offsets.tobytes())
        file.write(joined)
        header = {
            "format": FORMAT,
            "dataset": tracklets.dataset,
            "encoding": encoding,
            "size": list(size),
            "frames": len(names),
            "data_end": int(offsets[-1]),
            "bytes": file.tell(),
            "names_sha256": hashlib.sha256(joined).hexdigest(),
        }
        file.seek(0)
        file.write(json.dumps(header).encode().ljust(HEADER_BYTES))

    commit(path, write, need=pixels * len(names) if encoding == "raw" else None)


def _encode(path: Path, size: tuple[int, int], encoding: Encoding) -> bytes:
    data = read_bytes(path)
    pixels = decode(data, size, name=path)  # also for "original": no bad frame gets into a pack
    return pixels.tobytes() if encoding == "raw" else data


class PackedFrames(Frames):
    """Frames in a pack; the same pixels as `FileFrames`."""

    def __init__(self, tracklets: Tracklets, size: tuple[int, int], path: Path):
        super().__init__(tracklets, size)
        self.path = Path(path)
        self.header = read_header(self.path)
        self._memory: np.ndarray | None = None
        self.slots = self._find(tracklets)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": None}

    def _find(self, tracklets: Tracklets) -> np.ndarray:
        """Give for each of `tracklets.names` its place in the pack; -1 where it is not used."""
        header = self.header
        if header["encoding"] == "raw" and header["size"] != list(self.size):
            raise _foreign(self.path, f"size {header['size']}", f"{list(self.size)}")
        if header["dataset"] != tracklets.dataset:
            raise _foreign(self.path, f"data set {header['dataset']}", tracklets.dataset)
        used = used_frames(tracklets)
        slots = np.full(len(tracklets.names), -1)
        slots[used] = pd.Index(self._names()).get_indexer(pd.Index(tracklets.names[used]))
        missing = used[slots[used] < 0]
        if len(missing):
            raise _foreign(self.path, "other frames", f"{tracklets.names[missing[0]]}, for one")
        return slots

    def _names(self) -> np.ndarray:
        joined = self._map()[self.header["data_end"] + 8 * (self.header["frames"] + 1) :].tobytes()
        if hashlib.sha256(joined).hexdigest() != self.header["names_sha256"]:
            raise DataError(f"the pack {self.path} is damaged (its list of names): pack again")
        return split_names(joined)

    def _map(self) -> np.ndarray:
        if self._memory is None:
            self._memory = np.asarray(np.memmap(self.path, np.uint8, "r"))
        return self._memory

    def _frame(self, number: int) -> np.ndarray:
        memory, slot = self._map(), self.slots[number]
        start, end = memory[self.header["data_end"] + 8 * slot :][:16].view("<i8")
        data = memory[start:end]
        if self.header["encoding"] == "raw":
            return data.reshape(*self.size, 3)
        return decode(data.tobytes(), self.size, name=f"frame {slot} of {self.path}")


def read_header(path: Path) -> dict[str, Any]:
    """Give the header of a pack. Raises DataError if it is missing, cut short or something else."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(HEADER_BYTES))
    except OSError as error:
        raise DataError(
            f"no pack at {path} ({error.strerror}): make one with `python -m mmagga data pack`"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not a pack of frames: make one anew") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path} is not a pack that this version reads ({FORMAT}): pack again")
    found = Path(path).stat().st_size
    if found != header["bytes"]:
        raise DataError(f"the pack {path} has {found:,} of {header['bytes']:,} bytes: pack again")
    return header


def _foreign(path: Path, holds: str, wanted: str) -> DataError:
    return DataError(f"the pack {path} holds {holds}, wanted: {wanted}. Pack again, elsewhere")
