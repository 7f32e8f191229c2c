"""What MMA has become: how much of a stripe is left in its matrices, and in what a token sees.

Shape letters: B clips, T frames, P parts of a granularity, H W image.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.attention.maps import require_attention
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel


class MatrixStatistics(NamedTuple):
    """How much of a stripe is left in an MMA matrix."""

    purity: Tensor
    """(P,): share of |M[k]| in the part's own row of cells; 1 is a stripe."""
    negative: float
    """Share of negative entries."""
    entropy: Tensor
    """(P,): entropy of |M[k]| / Σ|M[k]| over ln cells; 1 reads everywhere alike."""


def matrix_statistics(head: Head) -> dict[str, MatrixStatistics]:
    """Describe the MMA matrix of each granularity."""
    return {name: _describe(mma.matrix.detach()) for name, mma in head.mma.items()}


def _describe(matrix: Tensor) -> MatrixStatistics:
    parts, cells = matrix.shape
    shares = F.normalize(matrix.abs(), p=1)
    own = shares.view(parts, parts, cells // parts).diagonal().sum(0)
    entropy = torch.special.entr(shares).sum(1) / math.log(cells)
    return MatrixStatistics(own, float((matrix < 0).float().mean()), entropy)


def locality(model: ClipModel, clips: Tensor) -> dict[str, Tensor]:
    """Return how much of what a token reacts to lies in its own band: (P,) shares in [0, 1].

    The share of the energy (sum of squares) of the gradient of a token's length |x| with respect to
    its frame's pixels that lies in the token's nominal band, the k-th of P equal ones; mean over
    frames and clips. A token that is zero reacts to nothing and is left out.

    Args:
        model: in evaluation mode; its gradients and flags are left alone.
        clips: (B, T, 3, H, W), normalised.
    """
    require_attention(model)
    clips = clips.detach().clone().requires_grad_()
    with torch.enable_grad():
        parts = model.head.tokens(model.maps(clips)).parts
    return {
        name: torch.stack([_own_share(x[:, :, k], clips, k, x.shape[2]) for k in range(x.shape[2])])
        for name, x in parts.items()
    }


def _own_share(token: Tensor, clips: Tensor, k: int, parts: int) -> Tensor:
    """Return the mean share of band k of `parts` for token k of all frames (B, T, D)."""
    # A frame's token sees its frame alone, so one backward pass serves all of them.
    (gradient,) = torch.autograd.grad(token.norm(dim=-1).sum(), clips, retain_graph=True)
    energy = gradient.square().sum((2, 4))  # (B, T, H)
    own = energy.tensor_split(parts, dim=2)[k].sum(2)
    return (own / energy.sum(2)).nanmean()
