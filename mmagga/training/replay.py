"""Repeat the step that stopped a run: a loss or gradient that was not finite."""

import shutil
import tempfile
from pathlib import Path

from mmagga.errors import MmaggaError, NumericError
from mmagga.runs.run import Run
from mmagga.training.loop import train


def replay(run: Run, bar: bool = True) -> str:
    """Go on from the last checkpoint to the step that failed, in a copy; return a report.

    Raises MmaggaError if the run did not stop for such a reason.
    """
    config, path = run.load_config(), run.folder / "failure.json"
    if not path.exists():
        raise MmaggaError(f"{run.folder} has no failure.json: its losses were finite so far")
    failure = run.load_failure()
    clips = "\n".join(
        f"  person {c['person']}, camera {c['camera']}: {', '.join(c['frames'])}"
        for c in failure["clips"]
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / run.folder.name
        shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns("run.lock"))
        try:
            train(config, copy, bar=bar)
        except NumericError as error:
            same = str(error) == failure["error"]
            verdict = "the same as before" if same else f"before it was: {failure['error']}"
            return f"{error}\n{verdict}\nthe clips of this step:\n{clips}"
    return f"this time all losses are finite; step {failure['step']} had failed with\n{clips}"
