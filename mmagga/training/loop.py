"""The three-stage training loop: one readable function over one state.

Every random draw is a function of (seed, epoch, step), so a run that was killed resumes from its
last checkpoint and gives a bit-identical result.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmagga.config import (
    AugmentConfig,
    Config,
    check_settings,
    learning_rates,
    stage_of,
    warmup_factor,
)
from mmagga.data import find_reader, load_checked
from mmagga.data.augment import Draws, apply, draw
from mmagga.data.clips import Batch, train_loader
from mmagga.data.files.index import checked
from mmagga.data.tracklets import Tracklets
from mmagga.data.workers import reading
from mmagga.errors import DataError, NumericError, ResourceError, Stopped
from mmagga.losses import distance_quantiles, smoothed_cross_entropy, weighted_regularized_triplet
from mmagga.randomness import seed_torch
from mmagga.retrieval import Scores
from mmagga.retrieval.metrics import score
from mmagga.runs.lock import RunLock
from mmagga.runs.run import Run
from mmagga.system.device import autocast, resolve_device, settings
from mmagga.system.distributed import (
    any_of,
    from_first,
    gather,
    processes,
    share_statistics,
    sum_gradients,
    world,
)
from mmagga.system.interrupt import StopRequest
from mmagga.system.shortage import out_of_memory, shortage
from mmagga.training.health import health
from mmagga.training.plan import Plan, resume
from mmagga.training.recorder import Recorder
from mmagga.training.state import TrainState, make_optimizer

# --- one step -----------------------------------------------------------------------------------


def compute_losses(
    state: TrainState, clips: Tensor, labels: Tensor, config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run this process's clips through the network; give the whole batch's loss and its parts.

    `clips` (B / processes, T, 3, H, W), `labels` (B,).
    """
    with autocast(config.hardware, clips.device):
        output = state.model(clips)
    feature = gather(output.feature)  # (B, D)
    loss = config.loss
    parts = {
        "cross_entropy": torch.stack(
            [
                smoothed_cross_entropy(gather(logits), labels, loss.smoothing)
                for logits in output.logits
            ]
        ).sum(),
        "center": state.centers(feature, labels),
    }
    if loss.triplet != "none":
        parts["triplet"] = weighted_regularized_triplet(feature, labels, loss.triplet)
    weights = {"center": loss.center}
    total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    quantiles = distance_quantiles(feature.detach())
    names = ("distance_5", "distance_50", "distance_95")
    return total, parts | {"loss": total} | dict(zip(names, quantiles, strict=True))


def train_step(
    state: TrainState, clips: Tensor, labels: Tensor, config: Config
) -> dict[str, float]:
    """Do one optimiser step on normalised clips (B / processes, T, 3, H, W); give the losses.

    `labels` (B,) are those of the whole batch. Raises NumericError, before any weight is changed,
    if the loss or the gradient is not finite.
    """
    state.model.train()
    total, values = compute_losses(state, clips, labels, config)
    state.optimizer.zero_grad(set_to_none=True)
    state.center_optimizer.zero_grad(set_to_none=True)
    total.backward()
    learning = [p for group in state.optimizer.param_groups for p in group["params"]]
    sum_gradients(learning)
    values["gradient"] = torch.nn.utils.get_total_norm(
        [p.grad for p in learning if p.grad is not None]
    )
    # One transfer for all numbers: each would make the device wait.
    numbers = torch.stack([value.detach() for value in values.values()]).tolist()
    log = dict(zip(values, numbers, strict=True))
    if not math.isfinite(log["loss"] + log["gradient"]):
        raise NumericError(
            f"the loss is {log['loss']} and the gradient's norm {log['gradient']} at step "
            f"{state.step}: {log}. The last checkpoint is healthy; try a smaller learning rate, "
            "or loss.triplet=stable"
        )
    if config.loss.center:
        # The weight of the centre loss must not slow the centres themselves (authors' code).
        # Every process has their whole gradient: the mean keeps the copies bit-identical.
        sum_gradients([state.centers.centers])
        state.centers.centers.grad.div_(config.loss.center * world().size)
        state.center_optimizer.step()
    state.optimizer.step()
    state.step += 1
    return log


# --- the loop -----------------------------------------------------------------------------------


def train(
    config: Config,
    folder: Path | None = None,
    *,
    tracklets: Tracklets | None = None,
    bar: bool = True,
    watch: Callable[[Run], object] | None = None,
    steal: bool = False,
    stop_at: int | None = None,
) -> Run:
    """Train to the end, from the start or from where the run folder stands.

    The folder is by default named after the configuration; a finished run is left as it is.
    Under torchrun the processes share each batch. `watch(run)` is called every few seconds;
    `steal` takes the folder over from another machine, see `RunLock`. With `stop_at` it saves and
    raises Stopped when so many steps are done.
    Raises SettingError, DataError, CheckpointError, ResourceError or NumericError, and Stopped when
    a signal asks for it; after each of them the same call goes on from the last checkpoint.
    """
    run = Run(Path(folder)) if folder else Run.of(config)
    check_settings(config)
    if tracklets is None:
        find_reader(config.dataset)
    device = resolve_device(config.device)
    try:
        _open_and_train(
            run, config, tracklets, device, bar=bar, watch=watch, steal=steal, stop_at=stop_at
        )
    except (OSError, RuntimeError, MemoryError) as error:
        if (short := shortage(error)) is None:
            raise
        raise short from error
    return run


def _open_and_train(
    run: Run,
    config: Config,
    tracklets: Tracklets | None,
    device: torch.device,
    *,
    bar: bool,
    watch: Callable[[Run], object] | None,
    steal: bool,
    stop_at: int | None,
) -> None:
    with processes(device) as here, settings(config.hardware, device):
        # Nothing is written into the folder before it is known that the run can be carried on.
        if here.first:
            run.require(config)
            if run.folder.exists():
                with RunLock(run.folder, steal):
                    pass
            if tracklets is None:
                tracklets = _load(config, bar)
            else:
                tracklets = checked(tracklets, progress=bar, compare=config.compares_frames())
        from_first(None)  # the others come when the index of the frames is there
        tracklets = tracklets or _load(config, False)
        plan = Plan(run, config, tracklets, here, device, stop_at)
        recorder = Recorder(plan, bar, watch)
        with RunLock(run.folder, steal) if here.first else nullcontext():
            _train(plan, recorder)


def _train(plan: Plan, recorder: Recorder) -> None:
    config, here, people, steps = plan.config, plan.here, plan.people, plan.steps
    rates, share = learning_rates(config), plan.share
    state = resume(plan)
    if recorder.bar and state.model.start:
        print(state.model.start)
    redo = from_first(here.first and plan.lacks_record(state.step))
    if state.step == plan.total and not redo:
        return
    if here.first:
        plan.run.open(config)
        plan.run.rewind(state.step, redo)
    start = divmod(state.step, steps)
    batches = train_loader(people, config, start=start, stop_epoch=plan.epochs, share=share)
    with recorder.begin(state.step, redo), StopRequest() as stop, reading(batches):
        if redo:
            _record_epoch(plan, state, recorder)
        for batch in batches:
            stage, within = stage_of(config, batch.epoch)
            if (within, batch.step) == (0, 0):
                state.optimizer = make_optimizer(state.model, config.stages[stage], config)
            rate = rates[batch.epoch] * warmup_factor(config.warmup, within * steps + batch.step)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            seed_torch(config.seed, "dropout", state.step, here.rank)
            clips = augmented(batch, config.augment, config.seed, plan.device, share=share)
            labels = batch.labels.to(plan.device)
            try:
                log = train_step(state, clips, labels, config)
            except NumericError as error:
                recorder.failure(state.step, batch, people, error)
                raise
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise ResourceError(_too_large(clips, state.step)) from None
            recorder.step(state.step, batch.epoch, {"lr": rate} | log)

            end_of_epoch = batch.step == steps - 1
            end_of_stage = end_of_epoch and within + 1 == config.stages[stage].epochs
            if end_of_stage:
                recorder.matrices(state.model)
            due = end_of_epoch and plan.evaluates_after(batch.epoch + 1)
            stopping = any_of(stop.requested) or state.step == plan.stop_at
            # The checkpoint comes before the record of the epoch: see `Plan.lacks_record`.
            if end_of_stage or due or stopping or recorder.overdue:
                recorder.save(state)
            if stopping and (due or state.step < plan.total):
                raise _stopped(state, plan.total)
            if end_of_epoch:
                measured = _health(state, clips, config)
                recorder.epoch(_scores(plan, state, recorder.bar), measured)


def _load(config: Config, bar: bool) -> Tracklets:
    return load_checked(
        config.dataset,
        config.root,
        config.split,
        progress=bar,
        compare=config.compares_frames(),
    )


def augmented(
    batch: Batch,
    augment: AugmentConfig,
    seed: int,
    device: torch.device | str,
    *,
    share: slice | None = None,
) -> Tensor:
    """Move a batch's clips to the device and augment them there: (B, T, 3, H, W) float32.

    `share` says which clips of the whole batch these are: the draws are the whole batch's.
    """
    t, _, h, w = batch.clips.shape[1:]
    size = len(batch.labels), t, (h, w)
    draws = draw(augment, *size, seed=seed, epoch=batch.epoch, step=batch.step)
    if share is not None:
        draws = Draws(*(values[share.start * t : share.stop * t] for values in draws))
    return apply(batch.clips.to(device, non_blocking=True), draws, augment.pad)


def _scores(plan: Plan, state: TrainState, bar: bool) -> Scores | None:
    """Evaluate at the end of an epoch where it is due; Stopped if a signal comes meanwhile."""
    if not plan.evaluates_after(state.step // plan.steps):
        return None
    share_statistics(state.model)
    try:
        scores = score(state.model, plan.tracklets, plan.config, bar)
    except Stopped:
        raise _stopped(state) from None
    if not scores.valid_queries:
        where = f"{plan.tracklets.dataset} in {plan.tracklets.root}"
        raise DataError(f"{where} cannot test a training: {scores}")
    return scores


def _record_epoch(plan: Plan, state: TrainState, recorder: Recorder) -> None:
    """Write the record of the epoch that `state` ends, as if there had been no interruption."""
    config, epoch, share = plan.config, state.step // plan.steps, plan.share
    start = epoch - 1, plan.steps - 1
    reader = replace(config, workers=0)
    last = train_loader(plan.people, reader, start=start, stop_epoch=epoch, share=share)
    clips = augmented(next(last), config.augment, config.seed, plan.device, share=share)
    measured = _health(state, clips, config)
    recorder.epoch(_scores(plan, state, recorder.bar), measured)


def _health(state: TrainState, clips: Tensor, config: Config) -> dict[str, Any]:
    """Measure the network on an epoch's last clips, with draws that do not depend on the past."""
    seed_torch(config.seed, "health", state.step)
    with autocast(config.hardware, clips.device):
        return health(state.model, clips)


def _stopped(state: TrainState, total: int | None = None) -> Stopped:
    what = f" of {total}" if total else ", before its evaluation was done"
    return Stopped(f"stopped at step {state.step}{what}; run again to go on")


def _too_large(clips: Tensor, step: int) -> str:
    """Explain what to do when a step does not fit in the device's memory."""
    return (
        f"out of memory on {clips.device} at step {step}, with {len(clips)} clips of "
        f"{tuple(clips.shape[1:])} in a forward pass: set hardware.recompute, which needs "
        "less memory, or a smaller ids_per_batch. The batch is not made smaller by itself, since "
        "the triplets and BatchNorm depend on it."
    )
