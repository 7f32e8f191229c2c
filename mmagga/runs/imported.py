"""Weights from elsewhere as a run folder, which every verb and notebook takes."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from mmagga.config import PAPER
from mmagga.errors import CheckpointError
from mmagga.runs.run import RUNS, Run
from mmagga.system.files import sha256

_DATASET_OF = {625: "mars", 150: "ilids_vid", 89: "prid2011", 702: "duke_video"}
"""Data set by the number of its training identities."""


def import_official(source: str | Path, folder: str | Path) -> Run:
    """Write an authors' checkpoint as a run folder: configuration and weights, without a log.

    Args:
        source: the authors' .pth.tar file, or a file of its state dict alone. Its code is not run.
        folder: run folder to make.

    Returns:
        The run. Its configuration is the paper's, with the data set that has as many training
        identities as the classifiers have (else MARS), in data/NAME.

    Raises:
        CheckpointError: the file is not such a checkpoint, see `mmagga.model.load_official`, or
            the folder holds a run already.
    """
    from mmagga.model.networks import MMAGGA
    from mmagga.model.official import load_official

    source, run = Path(source), Run(Path(folder))
    if run.saved_step():
        raise CheckpointError(f"{folder} holds a run already: choose another folder")
    model = load_official(source)
    num_ids = model.head.num_ids
    kind: Literal["mmagga", "baseline"] = "mmagga" if isinstance(model, MMAGGA) else "baseline"
    dataset = _DATASET_OF.get(num_ids, PAPER.dataset)
    run.open(
        replace(
            PAPER,
            dataset=dataset,
            root=Path("data") / dataset,
            frames=model.head.frames if isinstance(model, MMAGGA) else PAPER.frames,
            model=replace(PAPER.model, name=kind, weights=None),
        )
    )
    state = {"step": 1, "num_ids": num_ids, "model": model.state_dict()}
    run.save_state(1, state | {"origin": f"imported from {source.name}"})
    return run


def run_folder(path: Path, runs: Path = RUNS) -> Path:
    """Return `path` where it is a run folder; import it into `runs` where it is a file.

    The folder is named after the file's content, so that a file is imported once.
    """
    if not path.is_file():
        return path
    folder = runs / f"imported-{sha256(path)[:12]}"
    if not Run(folder).saved_step():
        import_official(path, folder)
    return folder
