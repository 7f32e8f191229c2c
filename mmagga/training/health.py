"""Diagnostics that the loss does not show: dead units and collapsed features.

Ours. A unit of a branch is the output of a ReLU: once it fires for no clip, no gradient brings it
back. Where the global branch is dead, the guide of GGA is a constant and its weights are a fixed
template, whatever the clip shows.

Shape letters: B clips, T frames, C channels, h w feature map, D width of a branch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.model.fast import unobserved
from mmagga.model.head import GuidedAttention, Head, gem_cells
from mmagga.model.networks import ClipModel
from mmagga.runs.health import DEAD_VARIANCE


def dead_units(model: ClipModel) -> dict[str, float]:
    """Return for each branch the share of units whose running variance in the BNNeck has decayed.

    Needs no forward pass, but about 130 training steps: until then the running variance remembers
    its start. The baseline has one branch, "embedding", without a ReLU.
    """
    variance = model.head.bnneck.running_var
    return {
        name: float((part < DEAD_VARIANCE).float().mean())
        for name, part in zip(_branches(model), variance.chunk(len(_branches(model))), strict=True)
    }


@torch.no_grad()
def health(model: ClipModel, clips: Tensor) -> dict[str, Any]:
    """Measure a network on normalised `clips` (B, T, 3, H, W), as training sees them.

    BatchNorm uses the statistics of these clips and does not update the running ones; weights and
    mode of the model are unchanged.

    Returns:
        "dead": for each branch the share of units that fire on none of the clips (in the baseline:
        that do not vary). "rank": the effective rank of each branch's features, the exponential of
        the entropy of their spectrum, at most B - 1. "guide": for each granularity with GGA the
        mean cosine between the guides of two clips, after W' and ReLU. "trunk": the variation of
        the trunk's globally pooled features from clip to clip, relative to their mean, of the
        median channel.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        with unobserved(model):
            # Not through a compiled call, which would compile this mode anew.
            maps = model.backbone.forward(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
            maps = maps.float()  # (B, T, C, h, w)
            feature = model.head(maps).feature  # (B, branches·D)
    finally:
        for module, training in modes:
            module.training = training
    parts = dict(zip(_branches(model), feature.chunk(len(_branches(model)), 1), strict=True))
    pooled = gem_cells(maps.flatten(0, 1), {"global": (1, 1)}, 3.0)["global"]  # (B·T, 1, C)
    return {
        "dead": {name: float(_dead(part).float().mean()) for name, part in parts.items()},
        "rank": {name: effective_rank(part) for name, part in parts.items()},
        "guide": _guides(model, parts.get("global")),
        "trunk": _variation(pooled.view(*maps.shape[:2], -1).mean(1)),
    }


def effective_rank(features: Tensor) -> float:
    """Return exp(entropy) of the spectrum of centred features (B, D): 1 to B - 1, 0 if constant.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007, on squared singular values.
    """
    values = torch.linalg.svdvals((features - features.mean(0)).double()).square()
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def _branches(model: ClipModel) -> list[str]:
    return list(model.head.grids) if isinstance(model.head, Head) else ["embedding"]


def _dead(part: Tensor) -> Tensor:
    """Units of (B, D) that are the same for all clips; after a ReLU: that never fire."""
    return (part - part[0]).abs().amax(0) == 0


def _guides(model: ClipModel, clip: Tensor | None) -> dict[str, float]:
    """Mean cosine between the guides of two different clips; `clip` (B, D) is the global branch."""
    found = {}
    scorers = model.head.part_score.items() if isinstance(model.head, Head) else ()
    for name, score in scorers:
        if isinstance(score, GuidedAttention) and len(clip) > 1:
            guide = F.normalize(score.guide(clip).relu(), dim=-1)  # (B, D)
            others = guide @ guide.T  # (B, B), 1 on the diagonal, or 0 for a guide of zeros
            count = len(guide) * (len(guide) - 1)
            found[name] = float((others.sum() - others.diagonal().sum()) / count)
    return found


def _variation(pooled: Tensor) -> float:
    """Standard deviation over clips relative to the mean, of (B, C), in the median channel."""
    if len(pooled) < 2:
        return 0.0
    return float((pooled.std(0) / pooled.mean(0).clamp(min=1e-12)).median())
