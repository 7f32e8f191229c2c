"""Every option of the hardware gives the same loss, within what it is known to round."""

import copy
import dataclasses
from functools import partial
from unittest.mock import Mock

import pytest
import torch

from mmagga.config import DEMO, HardwareConfig
from mmagga.errors import MmaggaError, SettingError
from mmagga.model.fast import prepare
from mmagga.system.device import devices, precision, resolve_device
from mmagga.training import train_step
from mmagga.training.loop import compute_losses
from mmagga.training.state import initial_state, make_optimizer

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 1, 1])


def small(name="mmagga", **hardware):
    model = dataclasses.replace(DEMO.model, name=name, width=32)
    return dataclasses.replace(
        DEMO, frames=2, model=model, hardware=HardwareConfig(**hardware), device="cpu"
    )


def clips(seed=0):
    return torch.randn(4, 2, 3, 128, 64, generator=torch.Generator().manual_seed(seed))


def stepped(config, steps=2):
    """Losses of some steps from the same start, and the model after them."""
    state = initial_state(config, 3, CPU)
    prepare(state.model, config.hardware)
    logs = []
    for step in range(steps):
        torch.manual_seed(step)
        logs.append(train_step(state, clips(step), LABELS, config))
    return logs, state.model


@pytest.fixture(scope="module")
def plain():
    return stepped(small())


def assert_close(logs, others, tolerance):
    for log, other in zip(logs, others, strict=True):
        for name, value in log.items():
            assert value == pytest.approx(other[name], rel=tolerance), name


def assert_same_weights(model, other, tolerance):
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, msg=name)


def test_recomputing_changes_nothing(plain):
    """Not one bit: BatchNorm's statistics are not counted twice either."""
    logs, model = stepped(small(recompute=True))
    assert logs == plain[0]
    assert_same_weights(model, plain[1], 0)


def test_recomputing_draws_the_same_dropout():
    logs, _ = stepped(small("baseline"))
    assert stepped(small("baseline", recompute=True))[0] == logs


def test_bf16_is_close(plain):
    logs, model = stepped(small(precision="bf16"), steps=1)
    assert_close(logs, plain[0][:1], 0.05)
    assert logs != plain[0][:1]
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    ("capability", "tiles", "found"),
    [("AVX512", True, "bf16"), ("AVX2", True, "float32"), ("AVX512", False, "float32")],
)
def test_auto_is_bf16_on_a_cpu_with_amx(monkeypatch, capability, tiles, found):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert precision(HardwareConfig(), CPU) == found
    assert precision(HardwareConfig(precision="float32"), CPU) == "float32"


def adam_step(state):
    for parameter in state.optimizer.param_groups[0]["params"]:
        parameter.grad = torch.sin(parameter.detach() * 1e3)
    state.optimizer.step()
    return state


def test_adam_is_fused_with_bf16_and_close():
    """The same gradients give the same step to 1e-6; float32 on a CPU keeps the plain Adam."""
    plain, fused = (initial_state(small(precision=p), 3, CPU) for p in ("float32", "bf16"))
    assert (plain.optimizer.defaults["fused"], fused.optimizer.defaults["fused"]) == (None, True)
    assert_same_weights(adam_step(plain).model, adam_step(fused).model, 1e-6)


def test_a_fused_adam_goes_on_to_the_same_bits():
    state, again = (initial_state(small(precision="bf16"), 3, CPU) for _ in range(2))
    again.load_state_dict(copy.deepcopy(adam_step(state).state_dict()))
    assert_same_weights(adam_step(adam_step(state)).model, adam_step(adam_step(again)).model, 0)


@pytest.mark.slow
def test_compiling_is_close(plain, monkeypatch):
    # What is captured is the kit's matter; inductor's code for it is tested on GPUs.
    compiling = Mock(side_effect=partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(torch, "compile", compiling)
    logs, model = stepped(small(compile=True), steps=1)
    assert_close(logs, plain[0][:1], 1e-3)
    assert model.state_dict().keys() == plain[1].state_dict().keys()
    compiling.assert_called_once()


def test_what_does_not_go_together_is_refused():
    config = small(compile=True, recompute=True)
    state = initial_state(config, 3, CPU)
    with pytest.raises(MmaggaError, match="compile"):
        prepare(state.model, config.hardware)


def kept_bytes(config, stage):
    """Bytes that the forward pass keeps for the backward pass."""
    state = initial_state(config, 3, CPU)
    prepare(state.model, config.hardware)
    make_optimizer(state.model, config.stages[stage], config)
    weights = {p.data_ptr() for p in state.model.parameters()}
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    state.model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        compute_losses(state, clips(), LABELS, config)
    return sum(kept.values())


def test_recomputing_keeps_less():
    assert kept_bytes(small(recompute=True), 0) < 0.6 * kept_bytes(small(), 0)


def test_stage_2_keeps_no_activations_of_the_frozen_network():
    first, second = kept_bytes(small(), 0), kept_bytes(small(), 1)
    print(f"kept for the backward pass: stage 1 {first / 1e6:.1f} MB, stage 2 {second / 1e6:.1f}")
    assert second < 0.05 * first


def test_the_device_is_what_there_is():
    assert resolve_device("cpu") == CPU
    assert devices()[0] == "cpu"
    for absent in ("cuda:99", "cpu:3", "meta", "xpu:7", "abacus", ""):
        with pytest.raises(SettingError, match=rf"no device '{absent}' here: use cpu.* or auto"):
            resolve_device(absent)
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_deterministic_runs_on_a_gpu_are_the_same():
    logs = []
    for _ in range(2):
        config = dataclasses.replace(small(deterministic=True), device="cuda")
        state = initial_state(config, 3, torch.device("cuda"))
        logs.append(train_step(state, clips().cuda(), LABELS.cuda(), config))
    assert logs[0] == logs[1]
