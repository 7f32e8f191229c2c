"""Each fast path against the plain one, with the tolerance that its docstring states."""

import dataclasses
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from mmagga.config import DEMO, HardwareConfig
from mmagga.model import make_mmagga
from mmagga.model.backbone import Backbone, NonLocal
from mmagga.model.fast import LeanNonLocal, fold_batchnorm, for_embedding, prepare
from mmagga.system.device import autocast
from mmagga.training.state import initial_state

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from plain import Plain, embed_tracklet

CPU = torch.device("cpu")


def clips(b=4, seed=0):
    return torch.randn(b, 2, 3, 128, 64, generator=torch.Generator().manual_seed(seed))


def settle(model):
    """Give every BatchNorm statistics, scales and shifts of its own, the non-local ones too."""
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 1.0, generator=generator)
    return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return settle(make_mmagga(5, 2, backbone="resnet18", width=32))


def pair():
    """The same non-local block twice, as it is and lean, and maps that are channels_last."""
    torch.manual_seed(0)
    plain = settle(NonLocal(16, 1)).double()
    lean = deepcopy(plain)
    lean.__class__ = LeanNonLocal
    maps = torch.randn(3, 16, 6, 4, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last
    )
    return plain, lean, maps


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_lean_non_local_block(training):
    """Same maps, gradients and running statistics, but for the bias that BatchNorm removes."""
    plain, lean, maps = pair()
    gradients = []
    for block in (plain.train(training), lean.train(training)):
        leaf = maps.clone().requires_grad_()
        out = block(leaf)
        (out * out.detach().cos()).sum().backward()
        gradients.append((out.detach(), leaf.grad))
    torch.testing.assert_close(gradients[1], gradients[0])
    for (name, ours), theirs in zip(lean.named_parameters(), plain.parameters()):
        if training and name == "back.bias":
            assert ours.grad is None
            assert theirs.grad.abs().max() < 1e-9
        else:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    for ours, theirs in zip(lean.buffers(), plain.buffers()):
        torch.testing.assert_close(ours, theirs)


def test_a_lean_block_keeps_its_layout():
    _, lean, maps = pair()
    assert lean(maps).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folded_batchnorms(name):
    torch.manual_seed(0)
    backbone = settle(Backbone(name)).eval()
    folded = deepcopy(backbone)
    fold_batchnorm(folded)
    left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(left) == sum(isinstance(m, NonLocal) for m in folded.modules())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), backbone(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.02)])
def test_embeddings_of_the_fast_copy(model, precision, tolerance):
    """Within `tolerance` of the embedding's length; the model itself stays as it was."""
    before = deepcopy(model.state_dict())
    hardware = HardwareConfig(precision=precision)
    fast = for_embedding(model, hardware, CPU)
    with torch.inference_mode():
        expected = model.eval()(clips()).embedding
        with autocast(hardware, CPU):
            ours = fast(clips()).embedding
    error = (ours - expected).norm(dim=1) / expected.norm(dim=1)
    print(f"{precision}: relative error {error.max():.1e}")
    assert error.max() < tolerance
    for (name, value), old in zip(model.state_dict().items(), before.values(), strict=True):
        assert torch.equal(value, old), name


def test_a_copy_of_a_model_that_recomputes(model):
    """What `prepare` put on the layers goes with the copy and does not lead back to the model."""
    hardware = HardwareConfig(recompute=True)
    prepared = deepcopy(model)
    prepare(prepared, hardware)
    fast = for_embedding(prepared, hardware, CPU)
    nn.init.zeros_(prepared.backbone.layer1[0].conv1.weight)
    with torch.inference_mode():
        expected = model.eval()(clips()).embedding
        torch.testing.assert_close(fast(clips()).embedding, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_plain_transcription_gives_our_numbers(model, training):
    """In float64: of four clips in training, BatchNorm blows up what float32 rounds away."""
    ours = deepcopy(model).double().train(training)
    plain = Plain(deepcopy(model)).double().train(training)
    a, b = ours(clips().double()), plain(clips().double())
    torch.testing.assert_close(b.embedding, a.embedding)
    torch.testing.assert_close(b.feature, a.feature)
    torch.testing.assert_close(b.logits, a.logits)
    torch.testing.assert_close(b.attention.frames, a.attention.frames)
    torch.testing.assert_close(b.attention.parts, a.attention.parts)


def test_a_tracklet_embedded_plainly(model):
    """Three frames are the clips 0 1 and 2 2."""
    frames = clips(2).flatten(0, 1)[:3]
    embedded = embed_tracklet(Plain(model).eval(), frames, 2)
    both = torch.stack([frames[:2], frames[[2, 2]]])
    with torch.no_grad():
        expected = nn.functional.normalize(model.eval()(both).embedding.mean(0), dim=0)
    torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-5)


def test_what_float32_trains_on_a_cpu_is_laid_out_as_ever():
    """Bit for bit the training of the runs there are: neither channels_last nor lean."""
    config = dataclasses.replace(DEMO, frames=2, device="cpu")
    state = initial_state(config, 3, CPU)
    prepare(state.model, config.hardware)
    assert state.model.backbone.layer1[0].conv1.weight.is_contiguous()
    assert not any(isinstance(m, LeanNonLocal) for m in state.model.modules())


def test_bf16_is_nearer_to_float32_with_lean_blocks():
    """A non-local block normalises small sums: in bf16 all the way, these lose their digits."""
    features = {}
    for name, precision in (("float32", "float32"), ("lean", "bf16"), ("as it was", "bf16")):
        hardware = HardwareConfig(precision=precision)
        state = initial_state(dataclasses.replace(DEMO, frames=2, device="cpu"), 3, CPU)
        prepare(settle(state.model).train(), hardware)
        for module in state.model.modules():
            if isinstance(module, NonLocal):
                assert isinstance(module, LeanNonLocal) == (precision == "bf16")
                module.__class__ = LeanNonLocal if name == "lean" else NonLocal
        with autocast(hardware, CPU), torch.no_grad():
            features[name] = state.model(clips()).feature
    exact = features.pop("float32")
    errors = {name: ((f - exact).norm() / exact.norm()).item() for name, f in features.items()}
    print(errors)
    assert errors["lean"] < 0.05
    assert errors["lean"] < errors["as it was"] / 2
