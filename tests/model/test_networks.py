import dataclasses
import inspect

import parity_weights as pw
import pytest
import torch

from mmagga.config import Config, ModelConfig
from mmagga.model import Head, load_official, make_baseline, make_mmagga
from mmagga.model.build import build_model

SMALL = {"backbone": "resnet18", "width": 32}
BUILD = {
    "mmagga": lambda: make_mmagga(6, 2, **SMALL),
    "baseline": lambda: make_baseline(6, **SMALL),
}
BOTH = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD.keys())


@torch.no_grad()
def test_parity_of_mmagga(parity_model, clips8):
    theirs, maps = pw.load("model_eval.npz"), parity_model.maps(clips8)
    means = maps.mean((3, 4)).flatten(0, 1)
    assert pw.relative(means, theirs["backbone_mean_over_space"]) < 1e-3
    ours = parity_model.head(maps)
    assert pw.relative(ours.embedding, theirs["eval_feature"]) < 1e-3
    assert pw.relative(ours.attention.frames, theirs["attention_global"]) < 1e-3
    for name, weights in ours.attention.parts.items():
        assert pw.relative(weights.flatten(1), theirs[f"attention_{name}"]) < 1e-3


@torch.no_grad()
def test_parity_of_the_baseline(clips8):
    theirs, model = pw.load("baseline_eval.npz"), load_official(pw.official_baseline()).eval()
    assert pw.relative(model(clips8).embedding, theirs["eval_feature_T8"]) < 1e-3
    clips4 = pw.clips((2, 4, 3, 256, 128), 9)
    assert pw.relative(model(clips4).embedding, theirs["eval_feature_T4"]) < 1e-3


def test_parameter_count_of_the_paper():
    with torch.device("meta"):
        model = make_mmagga(625)
    ours = sum(parameter.numel() for parameter in model.parameters())
    unused = 2048 * 1000 + 1000
    assert round((ours + unused) / 1e6, 1) == 42.9
    assert sum(parameter.numel() for parameter in model.mma_parameters()) == 292


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def test_defaults_are_the_papers():
    paper = dataclasses.asdict(ModelConfig())
    built = defaults(make_mmagga) | defaults(Head)
    assert built.pop("frames") == Config().frames == 8
    assert built.keys() == paper.keys() - {"name", "weights", "weights_head"}
    assert built == {name: paper[name] for name in built}


@torch.no_grad()
@pytest.mark.parametrize("size", [(256, 128), (128, 64)])
def test_both_image_sizes(size):
    output = make_mmagga(6, 2, **SMALL).eval()(torch.randn(1, 2, 3, *size))
    assert output.embedding.shape == (1, 128)
    assert output.attention.parts["p2"].shape == (1, 2, 8)
    assert all(value.isfinite().all() for value in output.logits)


def built_for(height, width):
    model = ModelConfig(backbone="resnet18", width=32)
    return build_model(Config(model=model, frames=2, height=height, width=width), 6)


def test_the_map_counts_not_the_image():
    built_for(120, 60)  # rounds up to a map of 8x4


@pytest.mark.parametrize("size", [(224, 224), (384, 96)])
def test_image_sizes_that_cannot_be_cut(size):
    with pytest.raises(ValueError, match="multiple of 128 pixels"):
        built_for(*size)


def test_clips_are_checked():
    model = make_mmagga(6, 2, **SMALL)
    with pytest.raises(ValueError, match=r"\(B, T, 3, H, W\); got torch.float32 \(2, 3, 64, 32\)"):
        model(torch.rand(2, 3, 64, 32))
    with pytest.raises(ValueError, match="uint8"):
        model(torch.zeros(1, 2, 3, 64, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="clips of 2 frames, got 3"):
        model(torch.rand(1, 3, 3, 128, 64))


@BOTH
def test_initialisation_follows_the_seed(build):
    def state(seed):
        torch.manual_seed(seed)
        return build().state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@torch.no_grad()
def test_baseline_output():
    model = make_baseline(6, backbone="resnet18", width=16)
    output = model(torch.randn(3, 5, 3, 64, 32))
    assert output.feature.shape == output.embedding.shape == (3, 16)
    torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(3))
    assert len(output.logits) == 1
    assert output.logits[0].shape == (3, 6)
    assert torch.equal(output.attention.frames, torch.full((3, 5), 0.2))
    assert output.attention.parts == {}
    assert model.mma_parameters() == []


@torch.no_grad()
@BOTH
def test_channels_last_and_bfloat16(build):
    torch.manual_seed(0)
    model, clips = build().eval(), torch.randn(2, 2, 3, 128, 64)
    plain = model(clips).embedding
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(clips).embedding, plain, rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(clips)
    tensors = [mixed.embedding, mixed.feature, *mixed.logits, mixed.attention.frames]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert pw.relative(mixed.embedding, plain) < 0.05


def test_a_forward_leaves_nothing_on_the_model():
    model = make_mmagga(6, 2, **SMALL).eval()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    model(torch.randn(1, 2, 3, 128, 64))
    assert before == {name: set(vars(module)) for name, module in model.named_modules()}
