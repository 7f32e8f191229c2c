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

from mmagga.data.files.decoding import decode, file_hash, read_bytes
from mmagga.data.files.names import join_names, used_frames
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
