"""The authors' checkpoints as run folders that the verbs take."""

import json
import pickle

import numpy as np
import parity_weights as pw
import pytest
import torch
import trees

from mmagga.__main__ import main
from mmagga.config import PAPER
from mmagga.errors import CheckpointError
from mmagga.model import Baseline
from mmagga.runs import Run
from mmagga.runs.imported import import_official, run_folder


def wrapped(state):
    """As the authors' code writes it: it trains in DataParallel."""
    state = {f"module.{name}": tensor for name, tensor in state.items()}
    return {"state_dict": state, "rank1": np.float64(0.9), "epoch": 399}


@pytest.mark.parametrize("form", [wrapped, dict], ids=["whole", "bare"])
def test_a_checkpoint_becomes_a_run(form, tmp_path, capsys):
    path, folder = tmp_path / "base.pth.tar", tmp_path / "run"
    torch.save(form(pw.official_baseline()), path)
    assert main(["import-official", str(path), str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"python -m mmagga evaluate {folder} --dataset mars --root FOLDER" in said
    run = Run(folder)
    model, config = run.load_model(), run.load_config()
    assert isinstance(model, Baseline)
    assert torch.equal(model.head.gem_p, pw.official_baseline()["global_pool.p"])
    assert (config.model.name, config.model.weights, config.dataset) == ("baseline", None, "mars")
    assert (config.height, config.width, config.frames) == (256, 128, PAPER.frames)
    assert main(["status", str(folder)]) == 0
    assert "imported: weights without a log" in capsys.readouterr().out
    record = json.loads((folder / "checkpoints/00000001.json").read_text(encoding="utf-8"))
    assert record["origin"] == "imported from base.pth.tar"
    assert main(["import-official", str(path), str(folder)]) == CheckpointError.code
    assert "holds a run already" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_leaves_no_folder(tmp_path):
    torch.save(wrapped(pw.official_baseline()), tmp_path / "theirs.pth.tar")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "theirs.pth.tar", weights_only=True)  # holds a NumPy scalar
    torch.save({"state_dict": {"a": 3}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="more than named tensors"):
        import_official(tmp_path / "other.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_data_set_follows_from_the_identities(tmp_path):
    state = pw.official_baseline()
    state["classifier.1.weight"] = torch.zeros(150, state["classifier.1.weight"].shape[1])
    torch.save(state, tmp_path / "ilids.pth")
    config = import_official(tmp_path / "ilids.pth", tmp_path / "run").load_config()
    assert config.dataset == "ilids_vid"


def test_a_file_is_imported_once(tmp_path):
    torch.save(pw.official_baseline(), tmp_path / "base.pth")
    folder = run_folder(tmp_path / "base.pth", tmp_path / "runs")
    stamp = (folder / "checkpoints/00000001.pt").stat().st_mtime_ns
    assert run_folder(tmp_path / "base.pth", tmp_path / "runs") == folder
    assert (folder / "checkpoints/00000001.pt").stat().st_mtime_ns == stamp
    assert run_folder(folder) == folder


@pytest.mark.slow
def test_verbs_take_the_authors_file(tmp_path, monkeypatch, capsys):
    """MMA-GGA of the paper's size on the smallest tree in MARS's layout."""
    monkeypatch.chdir(tmp_path)
    root = trees.mars(tmp_path / "mars")
    torch.save(wrapped(pw.official_mmagga()), tmp_path / "mma.pth.tar")
    where = ["--dataset", "mars", "--root", str(root), "--device", "cpu"]
    assert main(["evaluate", "mma.pth.tar", *where]) == 0
    said = capsys.readouterr().out
    assert "mAP" in said
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"imported: {folder.relative_to(tmp_path)}" in said
    assert (folder / "queries.csv").is_file()
