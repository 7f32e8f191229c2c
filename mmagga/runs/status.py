"""The status of a run on one screen of plain text, while it is written or after."""

import time
from pathlib import Path
from typing import Any

from mmagga.config import Config, config_hash, total_epochs
from mmagga.errors import CheckpointError, MmaggaError
from mmagga.runs.health import describe_health
from mmagga.runs.lock import describe, holder
from mmagga.runs.run import Run, list_runs

_RECENT = 5
"""Epochs over which the speed is measured."""


_NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What reading a log raises that another program wrote, or that lost some of its fields."""


def status(run: Run) -> str:
    """Describe the state of a run. Only reads.

    Raises MmaggaError if the folder holds no run, CheckpointError if its logs are damaged.
    """
    try:
        return _status(run)
    except _NOT_UNDERSTOOD as error:
        raise CheckpointError(
            f"{run.folder}: its logs cannot be understood ({error!r}): damaged, or of another "
            "version of the kit. Restore them"
        ) from error


def _status(run: Run) -> str:
    config = run.load_config()
    steps, epochs, timing = (run.records(name) for name in ("steps", "epochs", "timing"))
    lines = {"run": str(run.folder), "state": _state(run, config, steps)}
    if steps:
        last = steps[-1]
        total = _total_steps(config, epochs)
        lines["done"] = (
            f"step {last['step']:.0f} of {total or '?'}, epoch {last['epoch']:.0f} of "
            f"{total_epochs(config)}, stage {last['stage']:.0f} of {len(config.stages)}"
        )
        lines["losses"] = "  ".join(
            f"{name} {value:.4g}"
            for name, value in last.items()
            if name not in ("step", "epoch", "stage", "lr")
        )
        lines["lr"] = f"{last['lr']:.3g}"
        if total and timing:
            lines["speed"] = _speed(timing, total - last["step"], config)
    if epochs and "health" in epochs[-1]:
        lines["health"] = describe_health(epochs[-1]["health"])
    lines["evaluation"] = reached(run.load_metrics())
    record = run.last_checkpoint() or {}
    lines["checkpoint"] = _checkpoint(record)
    lines["config"] = config_hash(config)
    lines["data"] = record.get("data") or "not known"
    return "\n".join(f"{name:12}{text}" for name, text in lines.items())


def overview(runs: Path) -> str:
    """Describe the state of each run below a folder in one line."""
    lines = []
    for run in list_runs(runs):
        try:
            state = _state(run, run.load_config(), run.records("steps"))
            lines.append(f"{run.folder}  {state}; {reached(run.load_metrics())}")
        except MmaggaError as error:
            lines.append(f"{run.folder}  {error}")
        except (OSError, *_NOT_UNDERSTOOD) as error:
            lines.append(f"{run.folder}  its logs cannot be understood ({error!r})")
    return "\n".join(lines) or f"no runs in {runs}"


def reached(metrics: dict) -> str:
    """Put the last evaluation into words."""
    if not {"mAP", "rank-1", "epoch"} <= metrics.keys():
        return "not scored" if metrics else "not evaluated yet"
    return f"mAP {metrics['mAP']:.1%}  rank-1 {metrics['rank-1']:.1%}  (epoch {metrics['epoch']})"


def _state(run: Run, config: Config, steps: list[dict[str, Any]]) -> str:
    owner = holder(run.folder)
    if owner is not None:
        return f"running, {describe(owner)}"
    if not steps and run.load_failure():
        return f"failed: {run.load_failure()['error']}"
    if not steps:
        return "imported: weights without a log" if run.saved_step() else "never started"
    step = steps[-1]["step"]
    if run.load_failure().get("step", -1) >= step:
        return f"failed: {run.load_failure()['error']}"
    total = _total_steps(config, run.records("epochs"))
    if total == step == run.saved_step() == run.scored_step():
        return "finished"
    return f"stopped at step {step}; the same command resumes from its last checkpoint"


def _total_steps(config: Config, epochs: list[dict[str, Any]]) -> int | None:
    """Count the steps of the whole run, from its first epoch; None while that is under way."""
    if not epochs:
        return None
    return epochs[0]["step"] // epochs[0]["epoch"] * total_epochs(config)


def _speed(timing: list[dict[str, Any]], left: float, config: Config) -> str:
    recent = timing[-_RECENT:]
    rate = sum(epoch["frames"] for epoch in recent) / sum(epoch["seconds"] for epoch in recent)
    seconds = left * config.ids_per_batch * config.clips_per_id * config.frames / rate
    return f"{rate:.0f} frames/s" + (f"; about {_duration(seconds)} to go" if left else "")


def _checkpoint(record: dict[str, Any]) -> str:
    if not record:
        return "none yet"
    if not record["healthy"]:
        return f"step {record['step']}, {record['why']}"
    age = max(0.0, time.time() - record["saved"])  # the clock may have been set back
    return f"step {record['step']}, {_duration(age)} old, healthy"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
