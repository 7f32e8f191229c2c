"""Networks of which it is known what they look at, and a data set to show them."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmagga.config import Config, ModelConfig
from mmagga.data.tracklets import make_tracklets
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel

FRAMES, SIZE, CHANNELS = 4, (128, 64), 8
CONFIG = Config(
    dataset="planted",
    frames=FRAMES,
    height=SIZE[0],
    width=SIZE[1],
    eval_batch=16,
    model=ModelConfig(backbone="resnet18", width=16),
)


class Eye(nn.Module):
    """A backbone that sees the share of grey, exactly the occluder's, and mean colours.

    Grey looks strongly red to it, so that an occluder makes everybody resemble the red ones.
    """

    channels = CHANNELS

    def forward(self, frames):
        grey = (frames.abs().amax(1, keepdim=True) < 0.02).float()
        colour = torch.cat([frames.relu(), (-frames).relu()], 1) * (1 - grey)
        colour[:, :1] += 8 * grey
        seen = torch.cat([grey, colour, torch.zeros_like(grey)], 1)
        return nn.functional.avg_pool2d(seen, 16)  # (N, 8, 8, 4)


class Planted(nn.Module):
    """Weights ∝ 1 + strength·(1 - o), o being the share of grey; infinite strength is 1 - o."""

    def __init__(self, strength):
        super().__init__()
        self.strength = strength

    def reset_parameters(self):
        self.strength = 0.0

    def forward(self, parts, guide):
        free = 1 - parts[..., 0]
        endless = self.strength == float("inf")
        weights = free.clamp(min=1e-3) if endless else 1 + self.strength * free
        return weights / weights.sum(1, keepdim=True)


class Bounded(nn.Module):
    """Weights ∝ exp(-o): the largest answer that GGA's bound allows."""

    def reset_parameters(self):
        self.forward = lambda parts, guide: torch.full(parts.shape[:2], 1 / parts.shape[1])

    def forward(self, parts, guide):
        return (-parts[..., 0]).softmax(1)


class Blind(nn.Module):
    """Random weights, whatever is shown."""

    def forward(self, parts, guide):
        return torch.rand(parts.shape[:2]).softmax(1)


def planted(strength):
    """Build a network whose attention avoids grey by construction."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Head(
            CHANNELS, 2, FRAMES, width=CHANNELS, granularities=("p1",), mma="stripes", gem_p=1.0
        )
    for project in head.project.values():
        nn.init.eye_(project.weight)
        nn.init.zeros_(project.bias)
    nn.init.zeros_(head.project["global"].weight)  # so that everything depends on the parts
    nn.init.zeros_(head.frame_score.weight)
    nn.init.zeros_(head.frame_score.bias)
    head.part_score["p1"] = strength if isinstance(strength, nn.Module) else Planted(strength)
    return ClipModel(Eye(), head).eval()


def write_people(root, persons=24, frames=FRAMES):
    """Write persons of one colour each, seen by two cameras."""
    rng, names, rows = np.random.default_rng(0), [], []
    for pid in range(1, persons + 1):
        colour = rng.integers(20, 236, 3)
        for camid, split in ((1, "query"), (2, "gallery")):
            rows.append((split, pid, camid, len(names), frames))
            for t in range(frames):
                noise = rng.integers(-12, 13, (*SIZE, 3))
                pixels = colour + noise + 10 * (camid - 1)
                name = f"{pid:04d}C{camid}F{t}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name)
                names.append(name)
    return make_tracklets("planted", root, rows, names)
