"""What a run prints and writes while it trains: log, progress, live view, checkpoints.

Only the first of several processes records; in the others every call does nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mmagga.config import stage_of
from mmagga.data.clips import Batch
from mmagga.data.tracklets import Tracklets
from mmagga.errors import MmaggaError
from mmagga.model.networks import ClipModel
from mmagga.retrieval import Protocol, Scores
from mmagga.runs.health import warning
from mmagga.runs.run import Run
from mmagga.system.device import precision
from mmagga.system.progress import progress
from mmagga.training.plan import Plan
from mmagga.training.state import TrainState

_SETTLED = 10
"""Steps after which the speed is worth a forecast."""
_WATCH_EVERY = 3.0
"""Seconds between two calls of `watch`."""


class Recorder:
    """Writes the run's logs and checkpoints, and prints its progress."""

    def __init__(
        self, plan: Plan, bar: bool = True, watch: Callable[[Run], object] | None = None
    ) -> None:
        self.plan, self.run, self.config, self.here = plan, plan.run, plan.config, plan.here
        self.bar = bar and self.here.first
        self.watch = watch
        self.warned = False
        if self.config.tensorboard and self.here.first:
            _summary_writer()  # before anything is written

    @contextmanager
    def begin(self, step: int, redo: bool = False) -> Iterator[None]:
        """Print what is about to happen, and show it while it does.

        With `redo` the record of the epoch that ended at `step` is still to be written.
        """
        config, steps, total = self.config, self.plan.steps, self.plan.total
        self.where = self._where(step, max(step - 1, 0) // steps)
        self.frames = config.ids_per_batch * config.clips_per_id * config.frames
        # The steps of an epoch that was under way, so that its means are over all of it.
        within = step % steps or (steps if redo else 0)
        self.logs = self.run.tail(step - within, step) if self.here.first else []
        self.done = self.done_in_epoch = 0
        self.begun = self.saved_at = self.epoch_at = self.watched_at = time.monotonic()
        self.board = _board(self.run, step) if config.tensorboard and self.here.first else None
        if self.bar and step < total:
            print(introduction(self.plan, step))
        line = progress(
            desc="train", enabled=self.bar, unit="frame",
            total=total * self.frames, initial=step * self.frames,
        )  # fmt: skip
        try:
            with line as self.line:
                yield
        finally:
            if self.board:
                self.board.close()

    def step(self, step: int, epoch: int, log: dict[str, float]) -> None:
        """Log one step."""
        if not self.here.first:
            return
        self.where = self._where(step, epoch)
        self.logs.append(log)
        self.run.append("steps", self.where | log)
        self.stepped_at = time.monotonic()
        self.done += 1
        self.done_in_epoch += 1
        self.line.update(self.frames)
        where = {name: self.where[name] for name in ("stage", "epoch")}
        self.line.set_postfix(**where, loss=f"{log['loss']:.2f}")
        if self.bar and self.done == _SETTLED and step < self.plan.total:
            rate = self.done / (self.stepped_at - self.begun)
            left = _duration((self.plan.total - step) / rate)
            self.line.write(f"{rate * self.frames:.0f} frames/s: about {left} to go, and tests")
        if self.board:
            for name, value in log.items():
                self.board.add_scalar(f"train/{name}", value, step)
        self._look(_WATCH_EVERY)

    def epoch(self, scores: Scores | None, health: dict[str, Any]) -> None:
        """Log the epoch's speed, mean losses and health, and its evaluation if there was one."""
        if not self.here.first:
            return
        if self.done_in_epoch:  # else another process did its steps, and stopped after them
            seconds = self.stepped_at - self.epoch_at  # without the evaluation
            speed = {"frames": self.done_in_epoch * self.frames, "seconds": round(seconds, 3)}
            if torch.cuda.is_available():
                speed["peak_bytes"] = torch.cuda.max_memory_allocated()
            self.run.append("timing", self.where | speed)
        record: dict[str, Any] = self.where | {
            name: float(np.mean([log[name] for log in self.logs]))
            for name in (self.logs[0] if self.logs else ())
        }
        record["health"] = health
        if self.bar and (said := warning(health["dead"])) and not self.warned:
            self.line.write(said)
            self.warned = True
        if scores is not None:
            record["metrics"] = metrics = scores.summary()
            self.run.save_queries(scores.per_query)
            self.run.save_metrics(self.where | metrics)
            if self.board:
                for name in ("mAP", "rank-1", "mINP"):
                    self.board.add_scalar(f"test/{name}", metrics[name], self.where["step"])
        self.run.append("epochs", record)
        if scores is not None:
            self.run.sync_logs()
        self.logs, self.done_in_epoch, self.epoch_at = [], 0, time.monotonic()
        self._look(0)

    def matrices(self, model: ClipModel) -> None:
        """Record the MMA matrices at the end of a stage."""
        if self.here.first and model.mma_parameters():
            found = {name: mma.matrix.tolist() for name, mma in model.head.mma.items()}  # type: ignore[operator]
            self.run.append("matrices", self.where | {"matrices": found})

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint is too old."""
        return time.monotonic() - self.saved_at > self.config.checkpoint_every

    def save(self, state: TrainState) -> None:
        """Commit a checkpoint, with the facts of what it belongs to, after the log of its steps.

        That of a finished run holds the weights alone, and those before it are deleted, unless
        `keep_optimizer` is set.
        """
        if self.here.first:
            self.run.sync_logs()
            slim = state.step == self.plan.total and not self.config.keep_optimizer
            parts = state.state_dict(optimizers=not slim) | self.plan.facts | self.where
            self.run.save_state(state.step, parts, keep=1 if slim else 2)
            self.saved_at = time.monotonic()

    def failure(self, step: int, batch: Batch, people: Tracklets, error: Exception) -> None:
        """Store which frames of which tracklets made `error`."""
        if not self.here.first:
            return
        rows = batch.rows.tolist()
        clips = [
            {"person": int(people.pids[row]), "camera": int(people.camids[row]), "tracklet": row}
            for row in rows
        ]
        for clip, row, frames in zip(clips, rows, batch.frames.tolist()):
            clip["frames"] = [people.frames(row)[f].name for f in frames]
        self.run.save_failure({"step": step, "error": str(error), "clips": clips})

    def _where(self, step: int, epoch: int) -> dict[str, int]:
        """Number step, epoch and stage from 1, as the logs do."""
        return {"step": step, "epoch": epoch + 1, "stage": stage_of(self.config, epoch)[0] + 1}

    def _look(self, after: float) -> None:
        if self.watch and time.monotonic() - self.watched_at >= after:
            self.watch(self.run)
            self.watched_at = time.monotonic()


def introduction(plan: Plan, step: int) -> str:
    """Describe in four lines what a run will do from `step` on, with what, and where."""
    config, tracklets, here, device = plan.config, plan.tracklets, plan.here, plan.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    people, tests = plan.people, len(tracklets) - len(plan.people)
    protocol = Protocol.for_tracklets(tracklets) if tests else None
    stages = " + ".join(str(stage.epochs) for stage in config.stages)
    return "\n".join(
        [
            f"{'resume' if step else 'train'}: {config.model.name}, {config.model.backbone}, "
            f"{config.frames} frames of {config.height}x{config.width}, seed {config.seed}",
            f"data:  {config.dataset}, {len(np.unique(people.pids))} persons in {len(people)} "
            f"training tracklets; tested under protocol {protocol.name if protocol else '-'} on "
            f"{tests} others",
            f"steps: {step} of {plan.total}, {stages} epochs; on {here.size} x {name}, "
            f"{precision(config.hardware, device)}"
            f"{', deterministic' if device.type == 'cpu' or config.hardware.deterministic else ''}",
            f"run:   {plan.run.folder}",
        ]
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _board(run: Run, step: int) -> Any:
    return _summary_writer()(run.folder / "tensorboard", purge_step=step + 1)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MmaggaError(
            "tensorboard=True, but TensorBoard is not installed: pip install 'tensorboard>=2.21'"
        ) from None
    return SummaryWriter
