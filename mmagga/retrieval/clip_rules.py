"""How the embeddings of a tracklet's clips become one: the authors' rule, and what others do."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipRule:
    """How the embeddings of a tracklet's dense clips become its own. The defaults: the authors'."""

    weights: Literal["equal", "frames", "first"] = "equal"
    """Clips count alike (a last clip of one real frame, repeated, weighs as much as a full one),
    by their real frames, or only the first one counts."""
    normalise_clips: bool = False
    """Scale each clip's embedding to length 1 before the mean."""
    normalise: bool = True
    """Scale the mean to length 1, so that its Euclidean distances rank as its cosines do."""


CLIP_RULES = {
    "dense": ClipRule(),
    "dense_by_frames": ClipRule(weights="frames"),
    "dense_of_unit_clips": ClipRule(normalise_clips=True),
    "dense_unnormalised": ClipRule(normalise=False),
    "first_clip": ClipRule(weights="first"),
}
"""The authors' rule, "dense", and what others do with the same clips."""


def clip_weights(lengths: np.ndarray, frames: int, rule: str) -> Tensor:
    """Weight of each dense clip, all tracklets in a row: (sum of ceil(length / T),) float32."""
    if rule not in CLIP_RULES:
        raise ValueError(f"clip is one of {', '.join(CLIP_RULES)}, not {rule!r}")
    counts = -(-lengths // frames)
    last = np.cumsum(counts) - 1
    kind = CLIP_RULES[rule].weights
    weights = np.full(last[-1] + 1, 0.0 if kind == "first" else 1.0)
    if kind == "first":
        weights[last - counts + 1] = 1
    elif kind == "frames":
        weights[last] = ((lengths - 1) % frames + 1) / frames
    if not CLIP_RULES[rule].normalise:  # else the norm takes the mean's divisor away again
        weights /= np.repeat(np.add.reduceat(weights, last - counts + 1), counts)
    return torch.from_numpy(weights.astype(np.float32))
