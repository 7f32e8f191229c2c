"""Checkpoints: plain types and tensors, committed so that a kill at any moment leaves a good one.

A checkpoint is `<step>.pt` and then `<step>.json`, its commit record, which holds the hash of the
first. The newest record whose hash verifies is the one to load; the one before it is kept.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from mmagga.errors import CheckpointError
from mmagga.files import commit, sha256, write_json

KEEP = 2


def save(folder: Path, step: int, state: dict[str, Any], record: dict[str, Any]) -> Path:
    """Write `state` as checkpoint number `step`; `record` (JSON) is stored beside it.

    Raises ResourceError if the disk is full; what was there before stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:08d}.pt"
    commit(path, lambda file: torch.save(state, file), need=_size(state))
    write_json(
        path.with_suffix(".json"),
        record | {"step": step, "sha256": sha256(path), "bytes": path.stat().st_size},
    )
    for old in _records(folder)[KEEP:]:
        old.unlink()
        old.with_suffix(".pt").unlink(missing_ok=True)
    return path


def _size(state: Any) -> int:
    """Count the bytes of all tensors in nested containers."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(_size, state.values()))
    return sum(map(_size, state)) if isinstance(state, list | tuple) else 0


def _records(folder: Path) -> list[Path]:
    """List commit records, newest first."""
    found = [p for p in folder.glob("*.json") if re.fullmatch(r"\d{8}\.json", p.name)]
    return sorted(found, reverse=True)


def load_latest(folder: Path, device: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Load the newest checkpoint whose hash verifies; None if the folder has none.

    A damaged one is named in a warning and the one before it is taken. Raises CheckpointError
    if all are damaged: a run never starts afresh by itself over a broken one.
    """
    damaged = []
    for record_path in _records(folder):
        path = record_path.with_suffix(".pt")
        try:
            record = json.loads(record_path.read_text())
            if sha256(path) != record["sha256"]:
                raise ValueError("its bytes are not those that were written")
            state = torch.load(path, map_location=device, weights_only=True)
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{path} ({error})")
            continue
        if damaged:
            warnings.warn(f"damaged checkpoint skipped: {'; '.join(damaged)}", stacklevel=2)
        return state
    if damaged:
        raise CheckpointError(
            f"no readable checkpoint: {'; '.join(damaged)}. Restore one, or delete the run folder "
            "to start afresh."
        )
    return None
