"""The network and evaluation written down plainly: what the kit's speed is measured against.

Contiguous float32; the non-local product through its N×N matrix; each granularity pools the whole
map for itself; branches one after the other; one tracklet at a time with all its clips. The weights
are those of a `mmagga.model.MMAGGA`, so that both must give the same numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.data.clips import dense_clips
from mmagga.model import MMAGGA, Attention, Output
from mmagga.model.backbone import Backbone, NonLocal

EPS = 3e-6


class Plain(nn.Module):
    """The whole network on the weights of `model`: clips (B, T, 3, H, W) -> `Output`."""

    def __init__(self, model: MMAGGA):
        super().__init__()
        self.model = model

    @property
    def head(self) -> nn.Module:
        return self.model.head

    def mma_parameters(self) -> list[nn.Parameter]:
        return self.model.mma_parameters()

    def forward(self, clips: Tensor) -> Output:
        b, t = clips.shape[:2]
        maps = backbone(self.model.backbone, clips.reshape(b * t, *clips.shape[2:]))

        frames = F.relu(self.head.project["global"](gem(maps, (1, 1)).flatten(1)))
        frames = frames.reshape(b, t, -1)  # (B, T, D)
        scores = self.head.frame_score(frames).squeeze(2)
        frame_weights = torch.softmax(scores, dim=1)  # (B, T)
        f0 = (frame_weights.unsqueeze(2) * frames).sum(dim=1)  # (B, D)

        features, weights = [f0], {}
        for name, grid in (("p3", (2, 1)), ("p1", (4, 2)), ("p2", (8, 4))):
            cells = gem(maps, grid)  # (B·T, cells, C)
            parts = F.leaky_relu(torch.matmul(self.head.mma[name].matrix, cells), 0.01)
            parts = F.relu(self.head.project[name](parts))
            parts = parts.reshape(b, -1, parts.shape[2])  # (B, T·P, D)
            score = self.head.part_score[name]
            a = F.normalize(F.relu(score.part(parts)), dim=2)
            g = F.normalize(F.relu(score.guide(f0)), dim=1)
            attention = torch.softmax((a * g.unsqueeze(1)).sum(dim=2), dim=1)  # (B, T·P)
            features.append((attention.unsqueeze(2) * parts).sum(dim=1))
            weights[name] = attention.reshape(b, t, -1)

        feature = torch.cat(features, dim=1)
        embedding = self.head.bnneck(feature)
        slices = zip(("global", "p3", "p1", "p2"), embedding.chunk(4, dim=1))
        logits = tuple(self.head.classifiers[name](part) for name, part in slices)
        return Output(embedding, feature, logits, Attention(frame_weights, weights))


def backbone(net: Backbone, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) -> maps (N, C, h, w)."""
    maps = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in layer:
            maps = non_local(block, maps) if isinstance(block, NonLocal) else block(maps)
    return maps


def non_local(block: NonLocal, maps: Tensor) -> Tensor:
    """y = (θᵀφ / N) g, then back to C channels, BatchNorm, plus the input."""
    n, _, h, w = maps.shape
    theta = block.theta(maps).reshape(n, -1, h * w).transpose(1, 2)
    phi = block.phi(maps).reshape(n, -1, h * w)
    g = block.g(maps).reshape(n, -1, h * w).transpose(1, 2)
    affinity = torch.matmul(theta, phi) / (h * w)  # (N, hw, hw)
    y = torch.matmul(affinity, g).transpose(1, 2).reshape(n, -1, h, w)
    return block.norm(block.back(y)) + maps


def gem(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Generalised mean (p = 3) over a grid of cells: (N, C, h, w) -> (N, cells, C)."""
    means = F.adaptive_avg_pool2d(maps.clamp(min=EPS).pow(3), grid)
    return means.clamp(min=EPS).pow(1 / 3).flatten(2).transpose(1, 2)


@torch.no_grad()
def embed_tracklet(model: nn.Module, frames: Tensor, clip: int) -> Tensor:
    """Mean of the clips' embeddings, then L2 norm: (n, 3, H, W) -> (D,)."""
    clips = torch.stack([frames[numbers] for numbers in dense_clips(len(frames), clip)])
    return F.normalize(model(clips).embedding.mean(dim=0), dim=0)
