import math

import numpy as np
import parity_weights as pw
import pytest
import torch

from mmagga.losses import (
    CenterLoss,
    distance_quantiles,
    pairwise_distances,
    smoothed_cross_entropy,
    weighted_regularized_triplet,
)

FORMS = ["official", "stable"]


def test_parity_of_values_and_gradients():
    theirs, rng = pw.load("losses.npz"), np.random.RandomState(50)

    def normal(*shape):
        return rng.standard_normal(shape)

    own, shared = normal(16, 4096), normal(4, 4096).repeat(4, axis=0)
    feature = torch.tensor((0.1 * (own + 0.5 * shared)).astype("float32"), requires_grad=True)
    center_loss = CenterLoss(20, 4096)
    center_loss.centers.data = torch.tensor(normal(20, 4096).astype("float32"))
    logits = [torch.tensor(normal(16, 20).astype("float32"), requires_grad=True) for _ in range(4)]
    pids = torch.tensor(theirs["labels"])

    xent = sum(smoothed_cross_entropy(branch, pids) for branch in logits)
    triplet = weighted_regularized_triplet(feature, pids)
    center = center_loss(feature, pids)
    total = xent + triplet + 0.0005 * center
    total.backward()
    ours = {
        "xent": xent,
        "triplet": triplet,
        "center": center,
        "total": total,
        "feature_grad": feature.grad,
        "logits0_grad": logits[0].grad,
        "centers_grad": center_loss.centers.grad[theirs["centers_grad_rows"]] / 0.0005,
    }
    for name, value in ours.items():
        assert pw.relative(value, theirs[name]) < 1e-4, name


def naive_triplet(feature, pids, form):
    """One anchor at a time, in double precision."""
    total, distances = 0.0, torch.cdist(feature.double(), feature.double())
    for row, pid in zip(distances, pids, strict=True):
        sides = []
        for sign, chosen in ((1, row[pids == pid]), (-1, row[pids != pid])):
            shift = (sign * chosen).max() if form == "stable" or sign > 0 else 0.0
            weights = (sign * chosen - shift).exp()
            weights = weights / (weights.sum() + (1e-6 if form == "official" else 0.0))
            sides.append((weights * chosen).sum())
        total += math.log1p(math.exp(sides[0] - sides[1]))
    return total / len(pids)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5])
def test_triplet_equals_a_loop(form, scale):
    torch.manual_seed(0)
    feature, pids = scale * torch.randn(12, 30), torch.arange(4).repeat_interleave(3)
    ours = weighted_regularized_triplet(feature, pids, form).item()
    assert ours == pytest.approx(naive_triplet(feature, pids, form), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_triplet_is_finite_at_distance_1000(form):
    feature = torch.zeros(4, 8)
    feature[:, 0] = torch.tensor([0.0, 1000.0, 0.5, 1000.5])  # positives far, negatives near
    feature.requires_grad_()
    loss = weighted_regularized_triplet(feature, torch.tensor([0, 0, 1, 1]), form)
    loss.backward()
    assert loss.item() > 990
    assert feature.grad.isfinite().all()

    feature = feature.detach()[[0, 2, 1, 3]].requires_grad_()  # negatives far, positives near
    loss = weighted_regularized_triplet(feature, torch.tensor([0, 0, 1, 1]), form)
    loss.backward()
    assert loss.isfinite()
    assert feature.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_one_identity_is_finite_and_draws_together(form):
    feature = (50 * torch.eye(4, 8)).requires_grad_()
    loss = weighted_regularized_triplet(feature, torch.zeros(4, dtype=torch.long), form)
    loss.backward()
    assert loss.isfinite()
    closer = feature.detach() - 0.1 * feature.grad
    assert feature.grad.isfinite().all()
    assert pairwise_distances(closer).sum() < pairwise_distances(feature).sum()


@pytest.mark.parametrize(
    ("form", "distance", "pushes"),
    [
        ("official", 10.0, True),
        ("stable", 10.0, True),
        ("official", 20.0, False),
        ("stable", 20.0, True),
    ],
)
def test_only_the_stable_form_still_pushes_far_negatives(form, distance, pushes):
    # negatives at one distance, positives a little farther: the loss is not saturated
    feature = torch.diag(torch.full((8,), distance / math.sqrt(2))).requires_grad_()
    pids = torch.arange(4).repeat_interleave(2)
    far = pairwise_distances(feature) * (pids[:, None] != pids[None])
    weighted_regularized_triplet(feature, pids, form).backward()
    moved = pairwise_distances(feature.detach() - feature.grad) * (pids[:, None] != pids[None])
    assert bool(moved.sum() > far.sum()) is pushes


def test_triplet_rejects_another_form():
    with pytest.raises(ValueError, match="official or stable"):
        weighted_regularized_triplet(torch.zeros(2, 2), torch.tensor([0, 1]), "hard")


def test_distances_and_their_quantiles():
    feature = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
    expected = torch.tensor([[1e-6, 5, 8], [5, 1e-6, 5], [8, 5, 1e-6]])
    torch.testing.assert_close(pairwise_distances(feature), expected)
    torch.testing.assert_close(distance_quantiles(feature), torch.tensor([5.0, 5.0, 7.7]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothing_spreads_its_share_over_all_identities(smoothing):
    logits, pids = torch.randn(5, 7), torch.tensor([0, 6, 2, 2, 3])
    target = torch.full((5, 7), smoothing / 7)
    target[torch.arange(5), pids] += 1 - smoothing
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smoothed_cross_entropy(logits, pids, smoothing), expected)


def test_center_loss_equals_a_loop():
    torch.manual_seed(0)
    loss, feature, pids = CenterLoss(5, 3), torch.randn(4, 3), torch.tensor([0, 0, 4, 2])
    rows = zip(feature, pids, strict=True)
    expected = sum(((row - loss.centers[pid]) ** 2).sum() for row, pid in rows) / 4
    torch.testing.assert_close(loss(feature, pids), expected)
    assert [name for name, _ in loss.named_parameters()] == ["centers"]


def test_losses_are_float32_under_autocast():
    torch.manual_seed(0)
    feature, pids = torch.randn(8, 64), torch.arange(4).repeat_interleave(2)
    center = CenterLoss(4, 64)

    def losses():
        return (
            smoothed_cross_entropy(feature[:, :4], pids),
            weighted_regularized_triplet(feature, pids),
            center(feature, pids),
        )

    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses()
    for ours, plain in zip(mixed, losses(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, plain)
