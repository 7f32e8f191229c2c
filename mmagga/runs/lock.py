"""One writer a run folder.

The system's lock on `run.lock` says whether a process writes there. It ends with that process,
however it dies, and two starts cannot both get it. The JSON in the file says who it is, for people
and for file systems without such locks.
"""

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mmagga.errors import MmaggaError
from mmagga.system.files import sweep

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "run.lock"


class RunLock:
    """While entered, no other process enters a lock on `folder`; it is made if it is missing.

    What a dead process of this host left is taken over, and its half-written files are swept up.
    A record of another host, which system locks may not reach, is believed unless `steal` is set;
    no one can steal from a process that is seen to live. Without system locks (Windows, some
    network file systems) the record alone decides, and two starts within milliseconds may both
    pass; Windows cannot tell either whether its process still lives.

    Raises MmaggaError, naming process, host and time, if the folder is in use.
    """

    def __init__(self, folder: str | Path, steal: bool = False) -> None:
        self.folder, self.steal = Path(folder), steal

    def __enter__(self) -> "RunLock":
        self.folder.mkdir(parents=True, exist_ok=True)
        # Not by `commit`: the lock belongs to the file, not to its name.
        self.file = open(self.folder / NAME, "a+b", buffering=0)
        try:
            self._claim()
        except BaseException:
            self.file.close()
            raise
        _held.add(self)
        sweep(self.folder)
        sweep(self.folder / "checkpoints")
        return self

    def _claim(self) -> None:
        locked = _try_lock(self.file, exclusive=True)
        if locked is False:  # perhaps `holder` is looking, which takes microseconds
            time.sleep(0.1)
            locked = _try_lock(self.file, exclusive=True)
        record = _read(self.file)
        if locked is False or (_in_use(record, locked) and not self.steal):
            advice = (
                "wait until it is done, or stop it."
                if locked is False
                else "whether it still runs cannot be seen from here. If it is gone: --steal"
            )
            raise MmaggaError(f"{self.folder} is in use by {describe(record)}: {advice}")
        self.file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        self.file.write(json.dumps(me).encode())

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _held:  # not in a forked child, which unwinds its parent's stack
            _held.remove(self)
            self.file.truncate(0)
            self.file.close()


def holder(folder: str | Path) -> dict[str, Any] | None:
    """Say who writes to a run folder: `pid`, `host`, `since`; None if no one does."""
    try:
        with open(Path(folder) / NAME, "rb") as file:
            record = _read(file)
            return record if _in_use(record, _try_lock(file, exclusive=False)) else None
    except FileNotFoundError:
        return None


def describe(record: dict[str, Any]) -> str:
    """Put what `holder` found into words."""
    pid, host, since = (record.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {pid} on {host} since {since}"


def _try_lock(file: BinaryIO, exclusive: bool) -> bool | None:
    """Lock a file at once or not at all; None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _in_use(record: dict[str, Any], locked: bool | None) -> bool:
    if locked is False or not record:
        return locked is False
    return record.get("host") != socket.gethostname() or (locked is None and _lives(record))


def _lives(record: dict[str, Any]) -> bool:
    if os.name == "nt":  # where os.kill(pid, 0) is no question
        return True
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read(file: BinaryIO) -> dict[str, Any]:
    """Read a record; {} if there is none, or if its writer was killed while it wrote."""
    file.seek(0)
    try:
        record = json.loads(file.read())
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


_held: set[RunLock] = set()


def _let_go() -> None:
    """Close a forked child's copies, or a reader of frames would hold its dead parent's lock."""
    for lock in _held:
        lock.file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
