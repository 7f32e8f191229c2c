"""Run folders: what a run is, its checkpoints, who holds it, and how it stands."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmagga.runs.run import RUNS, Run, list_runs

__all__ = ["RUNS", "Run", "list_runs"]


def __getattr__(name: str) -> Any:
    """Import `run`, and with it torch, only where a run is asked for: a lock needs neither."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmagga.runs import run

    return getattr(run, name)
