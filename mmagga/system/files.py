"""How the kit writes a file: completely, or not at all.

Every file a run owns goes through `commit`. A crash, a kill or a full disk at any moment leaves
the old file or the new one, never a mixture, and never half a file under the final name.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mmagga.errors import DataError, ResourceError, SettingError

if TYPE_CHECKING:
    import pandas as pd

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
"""What CIFS, sshfs, VirtualBox's shared folders and others answer to fsync on a folder."""
_TEMPORARY = re.compile(r"\.tmp-([A-Za-z0-9.]+-\d+-[0-9a-f]{8}|\d+)$")
"""The names that `temporary_name` makes, and those of older versions."""
_warned = False


def commit(
    path: str | Path, write: Callable[[BinaryIO], object], *, need: int | None = None
) -> None:
    """Replace `path` by what `write(file)` writes: temporary neighbour, fsync, rename, fsync.

    `need` is the room to ask for, in bytes, before the first one is written. Missing folders are
    made. Raises ResourceError when the disk is full; then, as after any other error, the old file
    is untouched and the temporary one gone. Only a kill leaves it behind: see `sweep`.
    """
    path = Path(path)
    temporary = temporary_name(path)
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


def unwritable(folder: str | Path) -> str | None:
    """Return why `folder` cannot be made or written into; None if it can. Changes nothing."""
    folder = Path(folder).absolute()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if not there.is_dir():
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} is read-only"
    return None


def require_writable(path: str | Path) -> None:
    """Raise SettingError if a file `path` cannot be written, ResourceError if its disk is full.

    For results that take long to compute: call it before the work.
    """
    path = Path(path)
    if path.is_dir():
        raise SettingError(f"the result cannot be written: {path} is a folder; name a file in it")
    reason = unwritable(path.parent)
    if reason is None and path.parent.exists():
        probe = temporary_name(path)
        try:
            probe.write_bytes(bytes(4096))
        except OSError as error:
            if error.errno in _FULL:
                raise ResourceError(_explain(path, probe, None)) from error
            reason = str(error.strerror)
        finally:
            with suppress(OSError):
                probe.unlink()
    if reason is not None:
        raise SettingError(f"{path} cannot be written ({reason}): name another place")


def temporary_name(path: str | Path) -> Path:
    """Return a name beside `path` that no other process, on this host or another, will choose."""
    path = Path(path)
    host = re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname())[:32] or "host"
    return path.with_name(f"{path.name}.tmp-{host}-{os.getpid()}-{secrets.token_hex(4)}")


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


def read_csv(path: str | Path, columns: Sequence[str] = (), **options: Any) -> "pd.DataFrame":
    """Read a table that the kit wrote, with the options of `pandas.read_csv`.

    Raises DataError if the file is no table or lacks one of `columns`.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, **options)
    except ValueError as error:  # of pandas' parser, or of UTF-8
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path} is damaged ({reason}): remove it and make it again") from error
    if missing := [name for name in columns if name not in table]:
        raise DataError(
            f"{path} has no column {missing[0]!r}: it is damaged or of another version; "
            "remove it and make it again"
        )
    return table


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


def sync(path: str | Path) -> None:
    """Flush a file that was written by others, such as `append_line`, to the disk."""
    if Path(path).exists():
        with open(path, "rb+") as file:
            _fsync(file.fileno(), path)


def sha256(path: str | Path) -> str:
    """Return the hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: str | Path) -> None:
    """Delete what killed commits left in `folder`; only while no other process writes there."""
    for left_over in Path(folder).glob("*.tmp-*"):
        if _TEMPORARY.search(left_over.name):
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
    _fsync(file.fileno(), file.name)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and needs no fsync for a rename
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written into and not listed
        return
    try:
        _fsync(descriptor, folder)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int, path: str | Path) -> None:
    """Flush to the disk; where the file system has no such thing, warn once and go on."""
    global _warned
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
        if not _warned:
            _warned = True
            warnings.warn(
                f"the file system of {path} refuses fsync ({error.strerror}): files are written "
                "whole, but after a power cut the last ones may be missing",
                stacklevel=4,
            )


def _explain(path: Path, temporary: Path, need: int | None) -> str:
    written = temporary.stat().st_size if temporary.exists() else 0
    wanted = f"need {need / 1e9:.3g} GB" if need else f"full after {written / 1e9:.3g} GB"
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
    return (
        f"disk or quota full: {wanted}, free {free / 1e9:.3g} GB at {path}. "
        "Make room or choose another folder, then run the same command again."
    )


def kit_folders(*folders: str | Path) -> tuple[Path, ...]:
    """Resolve a notebook's folders: relative ones start at the kit's `notebooks` folder.

    It is that of the checkout this package lies in, else the current folder. Raises SettingError
    for a relative folder where neither holds the notebooks.
    """
    places = (Path(__file__).resolve().parents[2] / "notebooks", Path.cwd())
    base = next((place for place in places if (place / "1_data.ipynb").is_file()), None)
    found = [Path(folder).expanduser() for folder in folders]
    relative = next((folder for folder in found if not folder.is_absolute()), None)
    if base is None and relative is not None:
        raise SettingError(
            f"{relative} is relative to the kit's notebooks folder, which is neither beside "
            f"the package nor {Path.cwd()}: start Jupyter there, or give an absolute folder"
        )
    return tuple((base / folder).resolve() if base else folder for folder in found)
