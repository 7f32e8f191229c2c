"""Which checkpoints a folder holds, and whether their bytes are whole; needs no torch."""

import json
import re
from pathlib import Path
from typing import Any

from mmagga.system.files import sha256


def latest_record(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint's record, whether it is "healthy", and when it was "saved".

    "saved" is in seconds since 1970. One that is not healthy has its "step" and the reason "why".
    """
    for step in saved_steps(folder)[:1]:
        path = path_of(folder, step)
        try:
            good = {"step": step, "healthy": True, "saved": path.stat().st_mtime}
            return verified_record(path) | good
        except FileNotFoundError as error:
            why = f"DAMAGED ({Path(error.filename).name} is missing)"
        except ValueError as error:
            why = f"DAMAGED ({error})"
        except OSError as error:
            why = f"it cannot be read now ({error.strerror})"
        return {"step": step, "healthy": False, "why": why}
    return None


def saved_steps(folder: Path) -> list[int]:
    """List the numbers of all checkpoints of which anything is there, newest first."""
    names = [re.fullmatch(r"(\d{8})\.(pt|json)", path.name) for path in folder.glob("*")]
    return sorted({int(name[1]) for name in names if name}, reverse=True)


def path_of(folder: Path, step: int) -> Path:
    """Return the file of checkpoint number `step`."""
    return folder / f"{step:08d}.pt"


def verified_record(path: Path) -> dict[str, Any]:
    """Return a checkpoint's record; ValueError or OSError if its bytes are not those of it."""
    beside = path.with_suffix(".json")
    try:
        record = json.loads(beside.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its record {beside.name} is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("sha256") != sha256(path):
        raise ValueError("its bytes are not those that its record was made for")
    return record
