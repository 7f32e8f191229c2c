"""From a configuration to a network."""

from dataclasses import replace

import torch

from mmagga.config import Config
from mmagga.model.networks import MMAGGA, Baseline, ClipModel
from mmagga.randomness import seed_torch


def from_scratch(config: Config) -> Config:
    """Leave out the weights to start from: who fills the network from elsewhere needs none."""
    return replace(config, model=replace(config.model, weights=None))


def build_model(config: Config, num_ids: int) -> ClipModel:
    """Build the network of `config` for K = `num_ids` persons; its weights follow torch's seed."""
    m = config.model
    if m.name == "baseline":
        return Baseline(
            num_ids,
            m.backbone,
            m.weights,
            weights_head=m.weights_head,
            non_local=m.non_local,
        )
    return MMAGGA(
        num_ids,
        config.frames,
        m.backbone,
        m.weights,
        weights_head=m.weights_head,
        image_size=(config.height, config.width),
        width=m.width,
        non_local=m.non_local,
        granularities=m.granularities,
        pooling=m.pooling,
        mma=m.mma,
        temperature=m.temperature,
        gem_p=m.gem_p,
    )


def untrained_like(model: ClipModel, config: Config) -> ClipModel:
    """Build a trained network once more, with the weights that its training started from.

    The yardstick of what training adds; in evaluation mode, where `model` is.
    """
    with torch.random.fork_rng():
        seed_torch(config.seed, "weights")
        fresh = build_model(config, model.head.num_ids)
    return fresh.to(model.head.bnneck.weight.device).eval()
