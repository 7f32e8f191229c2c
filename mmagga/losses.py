"""The three losses of training, all in float32 whatever the precision around them.

Shape letters: B clips, D feature, K identities. Total = Σ cross-entropy over the branches +
weighted regularised triplet + 0.0005 · centre loss (authors' code).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6  # authors' code: added to the sums that normalise the triplet's weights


def smoothed_cross_entropy(logits: Tensor, pids: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy of one branch's logits (B, K) against pids (B,), with label smoothing."""
    return F.cross_entropy(logits.float(), pids, label_smoothing=smoothing)


def pairwise_distances(feature: Tensor) -> Tensor:
    """Euclidean distances (B, B) within a batch of features (B, D); squares stay above 1e-12."""
    with torch.autocast(feature.device.type, enabled=False):
        feature = feature.float()
        squares = feature.square().sum(1)  # (B,)
        squared = squares[:, None] + squares[None] - 2 * feature @ feature.T
        return squared.clamp(min=1e-12).sqrt()


@torch.no_grad()
def distance_quantiles(feature: Tensor, levels: tuple[float, ...] = (0.05, 0.5, 0.95)) -> Tensor:
    """Quantiles (one for each level) of the distances between different clips of a batch (B, D).

    Logged because above about 14.5 the official triplet loss pulls negatives closer.
    """
    distances = pairwise_distances(feature)
    batch = len(feature)
    i, j = torch.triu_indices(batch, batch, offset=1, device=feature.device)
    return distances[i, j].quantile(distances.new_tensor(levels))


def weighted_regularized_triplet(
    feature: Tensor, pids: Tensor, form: Literal["official", "stable"] = "official"
) -> Tensor:
    """Weighted regularised triplet loss (AGW) of features (B, D) with identities pids (B,).

    For each anchor, positives (itself among them) weigh more the farther they are, negatives the
    nearer they are; the loss is the mean of softplus(Σ w⁺d − Σ w⁻d).

    - "official": the authors' weights. Their sum of exp(−d) over the negatives is not shifted
      before 1e-6 is added, so that their weights vanish once d passes about 14.5, above which the
      loss pulls negatives closer. Ours differs in one thing: softplus, the same number,
      where their log(1 + exp(·)) overflows past 88.
    - "stable": each weight is a softmax over the true positives or the true negatives.

    An anchor without negatives (a batch of one identity) has Σ w⁻d = 0 in both forms: the loss
    is finite and pulls the features of the identity together.
    """
    if form not in ("official", "stable"):
        raise ValueError(f"form must be official or stable; got {form!r}")
    distances = pairwise_distances(feature)  # (B, B)
    positive = pids[:, None] == pids[None]
    weigh = _official_weights if form == "official" else _stable_weights
    far = (weigh(distances, positive) * distances).sum(1)  # (B,)
    near = (weigh(-distances, ~positive) * distances).sum(1)  # (B,)
    return F.softplus(far - near).mean()


class CenterLoss(nn.Module):
    """Centre loss: Σ ‖feature − centre of its identity‖² / B.

    `centers` (K, D) start at N(0, 1) and belong to an optimiser of their own. In the total this
    loss weighs 0.0005; the training loop divides the centres' gradient by that again.
    """

    def __init__(self, num_ids: int, dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_ids, dim))

    def forward(self, feature: Tensor, pids: Tensor) -> Tensor:
        """Loss of features (B, D) with identities pids (B,)."""
        return (feature.float() - self.centers[pids]).square().sum() / len(feature)


def _official_weights(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return each row's (B, B) weights over its chosen entries by the authors' near-softmax.

    The shift is the maximum over the row with the others set to 0, so it is 0 where the scores
    are negative: that is the flaw described above.
    """
    shift = (scores * chosen).amax(1, keepdim=True)
    weights = (scores - shift).masked_fill(~chosen, -torch.inf).exp()
    return weights / (weights.sum(1, keepdim=True) + _EPS)


def _stable_weights(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return each row's (B, B) softmax over its chosen entries; a row without any gets zeros."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~chosen, lowest).softmax(1) * chosen
