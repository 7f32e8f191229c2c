"""How an epoch ends: scores on the test set and health of the network, or a reason to stop."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from mmagga.config import Config
from mmagga.data.augment import augmented
from mmagga.data.clips import train_loader
from mmagga.errors import DataError, ResourceError, Stopped
from mmagga.randomness import seed_torch
from mmagga.retrieval import Scores
from mmagga.retrieval.metrics import score
from mmagga.system.device import autocast
from mmagga.system.distributed import share_statistics
from mmagga.training.health import health
from mmagga.training.plan import Plan
from mmagga.training.recorder import Recorder
from mmagga.training.state import TrainState


def measure_scores(plan: Plan, state: TrainState, bar: bool) -> Scores | None:
    """Evaluate at the end of an epoch where it is due; Stopped if a signal comes meanwhile."""
    if not plan.evaluates_after(state.step // plan.steps):
        return None
    share_statistics(state.model)
    try:
        scores = score(state.model, plan.tracklets, plan.config, bar)
    except Stopped:
        raise stopped(state) from None
    if not scores.valid_queries:
        where = f"{plan.tracklets.dataset} in {plan.tracklets.root}"
        raise DataError(f"{where} cannot score a training run: {scores}")
    return scores


def record_epoch(plan: Plan, state: TrainState, recorder: Recorder) -> None:
    """Write the record of the epoch that `state` ends, as if there had been no interruption."""
    config, epoch, share = plan.config, state.step // plan.steps, plan.share
    start = epoch - 1, plan.steps - 1
    reader = replace(config, workers=0)
    last = train_loader(plan.people, reader, start=start, stop_epoch=epoch, share=share)
    clips = augmented(next(last), config.augment, config.seed, plan.device, share=share)
    measured = measure_health(state, clips, config)
    recorder.epoch(measure_scores(plan, state, recorder.bar), measured)


def measure_health(state: TrainState, clips: Tensor, config: Config) -> dict[str, Any]:
    """Measure the network on an epoch's last clips, with draws that do not depend on the past."""
    seed_torch(config.seed, "health", state.step)
    with autocast(config.hardware, clips.device):
        return health(state.model, clips)


def stopped(state: TrainState, total: int | None = None) -> Stopped:
    """Return the exception of a run that stops; without `total`, before its evaluation."""
    what = f" of {total}" if total else ", before its evaluation was done"
    return Stopped(f"stopped at step {state.step}{what}; run it again to continue")


def too_large(clips: Tensor, step: int) -> ResourceError:
    """Return the error of a step that does not fit in the device's memory, with its remedy."""
    return ResourceError(
        f"out of memory on {clips.device} at step {step}, with {len(clips)} clips of "
        f"{tuple(clips.shape[1:])} in a forward pass: set hardware.recompute, which needs "
        "less memory, or a smaller ids_per_batch. The batch is not made smaller by itself, since "
        "the triplets and BatchNorm depend on it."
    )
