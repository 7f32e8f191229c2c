"""A run folder: the one place that knows which files a run has and what is in them.

config.json        what the run computes             environment.json   with which versions
steps.jsonl        losses, one line per step         timing.jsonl       speed, never compared
epochs.jsonl       one line an epoch, with the       metrics.json       the last evaluation
                   metrics where it was evaluated    queries.csv        and what each query found
matrices.jsonl     MMA, at the end of each stage     checkpoints/       see `mmagga.runs.checkpoint`
"""

import json
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmagga import __version__
from mmagga.config import Config, config_hash, differences, from_dict, to_dict
from mmagga.errors import CheckpointError, MmaggaError
from mmagga.runs.records import latest_record, saved_steps
from mmagga.system.files import append_line, sync, write_csv, write_json, write_text

if TYPE_CHECKING:  # imported where they are used: `status` needs neither torch nor pandas
    import pandas as pd
    import torch

    from mmagga.data.tracklets import Tracklets
    from mmagga.model.networks import ClipModel

RUNS = Path("runs")
LOGS = ("steps", "epochs", "matrices", "timing")
"""The logs, each NAME.jsonl: one line a record, each with its \"step\"."""


@dataclass(frozen=True)
class Run:
    """One run folder, being written or read."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser())

    @classmethod
    def of(cls, config: Config, runs: Path = RUNS) -> "Run":
        """Name a run by what it computes: the same configuration, the same folder."""
        return cls(Path(runs) / f"{config.dataset}-{config.model.name}-{config_hash(config)}")

    def require(self, config: Config) -> None:
        """Raise CheckpointError if the folder holds a run of another configuration."""
        path = self.folder / "config.json"
        if path.exists() and config_hash(self.load_config()) != config_hash(config):
            raise CheckpointError(
                f"{self.folder} holds another run: {_difference(self.load_config(), config)}. "
                "Choose another folder, or the configuration it was made with."
            )

    def open(self, config: Config) -> None:
        """Make the folder and write the configuration, where `require` has nothing against it."""
        self.require(config)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", to_dict(config))
        write_json(self.folder / "environment.json", environment())

    def load_config(self) -> Config:
        """Read config.json; MmaggaError if the folder holds no run."""
        path = self.folder / "config.json"
        try:
            return from_dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise MmaggaError(
                f"{self.folder} is not a run folder: {path.name} is missing. "
                "`python -m mmagga status` lists the runs there are."
            ) from None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(
                f"{path} cannot be used ({error}): damaged, or of another version of the kit"
            ) from None

    # --- the log --------------------------------------------------------------------------------

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Add one line to `name`.jsonl, in one write."""
        append_line(self.folder / f"{name}.jsonl", json.dumps(record))

    def read(self, name: str) -> "pd.DataFrame":
        """Return `name`.jsonl ("steps", "epochs", "timing") as a table, see `records`."""
        import pandas as pd

        return pd.DataFrame(self.records(name))

    def tail(self, start: int, stop: int) -> list[dict[str, float]]:
        """Return what the steps after `start` up to `stop` logged, without where they stand."""
        where = ("step", "epoch", "stage")
        lines = [line for line in self.records("steps") if start < line["step"] <= stop]
        return [{k: v for k, v in line.items() if k not in where} for line in lines]

    def rewind(self, step: int, redo: bool = False) -> None:
        """Drop what was logged after `step`: it is about to be computed again.

        With `redo` the record of an epoch that ended at `step` is dropped as well. Warns of steps
        that the checkpoint of `step` has and the log has not.
        """
        for name in LOGS:
            last = step - 1 if redo and name == "epochs" else step
            kept = [line for line in self.records(name) if line["step"] <= last]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_text(self.folder / f"{name}.jsonl", text)
            if name == "steps" and (lost := set(range(1, step + 1)) - {k["step"] for k in kept}):
                warnings.warn(
                    f"{self.folder}/steps.jsonl lacks {len(lost)} of the {step} steps of the "
                    f"checkpoint, the first is {min(lost)}: the log was cut short or restored from "
                    "elsewhere. Weights and results are not affected, curves and means are",
                    stacklevel=2,
                )

    def sync_logs(self) -> None:
        """Flush the logs to the disk, so that they survive whatever a checkpoint survives."""
        for name in LOGS:
            sync(self.folder / f"{name}.jsonl")

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of `name`.jsonl; a torn last line is left out."""
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            return []
        *lines, _torn = path.read_bytes().split(b"\n")
        return [_record(line, f"{path}, line {i}") for i, line in enumerate(lines, 1)]

    # --- results --------------------------------------------------------------------------------

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the result of an evaluation."""
        write_json(self.folder / "metrics.json", metrics)

    def load_metrics(self) -> dict[str, Any]:
        """Read the last evaluation; empty if there was none."""
        kinds = {"step": int, "epoch": int, "mAP": float, "rank-1": float}
        return _read_small(self.folder / "metrics.json", kinds)

    def scored_step(self) -> int:
        """Return the step that was evaluated last; 0 if none was, or its record is damaged."""
        try:
            return self.load_metrics().get("step", 0)
        except CheckpointError:
            return 0

    def load_failure(self) -> dict[str, Any]:
        """Read which batch made the run stop; empty if none did."""
        kinds = {"step": int, "error": str, "clips": list}
        return _read_small(self.folder / "failure.json", kinds)

    def load_environment(self) -> dict[str, Any]:
        """Read with which versions and device the run was made; empty if that is not known."""
        return _read_small(self.folder / "environment.json", {})

    def save_queries(self, per_query: "pd.DataFrame") -> None:
        """Write one row per query of the last evaluation: queries.csv."""
        write_csv(self.folder / "queries.csv", per_query)

    def save_failure(self, record: dict[str, Any]) -> None:
        """Write which batch made the run stop; `mmagga replay` computes it again."""
        write_json(self.folder / "failure.json", record)

    # --- weights --------------------------------------------------------------------------------

    def save_state(self, step: int, state: dict[str, Any], *, keep: int = 2) -> None:
        """Commit a checkpoint; its record has the numbers and words that `state` holds.

        The newest `keep` checkpoints stay in the folder.
        """
        import torch

        from mmagga.runs import checkpoint

        record = {key: value for key, value in state.items() if isinstance(value, int | str)}
        record |= {"config": config_hash(self.load_config())}
        record |= {"torch": torch.__version__, "mmagga": __version__}
        checkpoint.save(self.folder / "checkpoints", step, state, record, keep=keep)

    def load_state(self, device: "str | torch.device" = "cpu") -> dict[str, Any] | None:
        """Load the newest healthy checkpoint; None if there is none."""
        from mmagga.runs import checkpoint

        return checkpoint.load_latest(self.folder / "checkpoints", device)

    def is_of(self, tracklets: "Tracklets") -> bool:
        """Return whether the run was trained on this data set, wherever it lies now.

        Of imported weights the name of the data set decides, since no more is known.
        """
        from mmagga.data.files.index import fingerprints

        config = self.load_config()
        if config.dataset != tracklets.dataset:
            return False
        if config.root.resolve() == tracklets.root.resolve():
            return True
        saved = self.load_state() or {}
        return all(saved.get(k, v) == v for k, v in fingerprints(tracklets).items())

    def result_path(self, stem: str, tracklets: "Tracklets | None", suffix: str = "") -> Path:
        """Name a result in the folder, after the data set and its folder if not the run's own."""
        if tracklets is None or self.is_of(tracklets):
            return self.folder / f"{stem}{suffix}"
        name = tracklets.dataset
        if name == self.load_config().dataset:
            name = f"{name}-{tracklets.root.resolve().name}"
        return self.folder / f"{stem}-{name}{suffix}"

    def load_model(
        self, device: "str | torch.device" = "cpu", partial: bool = False
    ) -> "ClipModel":
        """Build the network with the newest checkpoint's weights, in evaluation mode.

        Raises CheckpointError if they are not all of this network; with `partial` those that fit
        are taken, and a warning says how many.
        """
        return self.load_with_record(device, partial)[0]

    def load_with_record(
        self, device: "str | torch.device" = "cpu", partial: bool = False
    ) -> "tuple[ClipModel, dict[str, Any]]":
        """Do the same, and return the record of the checkpoint that was loaded."""
        from mmagga.model.build import build_model, from_scratch
        from mmagga.runs import checkpoint

        found = checkpoint.load_with_record(self.folder / "checkpoints", device)
        if found is None:
            raise CheckpointError(f"{self.folder} has no checkpoint yet: train it first")
        state, record = found
        model = build_model(from_scratch(self.load_config()), state["num_ids"])
        checkpoint.load_into(model, state["model"], f"the checkpoint of {self.folder}", partial)
        return model.to(device).eval(), record

    def saved_step(self) -> int:
        """Return the number of the newest checkpoint, healthy or not; 0 if there is none."""
        return next(iter(saved_steps(self.folder / "checkpoints")), 0)

    def last_checkpoint(self) -> dict[str, Any] | None:
        """Read the newest checkpoint's record and hash the file: "healthy" says whether they agree.

        None if there is none. Reads the whole checkpoint.
        """
        return latest_record(self.folder / "checkpoints")


def list_runs(runs: Path = RUNS) -> list[Run]:
    """Find the run folders below `runs`, sorted by name."""
    return [Run(path.parent) for path in sorted(Path(runs).glob("*/config.json"))]


def environment() -> dict[str, Any]:
    """Return the versions and the device of this process, as a run records them."""
    import torch
    import torchvision

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _read_small(path: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """Read a file of named values, {} if there is none; values named in `kinds` are of these."""
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("not a list of named values")
        for name, kind in kinds.items():
            allowed = (int, float) if kind is float else (kind,)
            if name in values and not isinstance(values[name], allowed):
                raise ValueError(f"{name} is {values[name]!r}")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): restore it from a copy, or delete it; checkpoints and "
            "logs of the run do not depend on it"
        ) from None
    return values


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            return record
    except (ValueError, RecursionError):
        pass
    raise CheckpointError(f"{where}: damaged, not the JSON that was logged. Restore or delete it")


def _difference(ours: Config, theirs: Config) -> str:
    """Name the settings in which two configurations differ, and compute something else."""
    return "; ".join(
        f"{name} is {'absent' if a is None else a}, not {'absent' if b is None else b}"
        for name, (a, b) in differences(ours, theirs).items()
    )
