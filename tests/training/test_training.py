import dataclasses
import json

import numpy as np
import pytest
import torch
from parity_weights import IDS, PARITY, clips, load, official_mmagga
from torch import nn

from mmagga.config import DEMO, PAPER, ModelConfig, learning_rates, stage_of, total_epochs
from mmagga.errors import MmaggaError
from mmagga.losses import CenterLoss
from mmagga.model import load_official
from mmagga.model.backbone import NonLocal
from mmagga.model.build import build_model, untrained_like
from mmagga.training import train_step
from mmagga.training.state import TrainState, initial_state, make_optimizer, set_trainable


def test_learning_rates_are_the_authors():
    theirs = json.loads((PARITY / "lr_per_epoch.json").read_text())
    assert learning_rates(PAPER) == pytest.approx(theirs, rel=1e-12)


def test_stages_are_where_the_paper_has_them():
    edges = [stage_of(PAPER, e) for e in (0, 149, 150, 299, 300, 399)]
    assert edges == [(0, 0), (0, 149), (1, 0), (1, 149), (2, 0), (2, 99)]
    assert total_epochs(PAPER) == 400
    with pytest.raises(ValueError, match="past the last"):
        stage_of(PAPER, 400)


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_freezing_does_not_depend_on_the_order_of_calls():
    model = build_model(dataclasses.replace(DEMO, model=ModelConfig("mmagga", "resnet18")), 5)
    set_trainable(model, "all")
    everything = trainable(model)
    set_trainable(model, "mma")
    matrices = trainable(model)
    assert {name.split(".")[-1] for name in matrices} == {"matrix"}
    assert len(matrices) == 3
    assert sum(p.numel() for p in model.mma_parameters()) == 292
    set_trainable(model, "all_but_mma")
    assert trainable(model) == everything - matrices
    set_trainable(model, "mma")
    assert trainable(model) == matrices


def test_a_stage_with_nothing_to_train_is_refused():
    config = dataclasses.replace(DEMO, model=ModelConfig("mmagga", "resnet18", mma="stripes"))
    with pytest.raises(MmaggaError, match="no such parameters"):
        make_optimizer(build_model(config, 5), config.stages[1], config)


@pytest.mark.parametrize("name", ["mmagga", "baseline"])
def test_the_untrained_network_is_the_one_training_starts_from(name):
    """Of the run's seed, whatever the generator's state, and the generator is left alone."""
    config = dataclasses.replace(DEMO, model=ModelConfig(name, "resnet18", width=16), seed=1)
    start = initial_state(config, 5, torch.device("cpu")).model
    torch.manual_seed(5)
    trained, before = build_model(config, 5), torch.get_rng_state()
    found = untrained_like(trained, config)
    assert torch.equal(before, torch.get_rng_state())
    assert not found.training
    for key, value in start.state_dict().items():
        assert torch.equal(value, found.state_dict()[key]), key
    other = untrained_like(trained, dataclasses.replace(config, seed=2))
    weight = "backbone.conv1.weight"
    assert not torch.equal(other.state_dict()[weight], found.state_dict()[weight])


def test_a_finished_run_needs_no_start_weights():
    model = ModelConfig(backbone="resnet18", width=16)
    config = dataclasses.replace(DEMO, model=model, seed=1)
    trained = build_model(config, 5)
    gone = dataclasses.replace(config, model=dataclasses.replace(model, weights="gone.pth"))
    with pytest.warns(UserWarning, match=r"random weights.*'gone\.pth'"):
        found = untrained_like(trained, gone)
    expected = untrained_like(trained, config).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


SMALL = dataclasses.replace(DEMO, model=ModelConfig(backbone="resnet18", width=16), frames=2)
PIDS = torch.tensor([0, 0, 1, 1])


def after_one_step(config):
    """Everything that a step on four clips of 128 x 64 pixels changes, and what it logged."""
    state = initial_state(config, 2, torch.device("cpu"))
    pixels = torch.randn(4, 2, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    log = train_step(state, pixels, PIDS, config)
    return state, log


def test_weight_decay_and_the_centres_rate_are_those_of_the_configuration():
    usual, _ = after_one_step(SMALL)
    decayed, _ = after_one_step(dataclasses.replace(SMALL, weight_decay=0.5))
    slower = dataclasses.replace(SMALL, loss=dataclasses.replace(SMALL.loss, center_lr=0.05))
    slow, _ = after_one_step(slower)
    name = "backbone.layer4.1.conv2.weight"
    weights = [state.model.state_dict()[name] for state in (usual, decayed, slow)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    start = initial_state(SMALL, 2, torch.device("cpu")).centers.centers
    moved = [(state.centers.centers - start).norm().item() for state in (usual, decayed, slow)]
    assert moved == pytest.approx([moved[0], moved[0], moved[0] / 10], rel=1e-4)


def test_the_step_smooths_as_configured():
    losses = []
    for smoothing in (0.0, 0.3):
        loss = dataclasses.replace(SMALL.loss, smoothing=smoothing)
        losses.append(after_one_step(dataclasses.replace(SMALL, loss=loss))[1]["cross_entropy"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


class InDouble(nn.Module):
    """A module in float64 among others in float32."""

    def __init__(self, module):
        super().__init__()
        self.module = module.double()

    def forward(self, maps):
        return self.module(maps.double()).float()


def non_local_in_double(model):
    """Adam's first steps go by the sign of gradients that are rounding in these blocks alone.

    In float32 the losses of the third and fourth step differ by up to 1 % and 7 %; so they do
    between one thread and two.
    """
    for layer in (model.backbone.layer2, model.backbone.layer3):
        for name, block in list(layer.named_children()):
            if isinstance(block, NonLocal):
                setattr(layer, name, InDouble(block))
    return model


@pytest.mark.slow
def test_six_steps_in_three_stages_follow_the_authors():
    """Their losses, and how weights, BatchNorm statistics and centres move in each stage."""
    theirs = load("trajectory.npz")
    # In single precision Adam's first steps magnify rounding, which differs from CPU to CPU.
    model = load_official(official_mmagga()).double()
    centers = CenterLoss(IDS, 4096).double()
    start = np.random.RandomState(11).standard_normal((IDS, 4096))
    centers.centers.data = torch.from_numpy(start)
    center_optimizer = torch.optim.SGD(centers.parameters(), lr=PAPER.loss.center_lr)
    labels = torch.tensor([4, 4, 9, 9])

    def watched():
        return {
            "mgcov1": model.head.mma["p1"].matrix,
            "mgcov3": model.head.mma["p3"].matrix,
            "downsample0_bias": model.head.project["global"].bias,
            "bnneck_running_mean": model.head.bnneck.running_mean,
            "bn1_running_mean": model.backbone.bn1.running_mean,
            "center4_head": centers.centers[4, :16],
        }

    ours_before = theirs_before = {n: v.detach().numpy().copy() for n, v in watched().items()}
    for number, stage in enumerate(PAPER.stages):
        state = TrainState(model, centers, make_optimizer(model, stage, PAPER), center_optimizer)
        for k, tolerance in enumerate((0.01, 0.05)):
            step = 2 * number + k
            batch = clips((4, 8, 3, 256, 128), 100 + step).double()
            log = train_step(state, batch, labels, PAPER)
            ours = np.array([log[n] for n in ("cross_entropy", "triplet", "center", "loss")])
            error = np.abs(ours / theirs["losses"][step, 1:] - 1)
            print(f"step {step}: relative errors {error.round(5)}")
            assert (error < tolerance).all(), f"step {step}"
        standing = {n: v.detach().numpy().copy() for n, v in watched().items()}
        after = {n: theirs[f"stage{number + 1}_{n}"] for n in standing}
        for name, value in standing.items():
            moved, wanted = value - ours_before[name], after[name] - theirs_before[name]
            error = np.linalg.norm(moved - wanted) / max(np.linalg.norm(wanted), 1e-12)
            print(
                f"stage {number + 1} {name}: moved by {np.linalg.norm(wanted):.1e}, off {error:.1e}"
            )
            if np.linalg.norm(wanted) > 1e-9:
                # At the last stage's rate some of Adam's first steps follow rounding: off by 0.22.
                assert error < (0.05, 0.05, 0.5)[number], f"stage {number + 1}: {name}"
            else:
                assert np.linalg.norm(moved) < 1e-9, f"stage {number + 1}: {name}"
        ours_before, theirs_before = standing, after
