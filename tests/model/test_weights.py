"""Start weights: every form they come in, and what is said of what does not fit."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mmagga.data.synthetic import PRESETS
from mmagga.errors import CheckpointError
from mmagga.model import make_baseline, make_mmagga
from mmagga.model.weights import start_from
from mmagga.system.files import sha256


def small(weights=None, weights_head=False):
    model = make_mmagga(3, 2, backbone="resnet18", width=8)
    model.start = start_from(model, weights, weights_head)
    return model


@pytest.fixture(scope="module")
def plain():
    return models.resnet18().state_dict()


def bare(state):
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


FORMS = {
    "torchvision": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "module": lambda state: {f"module.{k}": v for k, v in state.items()},
    "module of a wrapper": lambda state: {
        "state_dict": {f"module.backbone.{k}": v for k, v in state.items()}
    },
    "without fc": bare,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_trunk_comes_from_each_usual_form(form, plain, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](plain), path)
    model = small(path)
    own = model.backbone.state_dict()
    assert all(torch.equal(own[name], value) for name, value in bare(plain).items())
    assert len(model.start.taken) == len(bare(plain))
    assert all(".non_local" in name for name in model.start.missing)
    assert model.start.unused == []


def test_safetensors_of_half_precision(plain, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in bare(plain).items()}
    save_file(half, tmp_path / "half.safetensors")
    own = small(tmp_path / "half.safetensors").backbone.state_dict()
    torch.testing.assert_close(own["conv1.weight"], plain["conv1.weight"].half().float())


def checkpoint(model, folder):
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"model": model.state_dict()}, folder / "checkpoints" / "00000004.pt")
    return folder


def test_a_run_gives_its_trunk_to_another_network(tmp_path):
    torch.manual_seed(1)
    folder = checkpoint(make_baseline(5, backbone="resnet18"), tmp_path / "run")
    model = small(folder)
    assert all(name.startswith("backbone.") for name in model.start.taken)
    assert any(".non_local" in name for name in model.start.taken)
    assert "head.classifier.weight" in model.start.unused
    said = str(model.start)
    assert "0 of the head" in said
    assert "not used: head." in said


def test_a_run_gives_its_head_but_not_its_classifiers(tmp_path):
    torch.manual_seed(1)
    other = make_mmagga(9, 2, backbone="resnet18", width=8)
    folder = checkpoint(other, tmp_path / "run")
    model = small(folder / "checkpoints" / "00000004.pt", weights_head=True)
    theirs, ours = other.state_dict(), model.state_dict()
    for name in ours:
        same = name in theirs and torch.equal(theirs[name], ours[name])
        assert same != name.startswith("head.classifiers."), name
    assert not torch.equal(small(folder).head.project["p1"].weight, other.head.project["p1"].weight)
    path = folder / "checkpoints" / "00000004.pt"  # as older versions named the global branch
    older = {name.replace(".global_.", ".global."): tensor for name, tensor in theirs.items()}
    torch.save({"model": older}, path)
    again = small(path, weights_head=True)
    assert again.start.taken == model.start.taken
    assert torch.equal(again.head.project["global"].weight, other.head.project["global"].weight)


def test_weights_of_another_resnet_are_refused(plain, tmp_path):
    torch.save(plain, tmp_path / "r18.pth")
    with pytest.raises(CheckpointError, match=r"not those of a resnet50: \d+ of its tensors"):
        start_from(make_baseline(3, backbone="resnet50"), tmp_path / "r18.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "expected a state dict, found list"),
        ({"epoch": 3}, "without tensors"),
        ({"other.weight": torch.zeros(1)}, "not those of a resnet18"),
    ],
)
def test_what_is_no_state_dict_is_refused(content, said, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=said):
        small(tmp_path / "other.pth")


def test_weights_that_are_neither_file_nor_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"'nowhere\.pth'.*IMAGENET1K_V1.*RENDERED_V1"):
        small("nowhere.pth")
    with pytest.raises(CheckpointError, match="a folder without a checkpoint"):
        small(tmp_path)


def test_named_weights_come_from_the_cache_if_their_hash_is_right(plain, tmp_path, monkeypatch):
    cached = tmp_path / "checkpoints" / "resnet18.pth"
    cached.parent.mkdir()
    torch.save(plain, cached)
    cached = cached.rename(cached.with_name(f"resnet18-{sha256(cached)[:8]}.pth"))
    weights = SimpleNamespace(url=f"https://download.pytorch.org/models/{cached.name}")
    named = SimpleNamespace(__members__={"IMAGENET1K_V1": weights})
    monkeypatch.setattr(models, "get_model_weights", lambda name: named)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert small("IMAGENET1K_V1").start.source == "IMAGENET1K_V1"

    torch.save(plain | {"conv1.weight": plain["conv1.weight"] + 1}, cached)
    with pytest.raises(CheckpointError, match=rf"{cached.name} is damaged.*Delete it"):
        small("IMAGENET1K_V1")


def test_named_weights_without_network(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    url = models.ResNet18_Weights.IMAGENET1K_V1.url
    with pytest.raises(CheckpointError) as error:
        small("IMAGENET1K_V1")
    assert url in str(error.value)
    assert str(tmp_path / "checkpoints" / Path(url).name) in str(error.value)


def test_the_built_in_weights_are_those_of_their_card():
    path = Path(str(files("mmagga.model"))) / "rendered_v1.safetensors"
    card = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert path.stat().st_size == card["bytes"] <= 25e6
    assert max(card["health"]["dead"].values()) < 0.5
    start = small("RENDERED_V1").start
    assert start.missing == []
    assert all(name.startswith("head.") for name in start.unused)


def test_the_people_of_the_start_weights_are_in_no_other_preset():
    seeds = {name: spec.seed for name, spec in PRESETS.items()}
    assert [name for name, seed in seeds.items() if seed == seeds["start"]] == ["start"]
