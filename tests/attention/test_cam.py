"""Grad-CAM keeps time and leaves the network alone; the referee agrees with the full forward."""

import pytest
import torch
import torch.nn.functional as F

from mmagga.attention import occlusion_map, similarity_cam
from mmagga.model import make_baseline, make_mmagga


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = make_mmagga(4, frames=3, backbone="resnet18", width=16)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def clips():
    return torch.randn(2, 3, 3, 128, 64, generator=torch.manual_seed(1))


@pytest.fixture(scope="module")
def target():
    return F.normalize(torch.randn(2, 64, generator=torch.manual_seed(2)))


def naive(model, clips, target, method):
    maps = model.maps(clips).detach().requires_grad_()
    score = (F.normalize(model.head(maps).embedding) * target).sum()
    (gradient,) = torch.autograd.grad(score, maps)
    if method == "gradcam":
        gradient = gradient.mean((1, 3, 4), keepdim=True)
    return (gradient * maps).sum(2).relu().detach()


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_cam_is_the_formula_and_is_not_scaled(model, clips, target, method):
    found = similarity_cam(model, clips, target, method)
    assert found.shape == (2, 3, 8, 4)
    torch.testing.assert_close(found, naive(model, clips, target, method))
    one = similarity_cam(model, clips[:1], target[0], method)
    torch.testing.assert_close(one, found[:1])


@pytest.mark.parametrize(("method", "ratio"), [("gradcam", 1), ("hirescam", 0)])
def test_a_frame_without_weight_counts_less_in_hirescam(model, clips, target, method, ratio):
    """Grad-CAM averages the gradients over the clip, and so cannot tell."""
    with torch.no_grad():
        model.head.frame_score.weight.zero_()
        model.head.frame_score.bias.copy_(torch.tensor([0.0, 0, -20]))
        for name in model.head.mma:  # the other branches say nothing
            model.head.project[name].weight.zero_()
            model.head.project[name].bias.zero_()
    same = clips[:, :1].expand(-1, 3, -1, -1, -1)
    energy = similarity_cam(model, same, target, method).sum((2, 3))
    assert (energy[:, 0] > 0).all()
    torch.testing.assert_close(energy[:, 2] / energy[:, 0], torch.full((2,), float(ratio)),
                               atol=1e-6, rtol=1e-4)  # fmt: skip


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad is None) for p in model.parameters()],
        [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()],
    )


def test_frozen_parameters_and_inference_mode_change_nothing(model, clips, target):
    expected = similarity_cam(model, clips, target)
    model.requires_grad_(False)
    before = state_of(model)
    with torch.inference_mode():
        torch.testing.assert_close(similarity_cam(model, clips, target), expected)
    assert state_of(model) == before


def test_the_network_is_as_it_was_also_after_an_error(model, clips, target):
    model.head.project["p1"].requires_grad_(False)
    before = state_of(model)
    similarity_cam(model, clips, target)
    assert state_of(model) == before
    with pytest.raises(RuntimeError):
        similarity_cam(model, clips, target[:, :7])
    assert state_of(model) == before


def test_what_cannot_be_done_is_said(model, clips, target):
    with pytest.raises(ValueError, match="gradcam, hirescam, not 'scorecam'"):
        similarity_cam(model, clips, target, "scorecam")
    with pytest.raises(ValueError, match="Baseline has no attention"):
        occlusion_map(make_baseline(4, backbone="resnet18").eval(), clips, target)
    with pytest.raises(ValueError, match="blocks of 48 pixels do not fill"):
        occlusion_map(model, clips, target, block=48)


@pytest.mark.parametrize(("block", "grid"), [(64, (2, 1)), (32, (4, 2))])
def test_covering_is_the_plain_forward_of_covered_frames(model, clips, target, block, grid):
    found = occlusion_map(model, clips, target, block=block, batch=2)
    assert found.shape == (2, 3, *grid)
    whole = F.normalize(model(clips).embedding)
    for t, row, column in [(0, 0, 0), (1, 1, 0), (2, grid[0] - 1, grid[1] - 1)]:
        covered = clips.clone()
        covered[:, t, :, row * block : (row + 1) * block, column * block : (column + 1) * block] = 0
        drop = ((whole - F.normalize(model(covered).embedding)) * target).sum(1)
        torch.testing.assert_close(found[:, t, row, column], drop.detach(), atol=1e-5, rtol=0)
    assert (found.abs() > 1e-5).any()


def test_the_referee_keeps_the_sign_and_does_not_care_about_batches(model, clips, target):
    found = occlusion_map(model, clips, target, block=32, batch=5)
    assert (found > 0).any()
    assert (found < 0).any()
    torch.testing.assert_close(
        found[1:], occlusion_map(model, clips[1:], target[1], block=32), atol=1e-6, rtol=0
    )
    opposite = occlusion_map(model, clips, -target, block=32)
    torch.testing.assert_close(opposite, -found, atol=1e-6, rtol=0)
