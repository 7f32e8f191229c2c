"""Looking at a million files, in worker processes: what each frame is, or what is wrong with it."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mmagga.data.files.decoding import (
    BadFrame,
    file_hash,
    open_image,
    read_bytes,
    to_pixels,
)
from mmagga.errors import ResourceError, SettingError
from mmagga.system.cpus import usable_cpus
from mmagga.system.progress import progress as progress_bar
from mmagga.system.shortage import shortage
from mmagga.system.spawn import without_main

STAT_CHUNK = 4096
STAT_THREADS = 16
CHUNK = 512
"""Frames that a worker process is given at a time."""

ROW = np.dtype(
    [
        ("bytes", np.int64),
        ("mtime", np.int64),  # ns; with the next one and the bytes: whether to look again
        ("ctime", np.int64),  # ns; also changes where a file is renamed or its mtime is set
        ("hash", np.uint8, 16),  # BLAKE2b of the file
        ("width", np.uint16),
        ("height", np.uint16),
        ("mode", "S6"),  # Pillow's, as stored: L, RGB, CMYK, ...
        ("kind", "S16"),  # empty, or what is wrong
    ]
)
"""What is known of a frame: one record of the index."""


def scan(
    root: Path,
    names: np.ndarray,
    *,
    decode: bool,
    workers: int | None,
    progress: bool,
    skip_io: bool = False,
) -> np.ndarray:
    """Return (n,) records `ROW` of files: bytes, hash and fault, and with `decode` their pixels.

    `workers` processes, by default one for each CPU. A file that the disk cannot read counts as
    unreadable with `skip_io`. Raises ResourceError for it otherwise, and if a process is killed.
    """
    task = "check" if decode else "verify"
    look = partial(_look, root, decode=decode, skip_io=skip_io)
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    if workers is not None and workers < 1:
        raise SettingError(f"workers: at least 1, not {workers}")
    workers = min(workers or usable_cpus(), len(chunks))
    found = [np.zeros(0, ROW)]
    with progress_bar(enabled=progress, total=len(names), unit="frame", desc=task) as bar:
        for rows in _spread(look, chunks, workers):
            found.append(rows)
            bar.update(len(rows))
    return np.concatenate(found)


def look_again(root: Path, names: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which of these files, (n,) bool, differ from their records in size or times.

    A file that is gone differs. Threads, because a network disk answers many questions at once.
    """
    chunks = range(0, len(names), STAT_CHUNK)
    times = np.stack([known["bytes"], known["mtime"], known["ctime"]], 1)  # (n, 3)

    def differ(start: int) -> np.ndarray:
        some = slice(start, start + STAT_CHUNK)
        found = [_status(f"{root}/{name}") for name in names[some].tolist()]
        return (np.array(found, np.int64) != times[some]).any(axis=1)

    with ThreadPoolExecutor(STAT_THREADS) as pool:
        return np.concatenate([np.zeros(0, bool), *pool.map(differ, chunks)])


def _status(path: str | Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        if (short := shortage(error)) is not None:
            raise short from error
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _spread(
    look: Callable[[np.ndarray], np.ndarray], chunks: Sequence[np.ndarray], workers: int
) -> Iterator[np.ndarray]:
    if workers <= 1:
        yield from map(look, chunks)
        return
    # A new interpreter for each: safe beside threads, and alike on every platform.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        with pool:
            with without_main():
                results = pool.map(look, chunks)
            with closing(results):  # type: ignore[type-var]
                yield from results
    except BrokenProcessPool as error:
        raise ResourceError(
            f"one of {workers} processes was killed, most likely for want of memory: use fewer"
        ) from error


def _look(root: Path, names: np.ndarray, *, decode: bool, skip_io: bool) -> np.ndarray:
    rows = np.zeros(len(names), ROW)
    for row, name in zip(rows, names, strict=True):
        path = root / name
        try:
            row["bytes"], row["mtime"], row["ctime"] = _status(path)  # before the bytes are read
            data = read_bytes(path)
            row["hash"] = file_hash(data)
            if decode:
                image = open_image(data, path)
                row["mode"] = image.mode
                row["height"], row["width"], _ = to_pixels(image, None, path).shape
        except BadFrame as error:
            row["kind"] = error.kind
        except ResourceError as error:
            if not (skip_io and getattr(error.__cause__, "errno", None) == errno.EIO):
                raise
            row["kind"] = "unreadable"
    return rows
