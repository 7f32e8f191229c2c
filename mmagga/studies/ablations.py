"""Run the missing runs of an ablation, and evaluate its finished ones.

A cell is a row of a grid at one seed and split: a run with a folder of its own, named by what it
computes. So nothing is run twice, and any number of processes may work on one grid.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmagga.cli.flags import command
from mmagga.config import Config, check_settings, total_epochs
from mmagga.data import load_for
from mmagga.errors import DataError, MmaggaError, ResourceError, Stopped
from mmagga.model.build import build_model, from_scratch
from mmagga.retrieval.metrics import score
from mmagga.runs.run import RUNS, Run
from mmagga.studies.grids import Grid, changed
from mmagga.system.files import read_csv
from mmagga.system.progress import progress
from mmagga.training.loop import train

SAME = 0.005
"""Two evaluations of one network on one set differ by less in mAP, whatever the device rounds."""


@dataclass(frozen=True)
class Cell:
    """One row of a grid at one seed and split."""

    label: str
    config: Config
    run: Run

    def logged_epochs(self) -> int:
        """Count the epochs whose end is in the log."""
        epochs = self.run.read("epochs")
        return 0 if epochs.empty else int(epochs["epoch"].max())

    def is_done(self) -> bool:
        """Return whether the last epoch was evaluated, at the step that is saved."""
        metrics = self.run.load_metrics()
        last = metrics.get("epoch") == total_epochs(self.config)
        return last and self.run.saved_step() == metrics.get("step")

    def require_same_data(self) -> None:
        """Raise MmaggaError if a finished run is of other data; its name does not say which.

        A run that is not finished compares the data itself when it goes on.
        """
        config, folder = self.config, self.run.folder
        if not self.is_done() or self.run.load_config().root.resolve() == config.root.resolve():
            return
        tracklets = load_for(config, progress=False)
        if not self.run.is_of(tracklets):
            raise MmaggaError(
                f"{folder} is of the data in {self.run.load_config().root}, which differ from "
                f"those in {config.root}: give the runs of each data set their own --runs folder"
            )

    def state(self) -> str:
        """Return "done", "to resume" or "to do"."""
        begun = (self.run.folder / "config.json").exists()
        return "done" if self.is_done() else "to resume" if begun else "to do"

    @property
    def queries(self) -> Path:
        """The file with one row per query."""
        return self.run.folder / "queries.csv"

    def is_evaluated(self) -> bool:
        """Return whether `queries` holds this run's last evaluation."""
        if not (self.is_done() and self.queries.exists()):
            return False
        found = read_csv(self.queries, ["average_precision"])["average_precision"].mean()
        return abs(found - self.run.load_metrics()["mAP"]) < SAME

    @property
    def command(self) -> str:
        """The command line that does this run and no other."""
        return shlex.join(["python", "-m", "mmagga", *self.words])

    @property
    def words(self) -> list[str]:
        """The words of it after `mmagga`."""
        return command(self.config, self.run.folder.parent)


def cells(
    grid: Grid,
    base: Config,
    seeds: Sequence[int] = (0,),
    *,
    splits: Sequence[int] = (0,),
    runs: Path = RUNS,
) -> list[Cell]:
    """List the runs of a grid, all rows of a seed before the next: a cut-off study stays whole.

    Raises SettingError for a seed, split or setting that is out of range.
    """
    found = [
        Cell(label, config, Run.of(config, runs))
        for split in splits
        for seed in seeds
        for label, changes in grid.rows.items()
        for config in [replace(changed(base, changes), seed=seed, split=split)]
    ]
    for cell in found:
        check_settings(cell.config)
    return found


def plan(cells: Sequence[Cell]) -> pd.DataFrame:
    """Show every cell's state, and the minutes it will take at the pace of those that ran.

    Minutes are NaN as long as nothing ran; they are for the same device under the same load.
    """
    paces = [pace for cell in cells if (pace := _pace(cell)) is not None]
    pace = float(np.median(paces)) if paces else np.nan
    rows = []
    for cell in cells:
        total = total_epochs(cell.config)
        epochs = total if cell.is_done() else cell.logged_epochs()
        rows.append(
            {"row": cell.label, "seed": cell.config.seed, "split": cell.config.split,
             "state": cell.state(), "epochs": f"{epochs}/{total}",
             "minutes": (total - epochs) * cell.config.frames * pace / 60,
             "run": cell.run.folder.name}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _pace(cell: Cell) -> float | None:
    """Seconds of training for an epoch and frame of a clip; None where none is finished."""
    timing = cell.run.read("timing")
    return None if timing.empty else timing["seconds"].mean() / cell.config.frames


# --- running ------------------------------------------------------------------------------------


def ablate(cells: Sequence[Cell], devices: Sequence[str] = (), *, bar: bool = True) -> list[str]:
    """Train and evaluate what is missing; return a line for each run that failed.

    Each of `devices` (values of CUDA_VISIBLE_DEVICES) is kept busy by one process; without any the
    runs follow one another here. What another process holds, and what diverged, is named and
    passed over. Raises DataError, ResourceError and Stopped as `train` does; the same call goes on
    after each of them, and MmaggaError where a finished run is of other data.
    """
    for cell in cells:
        cell.require_same_data()
    missing = list({cell.run.folder: cell for cell in cells if not cell.is_done()}.values())
    if devices:
        notes = _train_on(devices, missing, bar)
    else:
        notes = [note for cell in missing if (note := _train_here(cell, bar))]
    for cell in cells:
        if cell.is_done() and not cell.is_evaluated():
            evaluate_run(cell, bar)
    return notes


def _train_here(cell: Cell, bar: bool) -> str | None:
    if bar:
        print(f"{cell.label}:", flush=True)
    try:
        train(cell.config, cell.run.folder, bar=bar)
    except (DataError, ResourceError, Stopped):
        raise
    except MmaggaError as error:
        return f"{cell.run.folder}: {error}"
    return None


def _train_on(devices: Sequence[str], missing: Sequence[Cell], bar: bool) -> list[str]:
    """Train each cell by its command line, as many at once as there are devices."""
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices:
        free.put(device)

    def one(cell: Cell) -> str | None:
        device = free.get()
        try:
            environment = os.environ | {"CUDA_VISIBLE_DEVICES": device}
            words = [sys.executable, "-m", "mmagga", *cell.words]
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
        finally:
            free.put(device)
        last = done.stderr.strip().splitlines()[-1:]
        return f"{cell.run.folder}: {''.join(last)}" if done.returncode else None

    with ThreadPoolExecutor(len(devices)) as pool:
        line = progress(pool.map(one, missing), enabled=bar, total=len(missing), unit="run")
        return [note for note in line if note]


def evaluate_run(cell: Cell, bar: bool = True) -> None:
    """Evaluate a finished run and write its table of queries.

    Raises MmaggaError if this is not what the run found itself: then the data are not the run's.
    """
    config, metrics = cell.config, cell.run.load_metrics()
    tracklets = load_for(config, progress=bar)
    scores = score(cell.run.load_model(), tracklets, config, bar)
    if scores.queries != metrics["queries"] or abs(scores.mAP - metrics["mAP"]) >= SAME:
        raise MmaggaError(
            f"{cell.run.folder} found mAP {metrics['mAP']:.1%} on {metrics['queries']} queries; "
            f"on {config.root} it has {scores.mAP:.1%} on {scores.queries}. The run is of another "
            "data set: give its --root, or another --runs for this one"
        )
    cell.run.save_queries(scores.per_query)


def cost(config: Config) -> tuple[int, float]:
    """Count the parameters, and 10⁹ floating-point operations to embed one clip.

    A multiplication and an addition are two operations. The classifiers, which grow with the
    number of training persons and are not used in retrieval, are not counted.
    """
    model = from_scratch(config).model
    return _cost(
        Config(frames=config.frames, height=config.height, width=config.width, model=model)
    )


@cache
def _cost(config: Config) -> tuple[int, float]:
    with torch.random.fork_rng():
        model = build_model(config, num_ids=1).eval()
    clip = torch.zeros(1, config.frames, 3, config.height, config.width)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(clip)
    parameters = sum(p.numel() for n, p in model.named_parameters() if "classifier" not in n)
    return parameters, counter.get_total_flops() / 1e9


def carry_out(
    cells: Sequence[Cell],
    devices: Sequence[str] = (),
    *,
    dry_run: bool = False,
    commands: bool = False,
) -> list[str]:
    """Print the plan, or with `commands` the command line of each missing run, and `ablate`."""
    if commands:
        print(*dict.fromkeys(cell.command for cell in cells if not cell.is_done()), sep="\n")
        return []
    table = plan(cells)
    print(table.to_string(index=False, float_format="{:.0f}".format, na_rep="?"))
    print(f"{(table['state'] == 'done').sum()} of {len(table)} are done", flush=True)
    gpus = visible_gpus()
    return [] if dry_run else ablate(cells, devices or (gpus if len(gpus) > 1 else ()))


def visible_gpus() -> list[str]:
    """List the GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(i) for i in range(count)]
