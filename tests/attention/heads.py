"""Small heads with random weights, statistics of the BNNeck included."""

import torch
from torch import Tensor

from mmagga.model.head import Head


def random_head(seed: int, *, frames: int = 3, **options: object) -> Head:
    """A head whose MMA, attention and BNNeck are anything but as initialised."""
    torch.manual_seed(seed)
    head = Head(12, 5, frames, width=10, **options).eval()
    with torch.no_grad():
        for matrix in head.mma_parameters():
            matrix.normal_()
        head.bnneck.weight.normal_()
        head.bnneck.bias.normal_()
        head.bnneck.running_mean.normal_(-1)
        head.bnneck.running_var.uniform_(0.1, 3)
    return head


def random_maps(head: Head, clips: int = 2, size: tuple[int, int] = (8, 4)) -> Tensor:
    """Feature maps as they leave a ReLU."""
    return torch.randn(clips, head.frames, 12, *size).relu()
