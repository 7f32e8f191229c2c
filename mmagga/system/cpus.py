"""How many processes may work at once."""

import os

_MOST = 8


def usable_cpus() -> int:
    """Count the CPUs in this process's affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # Windows, macOS


def reader_count(asked: int | None) -> int:
    """Return how many processes shall read frames: `asked`, but never more than there are CPUs.

    By default one for each CPU, at most eight; under torchrun its processes share the CPUs.
    """
    share = max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(_MOST if asked is None else asked, share)
