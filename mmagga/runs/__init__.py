"""Run folders: what a run is, its checkpoints, who holds it, and how it stands."""

from mmagga.runs.run import RUNS, Run, list_runs

__all__ = ["RUNS", "Run", "list_runs"]
