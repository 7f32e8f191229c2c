"""One writer per run folder.

The system's lock on `run.lock` says whether a process writes there. It ends with that process,
however it dies, and two starts cannot both get it. The JSON in the file says who it is, for people
and for file systems without such locks.

On a network file system a lock may not reach another host. There the holder touches the file every
few seconds, and who finds the record of another host watches it for a while: a file that is not
touched is that of a dead process.
"""

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
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
BEAT = 5.0
"""Seconds between two heartbeats on a network file system."""
WATCH = 20.0
"""Seconds without one after which a process of another host is taken to be dead."""
_LOCAL = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "tmpfs",
    "ramfs", "overlay", "aufs", "vfat", "exfat", "ntfs", "ntfs3",
}  # fmt: skip
"""File systems of one machine, on which its locks are the truth."""


class RunLock:
    """While entered, no other process enters a lock on `folder`; it is made if it is missing.

    The lock of a dead process is taken over, and its half-written files are deleted: of this host,
    or of another, such as a container that is gone, if the system's lock was granted. On a network
    file system, or without system locks, that takes `WATCH` seconds, in which the other host's
    process must give no heartbeat; `steal` does not wait. No one can steal from a process of
    this host that is seen to live. Without system locks two starts within milliseconds may both
    pass, and Windows cannot tell whether a process of its own still lives.

    Raises MmaggaError, naming process, host and time, if the folder is in use.
    """

    def __init__(self, folder: str | Path, steal: bool = False) -> None:
        self.folder, self.steal = Path(folder), steal

    def __enter__(self) -> "RunLock":
        self.made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Not by `commit`: the lock belongs to the file, not to its name.
        self.file = open(self.folder / NAME, "a+b", buffering=0)
        try:
            self._claim()
        except BaseException:
            self.file.close()
            raise
        if not _is_at(self.file, self.folder / NAME):  # its holder has just taken the folder away
            self.file.close()
            return self.__enter__()
        _held.add(self)
        self._stop = threading.Event()
        if self.shared:
            threading.Thread(target=self._beat, daemon=True).start()
        sweep(self.folder)
        sweep(self.folder / "checkpoints")
        return self

    def _claim(self) -> None:
        locked = _try_lock(self.file, exclusive=True)
        if locked is False:  # perhaps `holder` is looking, which takes microseconds
            time.sleep(0.1)
            locked = _try_lock(self.file, exclusive=True)
        record = _read(self.file)
        self.shared = locked is None or _on_network(self.folder)
        foreign = bool(record) and record.get("host") != socket.gethostname()
        advice = ""
        if locked is False:
            advice = "wait until it is done, or stop it."
        elif self.steal or not record:
            pass
        elif foreign and self.shared and _gives_signs(self.folder / NAME):
            advice = "its heartbeat is seen there; wait until it is done, or stop it."
        elif not foreign and locked is None and _lives(record):
            advice = "whether it still works on it cannot be seen. If it does not: --steal"
        if advice:
            raise MmaggaError(f"{self.folder} is in use by {describe(record)}: {advice}")
        self.file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        self.file.write(json.dumps(me).encode())

    def _beat(self) -> None:
        """Touch the file every few seconds until the lock is left."""
        while not self._stop.wait(BEAT):
            with suppress(OSError):
                os.utime(self.folder / NAME)

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _held:  # not in a forked child, which unwinds its parent's stack
            _held.remove(self)
            self._stop.set()
            self.file.truncate(0)
            with suppress(OSError):  # a run that did not begin leaves nothing
                if self.made and [path.name for path in self.folder.iterdir()] == [NAME]:
                    (self.folder / NAME).unlink()
                    self.folder.rmdir()
            self.file.close()


def holder(folder: str | Path) -> dict[str, Any] | None:
    """Return who writes to a run folder: `pid`, `host`, `since`; None if no one does.

    What a process of another host left on a network file system counts for `WATCH` seconds.
    """
    path = Path(folder) / NAME
    try:
        with open(path, "rb") as file:
            record, locked = _read(file), _try_lock(file, exclusive=False)
    except FileNotFoundError:
        return None
    if locked is False:
        return record
    if not record:
        return None
    if record.get("host") == socket.gethostname():
        return record if locked is None and _lives(record) else None
    recent = time.time() - path.stat().st_mtime < WATCH
    return record if recent and (locked is None or _on_network(Path(folder))) else None


def describe(record: dict[str, Any]) -> str:
    """Put what `holder` found into words."""
    pid, host, since = (record.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {pid} on {host} since {since}"


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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


def _gives_signs(path: Path) -> bool:
    """Watch for `WATCH` seconds whether the file is touched; no clocks are compared."""

    def touched() -> int:
        with open(path, "rb") as file:  # opening makes a network file system ask its server
            return os.fstat(file.fileno()).st_mtime_ns

    before, end = touched(), time.monotonic() + WATCH
    while time.monotonic() < end:
        time.sleep(min(BEAT, WATCH) / 5)
        if touched() != before:
            return True
    return False


def _on_network(folder: Path) -> bool:
    """Return whether other hosts may see the folder too; True where that is not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return True
    where, kinds = os.path.realpath(folder), {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        mounted_at = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split()[4])
        if f"{where}/".startswith(f"{mounted_at.rstrip('/')}/"):
            kinds[mounted_at] = after.split()[0]
    return not kinds or kinds[max(kinds, key=len)] not in _LOCAL


def _lives(record: dict[str, Any]) -> bool:
    if os.name == "nt":  # where os.kill(pid, 0) would terminate the process
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
