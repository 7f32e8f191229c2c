"""From a configuration to a network."""

import warnings
from dataclasses import replace
from typing import Any, Literal

import torch

from mmagga.config import Config
from mmagga.errors import CheckpointError
from mmagga.model.backbone import Backbone, map_size
from mmagga.model.head import Head, check_map
from mmagga.model.networks import MMAGGA, Baseline, BaselineHead, ClipModel
from mmagga.model.weights import start_from
from mmagga.randomness import seed_torch


def from_scratch(config: Config) -> Config:
    """Leave out the weights to start from: who fills the network from elsewhere needs none."""
    return replace(config, model=replace(config.model, weights=None))


def make_mmagga(
    num_ids: int,
    frames: int = 8,
    *,
    backbone: str = "resnet50",
    non_local: Literal[0, 1, "half"] = 1,
    **head: Any,
) -> MMAGGA:
    """Build MMA-GGA for K = `num_ids` persons and clips of T = `frames`, by default the paper's.

    `backbone`, `non_local`: see `Backbone`; `head`: the keywords of `Head`. Weights follow torch's
    seed. Raises ValueError for an unknown option.
    """
    trunk = Backbone(backbone, non_local)
    return MMAGGA(trunk, Head(trunk.channels, num_ids, frames, **head))


def make_baseline(
    num_ids: int,
    *,
    backbone: str = "resnet50",
    non_local: Literal[0, 1, "half"] = 1,
    **head: Any,
) -> Baseline:
    """Build the baseline for K = `num_ids` persons; `head`: the keywords of `BaselineHead`."""
    trunk = Backbone(backbone, non_local)
    return Baseline(trunk, BaselineHead(trunk.channels, num_ids, **head))


def build_model(config: Config, num_ids: int) -> ClipModel:
    """Build the network of `config` for K = `num_ids` persons; its weights follow torch's seed.

    Raises:
        ValueError: an unknown option, or images whose feature map cannot be cut into the cells.
        CheckpointError: the weights to start from cannot be had, or do not fit.
    """
    m = config.model
    trunk: dict[str, Any] = {"backbone": m.backbone, "non_local": m.non_local}
    model: ClipModel
    if m.name == "baseline":
        model = make_baseline(num_ids, **trunk)
    else:
        model = make_mmagga(
            num_ids, config.frames, **trunk, width=m.width, granularities=m.granularities,
            pooling=m.pooling, mma=m.mma, temperature=m.temperature, gem_p=m.gem_p,
        )  # fmt: skip
        check_map(*map_size(config.height, config.width), model.head.grids)
    model.start = start_from(model, m.weights, m.weights_head)
    return model


def untrained_like(model: ClipModel, config: Config) -> ClipModel:
    """Build a trained network once more, with the weights that its training started from.

    The yardstick of what training adds; in evaluation mode, where `model` is. Warns where the
    weights to start from cannot be had, and takes random ones.
    """
    with torch.random.fork_rng():
        seed_torch(config.seed, "weights")
        try:
            fresh = build_model(config, model.head.num_ids)
        except CheckpointError as error:
            warnings.warn(
                f"the untrained network has random weights, not those of the run's start: {error}",
                stacklevel=2,
            )
            seed_torch(config.seed, "weights")
            fresh = build_model(from_scratch(config), model.head.num_ids)
    return fresh.to(model.head.bnneck.weight.device).eval()
