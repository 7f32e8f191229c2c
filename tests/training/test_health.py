"""Health of a network: one killed on purpose, and one that is alive."""

import pytest
import torch

from mmagga.model import make_baseline, make_mmagga
from mmagga.runs.health import describe_health, warning
from mmagga.training.health import dead_units, effective_rank, health


@pytest.fixture
def model():
    torch.manual_seed(0)
    return make_mmagga(3, 2, backbone="resnet18", width=16, non_local=0)


@pytest.fixture
def clips():
    return torch.randn(6, 2, 3, 128, 64, generator=torch.Generator().manual_seed(1))


def kill(model, branch):
    """A bias so low that the ReLU never fires."""
    torch.nn.init.constant_(model.head.project[branch].bias, -1e4)


def test_a_branch_killed_on_purpose_is_found_and_a_living_one_is_not(model, clips):
    alive = health(model, clips)
    assert max(alive["dead"].values()) < 0.6
    assert warning(dict.fromkeys(alive["dead"], 0.5)) is None
    kill(model, "p1")
    found = health(model, clips)
    assert found["dead"]["p1"] == 1
    assert found["rank"]["p1"] == 0
    assert found["dead"]["p2"] == alive["dead"]["p2"]
    said = warning(found["dead"])
    assert "p1 100%" in said
    assert "p2" not in said
    assert "--model.weights" in said
    assert "p1 100%" in describe_health(found)


def test_a_dead_global_branch_has_guides_that_are_all_alike(model, clips):
    alive = health(model, clips)["guide"]
    kill(model, "global")
    dead = health(model, clips)["guide"]
    for name in ("p1", "p2", "p3"):
        assert dead[name] == pytest.approx(1, abs=1e-5)
        assert alive[name] < dead[name]


def test_measuring_changes_nothing(model, clips):
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = health(model, clips), health(model, clips)
    assert first == second
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_units_that_have_not_fired_for_long_are_read_from_the_running_variance(model):
    assert set(dead_units(model).values()) == {0}
    model.head.bnneck.running_var[16:24] = 1e-9  # half of p3, the second branch
    assert dead_units(model) == {"global": 0, "p3": 0.5, "p1": 0, "p2": 0}


def test_the_baseline_has_one_branch_and_no_guide(clips):
    torch.manual_seed(0)
    model = make_baseline(3, backbone="resnet18", width=8, non_local=0)
    found = health(model, clips)
    assert found["dead"] == {"embedding": 0}
    assert found["guide"] == {}
    assert dead_units(model) == {"embedding": 0}


def test_the_effective_rank_of_known_spectra():
    basis = torch.eye(5)
    assert effective_rank(torch.cat([basis, -basis])) == pytest.approx(5)
    assert effective_rank(torch.ones(4, 5)) == 0
    line = torch.linspace(-1, 1, 7)[:, None] * torch.ones(1, 5)
    assert effective_rank(line) == pytest.approx(1)


def test_the_trunk_of_equal_clips_does_not_vary(model, clips):
    same = clips[:1].expand(4, -1, -1, -1, -1)
    assert health(model, same)["trunk"] == pytest.approx(0, abs=1e-4)
    assert health(model, clips)["trunk"] > 1e-3
