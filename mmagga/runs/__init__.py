"""Run folders: what a run is, its checkpoints, its lock and its status."""

from mmagga.runs.run import RUNS, Run, list_runs

__all__ = ["RUNS", "Run", "list_runs"]
