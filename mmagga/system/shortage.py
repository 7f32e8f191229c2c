"""Recognise errors of resources, as opposed to damaged files: memory, open files, disks, devices.

They come as OSError, MemoryError or, from torch, as RuntimeError with a text.
"""

import errno
import sys

from mmagga.errors import ResourceError

_AGAIN = "then run the same command again"
_MEMORY = f"close other programs, use fewer workers or a smaller eval_batch, {_AGAIN}"
_FILES = f"raise the limit (ulimit -n 65536) or use fewer workers, {_AGAIN}"
_DISK = f"make room or choose another folder, {_AGAIN}"
_ANSWER = (
    "the disk or network share did not answer. No file is known to be damaged; "
    f"check the disk, {_AGAIN}"
)
_PROCESSES = f"no more processes or threads may be started: use fewer workers, {_AGAIN}"
_DEVICE = f"free it or choose another device, {_AGAIN}"

_BY_NUMBER = {
    "ENOMEM": _MEMORY, "EMFILE": _FILES, "ENFILE": _FILES, "ENOSPC": _DISK, "EDQUOT": _DISK,
    "EFBIG": _DISK, "EIO": _ANSWER, "EREMOTEIO": _ANSWER, "ESTALE": _ANSWER,
    "ETIMEDOUT": _ANSWER, "ENOTCONN": _ANSWER, "EHOSTDOWN": _ANSWER, "EHOSTUNREACH": _ANSWER,
    "ENODEV": _ANSWER, "ENXIO": _ANSWER, "EAGAIN": _PROCESSES,
}  # fmt: skip
_BY_TEXT = {
    "can't allocate memory": _MEMORY, "not enough memory": _MEMORY, "out of memory": _MEMORY,
    "Cannot allocate memory": _MEMORY, "Too many open files": _FILES,
    "received 0 items of ancdata": _FILES, "No space left on device": _DISK,
    "can't start new thread": _PROCESSES, "busy or unavailable": _DEVICE,
}  # fmt: skip


def shortage(error: BaseException) -> ResourceError | None:
    """Return the ResourceError for `error`; None if it is not a shortage."""
    if isinstance(error, ResourceError):
        return error
    if out_of_memory(error):
        return ResourceError(f"out of memory ({first_line(error)}): {_MEMORY}")
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, "")
        where = f" at {error.filename}" if error.filename else ""
        if name in _BY_NUMBER:
            return ResourceError(f"{error.strerror}{where}: {_BY_NUMBER[name]}")
    if isinstance(error, RuntimeError):
        for text, advice in _BY_TEXT.items():
            if text in str(error):
                return ResourceError(f"{first_line(error)}: {advice}")
    return None


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, a GPU's or the CPU's, for which torch has no type."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name where there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
