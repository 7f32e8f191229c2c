"""The three-stage training loop: one readable function over one state.

Every random draw is a function of (seed, epoch, step), so a run that was killed resumes from its
last checkpoint and gives a bit-identical result.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from mmagga.config import Config, check_settings, learning_rates, stage_of, warmup_factor
from mmagga.data import find_reader, load_for
from mmagga.data.augment import augmented
from mmagga.data.clips import train_loader
from mmagga.data.files.index import checked
from mmagga.data.tracklets import Tracklets
from mmagga.data.workers import reading
from mmagga.errors import NumericError
from mmagga.losses import distance_quantiles, smoothed_cross_entropy, weighted_regularized_triplet
from mmagga.randomness import seed_torch
from mmagga.runs.lock import RunLock
from mmagga.runs.run import Run
from mmagga.system.device import autocast, resolve_device, settings
from mmagga.system.distributed import any_of, from_first, gather, processes, sum_gradients, world
from mmagga.system.interrupt import StopRequest
from mmagga.system.shortage import out_of_memory, shortage
from mmagga.training.epoch import measure_health, measure_scores, record_epoch, stopped, too_large
from mmagga.training.plan import Plan, resume
from mmagga.training.recorder import Recorder
from mmagga.training.state import TrainState, make_optimizer

# --- one step -----------------------------------------------------------------------------------


def compute_losses(
    state: TrainState, clips: Tensor, labels: Tensor, config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run this process's clips through the network; return the batch's loss and its parts.

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
    quantiles = distance_quantiles(feature.detach())  # (3,)
    names = ("distance_5", "distance_50", "distance_95")
    return total, parts | {"loss": total} | dict(zip(names, quantiles, strict=True))


def train_step(
    state: TrainState, clips: Tensor, labels: Tensor, config: Config
) -> dict[str, float]:
    """Do one optimiser step on normalised clips (B / processes, T, 3, H, W); return the losses.

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
                tracklets = load_for(config, progress=bar)
            else:
                tracklets = checked(tracklets, progress=bar, compare=config.compares_frames())
        from_first(None)  # the others come when the index of the frames is there
        tracklets = tracklets or load_for(config, progress=False)
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
            record_epoch(plan, state, recorder)
        for batch in batches:
            stage, within = stage_of(config, batch.epoch)
            if (within, batch.step) == (0, 0):
                state.optimizer = make_optimizer(state.model, config.stages[stage], config)
            rate = rates[batch.epoch] * warmup_factor(config.warmup, within * steps + batch.step)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            seed_torch(config.seed, "dropout", state.step, here.rank)
            clips = augmented(batch, config.augment, config.seed, plan.device, share=share)
            labels = batch.labels.to(plan.device)  # (B,)
            try:
                log = train_step(state, clips, labels, config)
            except NumericError as error:
                recorder.failure(state.step, batch, people, error)
                raise
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise too_large(clips, state.step) from None
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
                raise stopped(state, plan.total)
            if end_of_epoch:
                measured = measure_health(state, clips, config)
                recorder.epoch(measure_scores(plan, state, recorder.bar), measured)
