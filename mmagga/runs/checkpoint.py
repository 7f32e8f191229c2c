"""Checkpoints: plain types and tensors, committed so that a kill at any moment leaves a good one.

A checkpoint is `<step>.pt`, and `<step>.json` with the hash of its bytes. The record is written
first, so renaming the `.pt` is the moment from which a checkpoint counts. The newest whose hash
verifies is the one to load; the one before it is kept.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from mmagga.errors import CheckpointError, NumericError
from mmagga.runs.records import path_of, saved_steps, verified_record
from mmagga.system.files import commit, write_json
from mmagga.system.shortage import first_line, shortage

KEEP = 2
_SHOWN = 5


# --- writing ------------------------------------------------------------------------------------


def save(
    folder: Path, step: int, state: dict[str, Any], record: dict[str, Any], *, keep: int = KEEP
) -> Path:
    """Write `state` as checkpoint number `step`; `record` (JSON) is stored beside it.

    Of those before it the newest stay, `keep` checkpoints in all.

    What was there before stays as it was until the new one is whole. Raises NumericError if a
    tensor is not finite, ResourceError if the disk is full, CheckpointError if `state` holds more
    than tensors and plain types.
    """
    non_finite = [name for name, tensor in _tensors(state) if not torch.isfinite(tensor).all()]
    if non_finite:
        raise NumericError(
            f"checkpoint {step} was not saved: {_some(non_finite)} contain NaN or infinity. The "
            "checkpoints before it are unchanged"
        )
    path = path_of(folder, step)
    for number in saved_steps(folder):  # what a killed save left: a record alone
        if not path_of(folder, number).exists():
            path_of(folder, number).with_suffix(".json").unlink()

    def write(file: BinaryIO) -> None:
        hashed = _Hashing(file)
        torch.save(state, hashed)  # type: ignore[arg-type]
        file.flush()
        _check_readable(Path(file.name))
        found = {"step": step, "sha256": hashed.hash.hexdigest(), "bytes": file.tell()}
        write_json(path.with_suffix(".json"), record | found)

    commit(path, write, need=sum(t.numel() * t.element_size() for _, t in _tensors(state)))
    kept = [number for number in saved_steps(folder) if number <= step][:keep]
    for number in set(saved_steps(folder)) - set(kept):
        for suffix in (".pt", ".json"):
            path_of(folder, number).with_suffix(suffix).unlink(missing_ok=True)
    return path


class _Hashing:
    """A file that hashes the data before they reach the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _check_readable(path: Path) -> None:
    """Read a file back without its tensors' values: it must hold plain types only."""
    try:
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"not saved: more than tensors and plain types ({error})") from None


def _tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """List the tensors of nested containers with their dotted names."""
    if isinstance(value, Tensor):
        return [(name, value)]
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    items = value.items() if isinstance(value, Mapping) else ()
    return [pair for key, item in items for pair in _tensors(item, f"{name}.{key}".strip("."))]


# --- reading ------------------------------------------------------------------------------------


def load_latest(folder: Path, device: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Load the newest checkpoint whose hash verifies, see `load_with_record`."""
    found = load_with_record(folder, device)
    return None if found is None else found[0]


def load_with_record(
    folder: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Load the newest checkpoint whose hash verifies, and its record; None if none was saved.

    A damaged one is named in a warning and the one before it is taken. A single record without its
    checkpoint is not damage: a first save was killed.

    Raises:
        CheckpointError: all are damaged (a damaged run is never restarted automatically), or one
            cannot be read for another reason.
        ResourceError: there is not enough memory, too many files are open, or the disk fails.
    """
    damaged = []
    steps = saved_steps(folder)
    for step in steps:
        path = path_of(folder, step)
        try:
            record = verified_record(path)
        except FileNotFoundError as error:
            lost = Path(error.filename).name
            damaged.append(f"{path} ({lost} is missing: the save was cut short, or it was lost)")
            continue
        except ValueError as error:
            damaged.append(f"{path} ({error})")
            continue
        except OSError as error:
            raise shortage(error) or CheckpointError(
                f"{error.filename} cannot be read ({error.strerror}): the file may be intact; make "
                "it readable and run the same command again"
            ) from error
        state = _load(path, record, device)
        if damaged:
            warnings.warn(f"damaged checkpoint skipped: {'; '.join(damaged)}", stacklevel=3)
        return state, record
    if len(steps) == 1 and not path_of(folder, steps[0]).exists():
        warnings.warn(f"the first save was cut short: {damaged[0]}", stacklevel=3)
    elif damaged:
        raise CheckpointError(
            f"no readable checkpoint: {'; '.join(damaged)}. Restore one from a copy, or delete the "
            "run folder to start afresh."
        )
    return None


def _load(path: Path, record: dict[str, Any], device: str | torch.device) -> dict[str, Any]:
    """Load a file whose hash is right: what fails now is not the file."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, MemoryError, RuntimeError, UnpicklingError) as error:
        raise shortage(error) or CheckpointError(
            f"{path} is what was saved, for its hash is right, but torch {torch.__version__} "
            f"cannot load it onto {device} ({first_line(error)}). It was written with "
            f"torch {record.get('torch', '?')}"
        ) from error


# --- into a network -----------------------------------------------------------------------------


def load_into(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, partial: bool = False
) -> None:
    """Copy `tensors`, a state dict, into a network of the same names and shapes.

    `what` says in messages where they are from. Raises CheckpointError with a list of what is
    missing, unexpected or of another shape; with `partial` the rest is taken, and a warning says
    how much that is. Nothing is changed if it is refused.
    """
    own = module.state_dict()
    shapes = [
        f"{name} {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": shapes,
    }
    told = "; ".join(
        f"{len(names)} {kind}: {_some(names)}" for kind, names in faults.items() if names
    )
    fitting = {
        name: tensor
        for name, tensor in tensors.items()
        if name in own and own[name].shape == tensor.shape
    }
    if told and not (partial and fitting):
        raise CheckpointError(f"{what} does not fit this network of {len(own)} tensors: {told}")
    if told:
        warnings.warn(f"partial: {len(fitting)} of {len(own)} tensors ({told})", stacklevel=2)
    module.load_state_dict(fitting, strict=not told)


def _some(names: list[str]) -> str:
    """Name the first few."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
