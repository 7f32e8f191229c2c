import json

import pytest
import torch

from mmagga import checkpoint
from mmagga.errors import CheckpointError


def state(value):
    return {"model": {"w": torch.full((50,), float(value))}, "step": value, "names": ["a", "b"]}


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, state(step), {"config": "abc"})
    return tmp_path


def test_the_newest_is_loaded_and_two_are_kept(folder):
    loaded = checkpoint.load_latest(folder)
    assert loaded["step"] == 30
    assert torch.equal(loaded["model"]["w"], torch.full((50,), 30.0))
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000020.json", "00000020.pt", "00000030.json", "00000030.pt",
    ]  # fmt: skip
    record = json.loads((folder / "00000030.json").read_text())
    assert record["config"] == "abc"
    assert record["bytes"] == (folder / "00000030.pt").stat().st_size


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None


def damage(path, how):
    data = path.read_bytes()
    flipped = bytes([*data[:700], data[700] ^ 1, *data[701:]])
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": flipped}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(folder, how):
    damage(folder / "00000030.pt", how)
    with pytest.warns(UserWarning, match=r"00000030\.pt"):
        assert checkpoint.load_latest(folder)["step"] == 20


def test_a_missing_one_is_skipped_too(folder):
    (folder / "00000030.pt").unlink()
    with pytest.warns(UserWarning, match=r"00000030\.pt"):
        assert checkpoint.load_latest(folder)["step"] == 20


def test_all_damaged_is_never_a_fresh_start(folder):
    for path in folder.glob("*.pt"):
        damage(path, "flipped")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        checkpoint.load_latest(folder)


def test_without_its_record_a_checkpoint_was_never_committed(folder):
    (folder / "00000030.json").unlink()
    assert checkpoint.load_latest(folder)["step"] == 20
