"""What a run trains on, and the state from which it resumes."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch

from mmagga.config import Config, science, stage_of, total_epochs
from mmagga.data.clips import steps_per_epoch, training_labels
from mmagga.data.files.index import fingerprints
from mmagga.data.tracklets import Tracklets
from mmagga.errors import CheckpointError
from mmagga.model.build import from_scratch
from mmagga.model.fast import prepare
from mmagga.runs.run import Run
from mmagga.system.distributed import World, synchronise_batchnorm
from mmagga.training.state import TrainState, initial_state, make_optimizer


@dataclass(frozen=True)
class Plan:
    """A run, its configuration and data, and the process and device that train it."""

    run: Run
    config: Config
    tracklets: Tracklets
    here: World
    device: torch.device
    stop_at: int | None = None
    """Stop when so many steps are done."""

    @cached_property
    def people(self) -> Tracklets:
        """The training tracklets."""
        return self.tracklets.split("train")

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self.people, self.config)

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return total_epochs(self.config)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps

    @cached_property
    def share(self) -> slice:
        """The clips of each batch that this process embeds."""
        return self.here.share(self.config.ids_per_batch * self.config.clips_per_id)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint belongs to; training goes on only from one with the same."""
        _, num_ids = training_labels(self.people)
        facts = {"num_ids": num_ids, "processes": self.here.size, "config": science(self.config)}
        return facts | fingerprints(self.tracklets)

    def evaluates_after(self, epoch: int) -> bool:
        """Return whether `epoch`, counted from 1, ends with an evaluation."""
        config = self.config
        if not config.eval_every:
            return epoch == self.epochs
        ends = accumulate(stage.epochs for stage in config.stages)
        return epoch % config.eval_every == 0 or epoch in ends

    def lacks_record(self, step: int) -> bool:
        """Return whether the checkpoint of `step` ends an epoch that has no record or no score.

        The checkpoint is committed first, so a kill may come between the two.
        """
        if step == 0 or step % self.steps:
            return False
        epochs = self.run.read("epochs")
        recorded = not epochs.empty and bool((epochs["step"] == step).any())
        unscored = self.evaluates_after(step // self.steps) and self.run.scored_step() != step
        return not recorded or unscored


def resume(plan: Plan) -> TrainState:
    """Return the state of the newest checkpoint, or the initial one; writes nothing.

    Raises CheckpointError where the checkpoint is of other data or cannot be trained on.
    """
    config, saved = plan.config, plan.run.load_state(plan.device)
    start = config if saved is None else from_scratch(config)
    state = initial_state(start, plan.facts["num_ids"], plan.device)
    if saved is not None:
        _check(plan, saved)
        # The optimiser is the one of the last step that was done.
        stage, _ = stage_of(config, (saved["step"] - 1) // plan.steps)
        state.optimizer = make_optimizer(state.model, config.stages[stage], config)
        state.load_state_dict(saved)
    prepare(state.model, config.hardware)
    if config.hardware.sync_batchnorm:
        synchronise_batchnorm(state.model)
    return state


def _check(plan: Plan, saved: dict[str, Any]) -> None:
    """Raise CheckpointError unless training can go on from what was saved."""
    folder, processes = plan.run.folder, plan.here.size
    finished = saved["step"] == plan.total
    needed = ("data", "split", "processes", *(() if finished else ("optimizer",)))
    lacking = [name for name in needed if name not in saved]
    if lacking:
        raise CheckpointError(
            f"the checkpoint of {folder} lacks {', '.join(lacking)}: an older version "
            "wrote it. It can be evaluated, not trained on: take another folder"
        )
    for name, what in (("num_ids", "identities"), ("data", "frames"), ("split", "split")):
        if saved[name] != plan.facts[name]:
            raise CheckpointError(
                f"{folder} was trained on other {what} ({saved[name]}) than the data set "
                f"now has ({plan.facts[name]}): choose another folder, or restore the data"
            )
    if plan.here.first and saved["processes"] != processes:
        print(
            f"The checkpoint was written by {saved['processes']} processes, now there are "
            f"{processes}: batches are the same, rounding and local BatchNorm are not."
        )
