"""How the kit writes a file: completely, or not at all.

Every file a run owns goes through `commit`. A crash, a kill or a full disk at any moment leaves
the old file or the new one, never a mixture, and never half a file under the final name.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mmagga.errors import ResourceError

if TYPE_CHECKING:
    import pandas as pd

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def commit(
    path: str | Path, write: Callable[[BinaryIO], object], *, need: int | None = None
) -> None:
    """Replace `path` by what `write(file)` writes: temporary neighbour, fsync, rename, fsync.

    `need` is the room to ask for, in bytes, before the first one is written. Missing folders are
    made. Raises ResourceError when the disk is full; then, as after any other error, the old file
    is untouched and the temporary one gone. Only a kill leaves `NAME.tmp-PID` behind: see `sweep`.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if need is not None and shutil.disk_usage(path.parent).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with open(temporary, "wb") as file:
            _write_through(file, write)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ResourceError(_explain(path, temporary, need)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Commit `text` as UTF-8 with the line ends it has."""
    commit(path, lambda file: file.write(text.encode()))


def write_json(path: str | Path, value: Any) -> None:
    """Commit `value` as indented JSON; ValueError for NaN and infinity, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(
    path: str | Path, table: "pd.DataFrame", *, digits: int | None = None, index: bool = False
) -> None:
    """Commit a table as CSV in UTF-8, floats with `digits` significant digits, by default all.

    Names that UTF-8 cannot hold, of files in another encoding, are escaped.
    """
    style = None if digits is None else f"%.{digits}g"
    text = table.to_csv(index=index, float_format=style, lineterminator="\n")
    commit(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def append_line(path: str | Path, text: str) -> None:
    """Add a line at the end, in one write: a kill tears at most the last one.

    Raises ResourceError when the disk is full; the line may then be torn as well.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            line = f"{text}\n".encode()
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ResourceError(_explain(Path(path), Path(path), None)) from error


def sha256(path: str | Path) -> str:
    """Return the hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: str | Path) -> None:
    """Delete what killed commits left in `folder`; only while no other process writes there."""
    for left_over in Path(folder).glob("*.tmp-[0-9]*"):
        left_over.unlink(missing_ok=True)


def _write_through(file: BinaryIO, write: Callable[[BinaryIO], object]) -> None:
    try:
        write(file)
    except RuntimeError:
        # torch.save turns a failed write into a RuntimeError without errno: ask the disk again.
        file.seek(0, os.SEEK_END)
        file.write(bytes(1 << 20))
        file.flush()
        raise
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and needs no fsync for a rename
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(path: Path, temporary: Path, need: int | None) -> str:
    written = temporary.stat().st_size if temporary.exists() else 0
    wanted = f"need {need / 1e9:.3g} GB" if need else f"full after {written / 1e9:.3g} GB"
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
    return (
        f"disk or quota full: {wanted}, free {free / 1e9:.3g} GB at {path}. "
        "Make room or choose another folder, then run the same command again."
    )
