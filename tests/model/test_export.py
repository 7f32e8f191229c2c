"""The network as ONNX; state dicts with the branch name "global", which is a word of Python."""

import keyword
from dataclasses import replace

import pytest
import torch

from mmagga.config import DEMO, ModelConfig
from mmagga.model.build import build_model

SMALL = replace(DEMO, frames=2, model=ModelConfig(backbone="resnet18", width=16))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL, 5).eval()


def test_no_part_has_the_name_of_a_word_of_python(model):
    words = {part for name, _ in model.named_modules() for part in name.split(".")}
    assert not any(map(keyword.iskeyword, words))
    assert list(model.head.project) == ["global", "p3", "p1", "p2"] == model.head.project.keys()
    assert [name for name, _ in model.head.classifiers.items()] == list(model.head.project)
    assert model.head.project["global"] is model.head.project.global_
    assert "global" in model.head.project
    assert "p9" not in model.head.project


def test_state_dicts_with_the_old_name_are_read(model):
    old = {name.replace(".global_.", ".global."): t for name, t in model.state_dict().items()}
    assert sum(".global." in name for name in old) == 3
    other = build_model(SMALL, 5)
    other.load_state_dict(dict(old))
    clips = torch.randn(1, 2, 3, 128, 64)
    assert torch.equal(other.eval()(clips).embedding, model(clips).embedding)
    assert other.state_dict().keys() == model.state_dict().keys()


@pytest.mark.slow
def test_onnx_gives_torchs_embeddings_for_any_batch(model, tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    from mmagga.model.export import export_onnx

    found = export_onnx(model, tmp_path / "x.onnx", frames=2, size=(128, 64), batches=(1, 4))
    assert found.keys() == {1, 4}
    assert max(found.values()) < 1e-5
    assert (tmp_path / "x.onnx").stat().st_size > 1e6


def test_without_its_packages_it_says_what_to_install(model, tmp_path, monkeypatch):
    import sys

    from mmagga.errors import MmaggaError
    from mmagga.model.export import export_onnx

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MmaggaError, match=r"missing: python -m pip install 'mmagga\[onnx\]'"):
        export_onnx(model, tmp_path / "x.onnx", frames=2, size=(128, 64))
