"""Repeat the step that stopped a run: a loss or gradient that was not finite."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mmagga.errors import MmaggaError, NumericError, Stopped
from mmagga.runs.run import Run
from mmagga.training.loop import train


def replay(run: Run, bar: bool = True) -> str:
    """Go on from the last checkpoint to the step that failed, in a copy; return a report.

    Raises MmaggaError if the run did not stop for such a reason, or has passed that step since.
    """
    config, path = run.load_config(), run.folder / "failure.json"
    if not path.exists():
        raise MmaggaError(f"{run.folder} has no failure.json: its losses were finite so far")
    failure, saved = run.load_failure(), run.saved_step() or 0
    if saved > failure["step"]:
        raise MmaggaError(
            f"{run.folder} failed at step {failure['step']} and has passed it since: its "
            f"checkpoint is of step {saved}"
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Run(Path(folder) / run.folder.name)
        shutil.copytree(run.folder, copy.folder, ignore=shutil.ignore_patterns("run.lock"))
        try:
            train(config, copy.folder, bar=bar, stop_at=failure["step"] + 1)
        except NumericError as error:
            same = str(error) == failure["error"]
            verdict = "the same as before" if same else f"before it was: {failure['error']}"
            return f"{error}\n{verdict}\nthe clips of this step:\n{_clips(copy.load_failure())}"
        except Stopped:
            pass
    step = failure["step"]
    return f"this time all losses are finite; step {step} had failed with\n{_clips(failure)}"


def _clips(failure: dict[str, Any]) -> str:
    return "\n".join(
        f"  person {c['person']}, camera {c['camera']}: {', '.join(c['frames'])}"
        for c in failure["clips"]
    )
