"""The three-stage training loop: one readable function over one state.

Every random draw is a function of (seed, epoch, step), so a run that was killed goes on from its
last checkpoint to the same bytes as one that was not.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmagga.config import Config, StageConfig
from mmagga.data import load_tracklets
from mmagga.data.augment import apply, draw
from mmagga.data.clips import Batch, steps_per_epoch, train_loader, training_labels
from mmagga.data.index import checked
from mmagga.data.tracklets import Tracklets
from mmagga.errors import CheckpointError, MmaggaError, NumericError, Stopped
from mmagga.interrupt import StopRequest
from mmagga.losses import (
    CenterLoss,
    distance_quantiles,
    smoothed_cross_entropy,
    weighted_regularized_triplet,
)
from mmagga.model.build import build_model
from mmagga.progress import progress
from mmagga.randomness import seed_torch
from mmagga.retrieval import Embeddings, Protocol, Scores, embed, evaluate
from mmagga.runs import Run


@dataclass
class State:
    """Everything that a step changes; what a checkpoint holds."""

    model: nn.Module
    centers: CenterLoss
    optimizer: torch.optim.Optimizer
    center_optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps done since the start of the run."""

    def state_dict(self) -> dict[str, Any]:
        """Give plain types and tensors only."""
        parts = ("model", "centers", "optimizer", "center_optimizer")
        return {name: getattr(self, name).state_dict() for name in parts} | {"step": self.step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take the values of `state_dict`, strictly."""
        for name in ("model", "centers", "optimizer", "center_optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.step = saved["step"]


# --- schedule -----------------------------------------------------------------------------------


def stage_of(config: Config, epoch: int) -> tuple[int, int]:
    """Give the number of the stage that `epoch` belongs to, and the epoch within it."""
    for number, stage in enumerate(config.stages):
        if epoch < stage.epochs:
            return number, epoch
        epoch -= stage.epochs
    raise ValueError("the epoch is past the last stage")


def total_epochs(config: Config) -> int:
    """Count the epochs of all stages."""
    return sum(stage.epochs for stage in config.stages)


def learning_rates(config: Config) -> list[float]:
    """Give the learning rate of each epoch: a fresh MultiStepLR (x 0.1) in each stage."""
    rates = []
    for stage in config.stages:
        for epoch in range(stage.epochs):
            rates.append(stage.lr * 0.1 ** sum(m <= epoch for m in config.milestones))
    return rates


def set_trainable(model: nn.Module, what: str) -> list[nn.Parameter]:
    """Freeze everything but `what` ("all", "mma" or "all_but_mma"); give what learns.

    Says the state of every parameter, so the order of calls does not matter (in the authors'
    code one order leaves nothing trainable).
    """
    mma = {id(p) for p in model.mma_parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(what == "all" or (id(parameter) in mma) == (what == "mma"))
    return [p for p in model.parameters() if p.requires_grad]


def make_optimizer(model: nn.Module, stage: StageConfig, config: Config) -> torch.optim.Optimizer:
    """Freeze for `stage` and give its fresh Adam."""
    learning = set_trainable(model, stage.trainable)
    if not learning:
        raise MmaggaError(
            f"a stage trains {stage.trainable!r}, but {config.model.name} with mma="
            f"{config.model.mma!r} has no such parameters: leave that stage out"
        )
    return torch.optim.Adam(learning, lr=stage.lr, weight_decay=config.weight_decay)


# --- one step -----------------------------------------------------------------------------------


def compute_losses(
    state: State, clips: Tensor, labels: Tensor, config: Config
) -> tuple[Tensor, dict[str, float]]:
    """Run clips (B, T, 3, H, W) through the network; give the total loss and what to log of it."""
    output, loss = state.model(clips), config.loss
    parts = {
        "cross_entropy": torch.stack(
            [smoothed_cross_entropy(logits, labels, loss.smoothing) for logits in output.logits]
        ).sum(),
        "center": state.centers(output.feature, labels),
    }
    if loss.triplet != "none":
        parts["triplet"] = weighted_regularized_triplet(output.feature, labels, loss.triplet)
    weights = {"center": loss.center}
    total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    # One transfer for all numbers: each would make the device wait.
    quantiles = distance_quantiles(output.feature.detach())
    numbers = torch.cat([torch.stack([*parts.values(), total]).detach(), quantiles]).tolist()
    names = [*parts, "loss", "distance_5", "distance_50", "distance_95"]
    return total, dict(zip(names, numbers, strict=True))


def train_step(state: State, clips: Tensor, labels: Tensor, config: Config) -> dict[str, float]:
    """Do one optimiser step on normalised clips (B, T, 3, H, W); give the losses.

    Raises NumericError, before anything is changed, if the loss is not finite.
    """
    state.model.train()
    total, log = compute_losses(state, clips, labels, config)
    if not np.isfinite(log["loss"]):
        raise NumericError(
            f"the loss is {log['loss']} at step {state.step}: {log}. The last checkpoint is "
            "healthy; try a smaller learning rate, or loss.triplet=stable"
        )
    state.optimizer.zero_grad(set_to_none=True)
    state.center_optimizer.zero_grad(set_to_none=True)
    total.backward()
    if config.loss.center:
        # The weight of the centre loss must not slow the centres themselves (authors' code).
        state.centers.centers.grad.div_(config.loss.center)
        state.center_optimizer.step()
    state.optimizer.step()
    state.step += 1
    return log


# --- the loop -----------------------------------------------------------------------------------


def resolve_device(name: str) -> torch.device:
    """Turn "auto" into cuda where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def initial_state(config: Config, num_ids: int, device: torch.device) -> State:
    """Build network, centres and the first stage's optimiser from the seed."""
    seed_torch(config.seed, "weights")
    model = build_model(config, num_ids)
    centers = CenterLoss(num_ids, model.head.bnneck.num_features)
    model = model.to(device, memory_format=memory_format(device))
    centers = centers.to(device)
    optimizer = make_optimizer(model, config.stages[0], config)
    center_optimizer = torch.optim.SGD(centers.parameters(), lr=config.loss.center_lr)
    return State(model, centers, optimizer, center_optimizer)


def memory_format(device: torch.device) -> torch.memory_format:
    """Choose channels_last on GPUs alone.

    On CPUs it was no faster, and BatchNorm sums in it with far larger rounding errors.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def initial_model(config: Config, tracklets: Tracklets) -> nn.Module:
    """Give the network as it is before the first step: the yardstick of what training adds."""
    _, num_ids = training_labels(tracklets.split("train"))
    return initial_state(config, num_ids, resolve_device(config.device)).model


def embed_test(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True
) -> tuple[Embeddings, Embeddings]:
    """Embed the query and the gallery tracklets by their dense clips."""
    options = {
        "frames": config.frames,
        "size": (config.height, config.width),
        "batch": config.eval_batch,
        "device": resolve_device(config.device),
        "workers": config.workers,
        "packed": config.packed,
        "progress": bar,
    }
    query, gallery = tracklets.split("query"), tracklets.split("gallery")
    return embed(model, query, **options), embed(model, gallery, **options)


def score(model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True) -> Scores:
    """Evaluate on the test split under the data set's standard protocol."""
    query, gallery = embed_test(model, tracklets, config, bar)
    return evaluate(query, gallery, Protocol.for_tracklets(tracklets))


def train(
    config: Config,
    folder: Path | None = None,
    *,
    tracklets: Tracklets | None = None,
    bar: bool = True,
) -> Run:
    """Train to the end, from the start or from where the run folder stands.

    The folder is by default named after the configuration; a finished run is left as it is.
    Raises DataError, CheckpointError, ResourceError or NumericError, and Stopped when a signal
    asks for it; after each of them the same call goes on from the last checkpoint.
    """
    run = Run(Path(folder)) if folder else Run.of(config)
    if tracklets is None:
        tracklets = checked(load_tracklets(config.dataset, config.root, config.split), progress=bar)
    people = tracklets.split("train")
    _, num_ids = training_labels(people)
    steps, device = steps_per_epoch(people, config), resolve_device(config.device)
    run.open(config)
    state = resume(run, config, num_ids, steps, device)
    rates, end = learning_rates(config), total_epochs(config)
    logs, frames = run.tail(state.step % steps), 0
    saved_at = epoch_at = time.monotonic()

    batches = train_loader(people, config, start=divmod(state.step, steps), stop_epoch=end)
    a_step = config.ids_per_batch * config.clips_per_id * config.frames
    amount = {"total": end * steps * a_step, "initial": state.step * a_step, "unit": "frame"}
    with progress(desc="train", enabled=bar, **amount) as line, StopRequest() as stop:
        for batch in batches:
            stage, within = stage_of(config, batch.epoch)
            if (within, batch.step) == (0, 0):
                state.optimizer = make_optimizer(state.model, config.stages[stage], config)
            for group in state.optimizer.param_groups:
                group["lr"] = rates[batch.epoch]
            seed_torch(config.seed, "dropout", state.step)
            log = train_step(
                state, augmented(batch, config, device), batch.labels.to(device), config
            )
            where = {"step": state.step, "epoch": batch.epoch + 1, "stage": stage + 1}
            logs.append({"lr": rates[batch.epoch]} | log)
            run.append("steps", where | logs[-1])
            frames += a_step
            line.update(a_step)
            line.set_postfix(stage=stage + 1, epoch=batch.epoch + 1, loss=f"{log['loss']:.2f}")

            end_of_epoch = batch.step == steps - 1
            if end_of_epoch:
                seconds = time.monotonic() - epoch_at
                run.append("timing", where | {"frames": frames, "seconds": round(seconds, 3)})
                end_epoch(run, state, config, tracklets, where, logs)
                logs, frames, epoch_at = [], 0, time.monotonic()
            end_of_stage = end_of_epoch and within + 1 == config.stages[stage].epochs
            overdue = time.monotonic() - saved_at > config.checkpoint_every
            if end_of_stage or overdue or stop.requested:
                run.save_state(state.step, state.state_dict() | {"num_ids": num_ids})
                saved_at = time.monotonic()
            if stop.requested and state.step < end * steps:
                raise Stopped(f"stopped at step {state.step} of {end * steps}; run again to go on")
    return run


def resume(run: Run, config: Config, num_ids: int, steps: int, device: torch.device) -> State:
    """Give the state of the newest checkpoint, or the initial one, and rewind the log to it."""
    state = initial_state(config, num_ids, device)
    saved = run.load_state(device)
    if saved is not None:
        if saved["num_ids"] != num_ids:
            raise CheckpointError(
                f"{run.folder} was trained on {saved['num_ids']} identities, the data set has "
                f"{num_ids}: it is not the data of this run"
            )
        # The optimiser is the one of the last step that was done.
        stage, _ = stage_of(config, (saved["step"] - 1) // steps)
        state.optimizer = make_optimizer(state.model, config.stages[stage], config)
        state.load_state_dict(saved)
    run.rewind(state.step)
    return state


def augmented(batch: Batch, config: Config, device: torch.device) -> Tensor:
    """Move a batch to the device and augment it there: (B, T, 3, H, W) float32."""
    b, t, _, h, w = batch.clips.shape
    draws = draw(config.augment, b, t, (h, w), config.seed, batch.epoch, batch.step)
    return apply(batch.clips.to(device, non_blocking=True), draws, config.augment.pad)


def end_epoch(
    run: Run,
    state: State,
    config: Config,
    tracklets: Tracklets,
    where: dict[str, int],
    logs: list[dict[str, float]],
) -> None:
    """Log the epoch's mean losses and, where it is due, evaluate."""
    record = where | {name: float(np.mean([log[name] for log in logs])) for name in logs[0]}
    last = where["epoch"] == total_epochs(config)
    if last or (config.eval_every and where["epoch"] % config.eval_every == 0):
        metrics = score(state.model, tracklets, config).summary()
        run.save_metrics(where | metrics)
        record["metrics"] = metrics
    run.append("epochs", record)
