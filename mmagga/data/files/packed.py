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

from mmagga.data.files.decoding import decode, read_bytes
from mmagga.data.files.names import join_names, used_frames
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.system.files import commit
from mmagga.system.progress import progress as progress_bar

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
    pixels = decode(data, size, name=str(path))  # for "original" too: no bad frame is packed
    return pixels.tobytes() if encoding == "raw" else data


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
