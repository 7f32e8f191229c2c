"""How many processes may work at once."""

import os


def usable_cpus() -> int:
    """Count the CPUs that this process may use, of a container or scheduler as well."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # Windows, macOS
