"""The machine's faults are told from those of files and from those of the kit."""

import errno
import os

import pytest
import torch

from mmagga.errors import ResourceError
from mmagga.system.shortage import out_of_memory, shortage


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory (MemoryError)"),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried to"),
            "out of memory (CUDA out of memory.)",
        ),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.jpg"), "at a.jpg: raise the limit"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/x"), "at /x: the disk or network share"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "make room"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no more processes"),
        (RuntimeError("can't start new thread"), "no more processes"),
        (RuntimeError("received 0 items of ancdata"), "raise the limit"),
        (
            RuntimeError("all CUDA-capable devices are busy or unavailable\nx"),
            "free it",
        ),
        (ResourceError("as it was"), "as it was"),
    ],
)
def test_shortage_is_one_line_with_advice(error, told):
    found = shortage(error)
    assert found.code == 5
    assert told in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        PermissionError(errno.EACCES, "Permission denied"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_none(error):
    assert shortage(error) is None


def test_the_cpu_s_own_words_for_want_of_memory():
    """torch has no type for it: should its text change, this fails."""
    with pytest.raises(RuntimeError) as held:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(held.value)
