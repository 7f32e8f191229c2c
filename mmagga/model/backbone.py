"""A torchvision ResNet that keeps more of the image, with non-local blocks in its middle.

Shape letters: N images, C channels, H W image, h w feature map (h = H/16, w = W/16).
"""

from collections import OrderedDict
from typing import Any, Literal

from torch import Tensor, nn
from torchvision import models

STRIDE = 16
"""Pixels of the image, down and across, to one position of the feature map."""

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101")

# How many blocks at the end of a layer are followed by a non-local block (authors' code), and by
# how much the layer is narrower than the last one.
_NON_LOCAL = {"layer2": (2, 4), "layer3": (3, 2)}


class NonLocal(nn.Module):
    """Dot-product non-local block: every position reads a linear summary of all others.

    `inner` is the width of θ, φ and g; the authors' is 1 (apparently by an unintended integer
    division); AGW's, from which it comes, is C/2. The final BatchNorm starts at scale and shift 0,
    so that a new block is the identity.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.back = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape.

        There is no softmax between θᵀφ and g, so (θᵀφ)g = θᵀ(φgᵀ): the summary is inner x inner
        and the hw x hw matrix is never built.
        """
        h, w = maps.shape[2:]
        theta = self.theta(maps).flatten(2).transpose(1, 2)  # (N, hw, inner)
        phi = self.phi(maps).flatten(2)  # (N, inner, hw)
        g = self.g(maps).flatten(2).transpose(1, 2)  # (N, hw, inner)
        read = theta @ (phi @ g / (h * w))  # (N, hw, inner)
        read = read.transpose(1, 2).unflatten(2, (h, w))  # (N, inner, h, w)
        return maps + self.norm(self.back(read))


class Backbone(nn.Module):
    """ResNet with stride 1 in its last layer and non-local blocks: (N, 3, H, W) -> (N, C, h, w).

    Its children bear torchvision's names; a non-local block is called after the block that it
    follows (`layer2.non_local3` follows `layer2.3`). The 1000-class layer `fc` is left out: nothing
    reads it, though the authors' parameter count of 42.9 M includes its 2.05 M.

    Args:
        name: one of `NAMES`.
        non_local: inner channels of the non-local blocks: 1 (authors' code), "half" of C (AGW),
            or 0 for no blocks.

    Raises:
        ValueError: an unknown `name` or `non_local`.
    """

    def __init__(
        self,
        name: str = "resnet50",
        non_local: Literal[0, 1, "half"] = 1,
    ) -> None:
        super().__init__()
        self.name = name
        if name not in NAMES:
            raise ValueError(f"backbone must be one of {', '.join(NAMES)}; got {name!r}")
        if non_local not in (0, 1, "half"):
            raise ValueError(f"non_local must be 0, 1 or 'half'; got {non_local!r}")
        resnet = models.get_model(name)
        self.channels = resnet.fc.in_features
        resnet.fc = nn.Identity()
        _unstride(resnet.layer4[0])
        for child, module in resnet.named_children():
            if child not in ("avgpool", "fc"):
                self.add_module(child, module)
        for layer, (count, share) in _NON_LOCAL.items() if non_local else ():
            width = self.channels // share
            inner = width // 2 if non_local == "half" else 1
            self.add_module(layer, _interleave(getattr(self, layer), count, width, inner))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to feature maps (N, C, h, w)."""
        maps = images
        for layer in self.children():
            maps = layer(maps)
        return maps


def map_size(height: int, width: int) -> tuple[int, int]:
    """Size (h, w) of the feature map of an image of height x width pixels."""
    return -(-height // STRIDE), -(-width // STRIDE)  # each of four halvings rounds up


def _unstride(block: Any) -> None:
    """Set the stride of a layer's first block to 1: its 3x3 convolution and its shortcut."""
    conv = block.conv2 if hasattr(block, "conv3") else block.conv1  # Bottleneck, BasicBlock
    conv.stride = block.downsample[0].stride = (1, 1)


def _interleave(layer: nn.Sequential, count: int, channels: int, inner: int) -> nn.Sequential:
    """Add a non-local block after each of the last `count` blocks; the blocks keep their names."""
    blocks = OrderedDict()
    for i, block in enumerate(layer):
        blocks[str(i)] = block
        if i >= len(layer) - count:
            blocks[f"non_local{i}"] = NonLocal(channels, inner)
    return nn.Sequential(blocks)
