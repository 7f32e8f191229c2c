"""The two networks, assembled: clips in, `Output` out.

Shape letters: B clips, T frames, H W image, C channels, h w feature map, D embedding,
K identities.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.model.backbone import Backbone
from mmagga.model.head import BNNeck, Head, classifier
from mmagga.model.outputs import Attention, Output
from mmagga.model.weights import Taken


class BaselineHead(nn.Module):
    """The baseline's head: pool the clip at once, reduce, BNNeck, dropout, classify; any T.

    Source: AGW_Plus_Baseline in the authors' code. GeM's exponent p is learned, from 3.
    """

    def __init__(
        self, channels: int, num_ids: int, *, width: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.gem_p = nn.Parameter(torch.full((1,), 3.0))
        self.reduce = nn.Linear(channels, width, bias=False)
        self.bnneck = BNNeck(width)
        self.dropout = nn.Dropout(dropout)
        self.num_ids = num_ids
        self.classifier = classifier(width, num_ids)

    def forward(self, maps: Tensor) -> Output:
        """Turn feature maps (B, T, C, h, w) into an `Output`; every frame weighs 1/T."""
        with torch.autocast(maps.device.type, enabled=False):
            maps = maps.to(self.gem_p.dtype)  # mixed precision stops here
            powers = maps.clamp(min=1e-6).pow(self.gem_p)
            pooled = powers.mean((1, 3, 4)).pow(1 / self.gem_p)  # (B, C)
            feature = self.reduce(pooled)  # (B, D)
            necked = self.bnneck(feature)
            logits = self.classifier(self.dropout(necked))
            frames = feature.new_full(maps.shape[:2], 1 / maps.shape[1])
            return Output(F.normalize(necked), feature, (logits,), Attention(frames, {}))

    def mma_parameters(self) -> list[nn.Parameter]:
        """Return nothing: the baseline has no MMA."""
        return []


class ClipModel(nn.Module):
    """A backbone for single frames below a head for clips."""

    start: Taken | None = None
    """What of the weights to start from was taken; None where there were none."""

    def __init__(self, backbone: Backbone, head: Head | BaselineHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, clips: Tensor) -> Output:
        """Turn ImageNet-normalised clips (B, T, 3, H, W) into an `Output`."""
        return self.head(self.maps(clips))

    def maps(self, clips: Tensor) -> Tensor:
        """Turn clips (B, T, 3, H, W) into the frames' feature maps (B, T, C, h, w)."""
        if clips.ndim != 5 or clips.shape[2] != 3 or not clips.is_floating_point():
            raise ValueError(
                "clips must be normalised floats of shape (B, T, 3, H, W); "
                f"got {clips.dtype} {tuple(clips.shape)}"
            )
        return self.backbone(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])

    def mma_parameters(self) -> list[nn.Parameter]:
        """Return the learned MMA matrices, which stage 2 of training learns alone."""
        return self.head.mma_parameters()


class MMAGGA(ClipModel):
    """Multi-task aggregation with global-guided attention: a `Backbone` below a `Head`.

    `mmagga.model.make_mmagga` builds both; its defaults are the paper's.
    """

    head: Head


class Baseline(ClipModel):
    """The AGW-like baseline of the authors' code: a `Backbone` below a `BaselineHead`.

    It reads clips of any length. `mmagga.model.make_baseline` builds both.
    """

    head: BaselineHead
