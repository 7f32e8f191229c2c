"""The training state, and the parameters that each stage trains."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmagga.config import Config, StageConfig
from mmagga.errors import MmaggaError
from mmagga.losses import CenterLoss
from mmagga.model.build import build_model
from mmagga.model.networks import ClipModel
from mmagga.randomness import seed_torch
from mmagga.system.device import precision

_WEIGHTS = ("model", "centers")
_OPTIMIZERS = ("optimizer", "center_optimizer")


@dataclass
class TrainState:
    """Everything that a step changes; what a checkpoint holds.

    The learning rate is a function of the epoch, see `mmagga.config`, and bf16 needs no loss
    scale: there is no state of a scheduler or gradient scaler.
    """

    model: ClipModel
    centers: CenterLoss
    optimizer: torch.optim.Optimizer
    center_optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps done since the start of the run."""

    def state_dict(self, optimizers: bool = True) -> dict[str, Any]:
        """Return plain types and tensors only, those of the optimisers if wanted."""
        names = (*_WEIGHTS, *_OPTIMIZERS) if optimizers else _WEIGHTS
        return {name: getattr(self, name).state_dict() for name in names} | {"step": self.step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load the values of `state_dict`, strictly; the optimisers' may be absent."""
        for name in (*_WEIGHTS, *_OPTIMIZERS):
            if name in _WEIGHTS or name in saved:
                getattr(self, name).load_state_dict(saved[name])
        self.step = saved["step"]


def initial_state(config: Config, num_ids: int, device: torch.device) -> TrainState:
    """Build network, centres and the first stage's optimiser from the seed."""
    seed_torch(config.seed, "weights")
    model = build_model(config, num_ids)
    centers = CenterLoss(num_ids, model.head.bnneck.num_features)
    model = model.to(device)
    centers = centers.to(device)
    optimizer = make_optimizer(model, config.stages[0], config)
    center_optimizer = torch.optim.SGD(centers.parameters(), lr=config.loss.center_lr)
    return TrainState(model, centers, optimizer, center_optimizer)


def set_trainable(model: ClipModel, what: str) -> list[nn.Parameter]:
    """Freeze everything but `what` ("all", "mma" or "all_but_mma"); return what is trained.

    Sets the state of every parameter, so the order of calls does not matter (in the authors'
    code one order leaves nothing trainable).
    """
    mma = {id(p) for p in model.mma_parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(what == "all" or (id(parameter) in mma) == (what == "mma"))
    return [p for p in model.parameters() if p.requires_grad]


def make_optimizer(model: ClipModel, stage: StageConfig, config: Config) -> torch.optim.Optimizer:
    """Freeze for `stage` and return its fresh Adam: one fused kernel on a GPU and with bf16."""
    learning = set_trainable(model, stage.trainable)
    if not learning:
        raise MmaggaError(
            f"a stage trains {stage.trainable!r}, but {config.model.name} with mma="
            f"{config.model.mma!r} has no such parameters: leave that stage out"
        )
    device = learning[0].device
    # On a CPU it is three times as fast but rounds differently: float32 runs keep their bits.
    fused = device.type == "cuda" or precision(config.hardware, device) == "bf16"
    return torch.optim.Adam(
        learning, lr=stage.lr, weight_decay=config.weight_decay, fused=fused or None
    )
