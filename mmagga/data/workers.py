"""Read batches in worker processes, and convert their failures to errors of one line.

Batches reach the main process through shared memory, /dev/shm on Linux. Where that is too small,
as in a container with Docker's default of 64 MB, torch's workers drop batches and the main process
waits for ever. So the room is compared before: batches go through pipes where it is short, and
where not even the workers' semaphores find room the main process reads by itself.
"""

import os
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmagga.errors import ResourceError
from mmagga.system.cpus import reader_count
from mmagga.system.interrupt import StopRequest
from mmagga.system.shortage import first_line
from mmagga.system.spawn import without_main

SHARED_MEMORY = Path("/dev/shm")
TIMEOUT = 600.0
"""Seconds without a batch after which the workers are taken to hang."""
_PAGE = 4096


def read_in_processes(
    data: Dataset, keys: Sequence, workers: int | None, size: int
) -> Generator[Any, None, None]:
    """Yield data[key] for each key in order, read in `workers` processes, see `reader_count`.

    Items are tuples of tensors and numbers, of about `size` bytes. What is raised by reading is
    raised here, as if it had been read here. Iterate inside of `reading`.
    """
    through_pipes, workers = _plan(reader_count(workers), size)
    if not workers:
        yield from (data[key] for key in keys)
        return
    # A generator of its own keeps iteration from touching torch's global one.
    loader = DataLoader(
        _Safe(data, through_pipes),
        sampler=keys,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=torch.cuda.is_available() and not through_pipes,
        timeout=TIMEOUT,
        generator=torch.Generator(),
        worker_init_fn=_leave_signals_to_the_parent,
    )
    with without_main():
        batches = iter(loader)
    try:
        for item in batches:
            if isinstance(item, _Raised):
                raise item.error
            yield _map(torch.from_numpy, np.ndarray, item) if through_pipes else item
    finally:
        # Python ends its children at its own exit by SIGTERM, which these ignore, and waits.
        batches._shutdown_workers()  # type: ignore[attr-defined]
        for process in batches._workers:  # type: ignore[attr-defined]
            if process.is_alive():  # one that hangs
                process.kill()
                process.join(5)


@contextmanager
def reading(batches: Generator[Any, None, None]) -> Iterator[None]:
    """Convert a crash or timeout of a worker process to a ResourceError.

    Wrap the whole loop: torch raises wherever the main process happens to be. The processes that
    read `batches` end on exit, also after an error.
    """
    try:
        yield
    except (RuntimeError, EOFError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and "DataLoader" not in str(error):
            raise
        raise ResourceError(
            f"a process that reads frames died or hangs ({first_line(error)}). Usually memory ran "
            "out, /dev/shm is too small, or a disk does not answer: give it more, or set "
            "workers=0, and run the same command again."
        ) from error
    finally:
        batches.close()


class _Raised:
    """Carries an exception of a worker to the main process."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Safe(Dataset):
    """The items of `data`, arrays instead of tensors if they go through pipes; never raises."""

    def __init__(self, data: Dataset, through_pipes: bool) -> None:
        self.data, self.through_pipes = data, through_pipes

    def __getitem__(self, key: Any) -> Any:
        try:
            item = self.data[key]
        except Exception as error:
            error.add_note(f"in a reading process:\n{traceback.format_exc()}")
            try:
                ForkingPickler.loads(ForkingPickler.dumps(error))  # else the main process waits
            except Exception:
                return _Raised(RuntimeError(f"{type(error).__name__}: {error}"))
            return _Raised(error)
        return _map(Tensor.numpy, Tensor, item) if self.through_pipes else item


def _plan(workers: int, size: int) -> tuple[bool, int]:
    """Return whether batches of `size` bytes go through pipes, and how many workers read them."""
    if not workers or not SHARED_MEMORY.is_dir():
        return False, workers
    free = shutil.disk_usage(SHARED_MEMORY).free
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that need as much
    semaphores = (4 * workers + 12) * _PAGE * beside
    if free < semaphores:
        _note(f"is full ({free / 1e3:.0f} kB free): frames are read by the main process, slowly")
        return False, 0
    needed = (2 * workers + 2) * size * beside + semaphores  # torch prefetches two a worker
    if free < needed:
        _note(
            f"has {free / 1e6:.1f} MB free, and {workers} workers would use {needed / 1e6:.1f} MB: "
            "batches go through pipes, a little slower. In Docker, --shm-size or --ipc=host gives "
            "more"
        )
        return True, workers
    return False, workers


def _note(text: str) -> None:
    warnings.warn(f"{SHARED_MEMORY} {text}", stacklevel=4)


def _map(change: Callable[[Any], Any], kind: type, item: Any) -> Any:
    """Change the values of `kind` in a tuple or named tuple."""
    values = [change(value) if isinstance(value, kind) else value for value in item]
    return type(item)(*values) if hasattr(item, "_fields") else tuple(values)


def _as_it_is(item: Any) -> Any:
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    # A Ctrl-C or a scheduler's SIGTERM reaches the whole group; the parent still needs its batch.
    for number in StopRequest.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
