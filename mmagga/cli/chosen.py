"""What a verb works on: the run, its configuration as the options change it, the result's path."""

import dataclasses
from pathlib import Path
from typing import Any

from mmagga.errors import MmaggaError


def run_folder(run: Path) -> Path:
    """Return a run folder; an authors' checkpoint file is imported first."""
    from mmagga.runs import imported

    folder = imported.run_folder(run)
    if folder != run:
        print(f"imported: {folder}")
    return folder


def run_config(run: Path, dataset: str | None, root: Path | None, device: str) -> Any:
    """Return a run's configuration, with another data set, data folder or device."""
    from mmagga.system.device import resolve_device

    resolve_device(device)  # before any work
    from mmagga.data import find_reader
    from mmagga.runs.run import Run

    config = Run(run).load_config()
    if dataset is not None:
        find_reader(dataset)
    if dataset not in (None, config.dataset) and root is None:
        raise MmaggaError(f"--dataset {dataset} is not what {run} was trained on: give --root too")
    packed = config.packed if dataset is root is None else None  # the pack is of the run's data
    return dataclasses.replace(
        config,
        dataset=dataset or config.dataset,
        root=root or config.root,
        device=device,
        packed=packed,
    )
