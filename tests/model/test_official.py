import numpy as np
import parity_weights as pw
import pytest
import torch

from mmagga.errors import CheckpointError
from mmagga.model import MMAGGA, Baseline, load_official


def checkpoint(state_dict):
    return {"state_dict": state_dict, "rank1": np.float64(0.91), "epoch": 400}


def test_round_trip_of_a_file(official_state, tmp_path):
    path = tmp_path / "official.pth.tar"
    state = {f"module.{name}": tensor for name, tensor in official_state.items()}
    torch.save(checkpoint(state), path)
    model = load_official(path)
    assert isinstance(model, MMAGGA)
    assert model.head.frames == pw.FRAMES
    assert torch.equal(model.head.mma["p2"].matrix, official_state["mgcov2"])
    assert torch.equal(
        model.backbone.layer3.non_local5.norm.bias, official_state["NL_3.2.W.1.bias"]
    )


def test_every_tensor_finds_its_place(parity_model, official_state):
    ours = sum(tensor.double().sum().item() for tensor in parity_model.state_dict().values())
    theirs = sum(
        tensor.double().sum().item()
        for name, tensor in official_state.items()
        if not name.startswith("base.fc.")
    )
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_the_baseline_is_recognised():
    model = load_official(pw.official_baseline())
    assert isinstance(model, Baseline)
    assert model.head.classifier.out_features == pw.IDS


def test_faults_are_listed(official_state):
    state = dict(official_state)
    state["surplus.weight"] = state.pop("gl11.bias")
    state["mgcov1"] = torch.zeros(4, 9)
    with pytest.raises(CheckpointError) as error:
        load_official(state)
    for fault in (
        "gl11.bias is missing",
        "surplus.weight is unexpected",
        "mgcov1 is (4, 9), expected (4, 8)",
    ):
        assert fault in str(error.value)


def test_something_else_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"neither MMA-GGA .* conv1\.weight"):
        load_official({"conv1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_official(tmp_path / "absent.pth.tar")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="has no `state_dict`"):
        load_official(tmp_path / "list.pth")


@pytest.mark.parametrize("rank1", [np.float64(0.91), np.float32(0.91)])
def test_a_scalar_written_under_numpy_1_is_read(tmp_path, rank1):
    path = tmp_path / "old.pth.tar"
    torch.save(checkpoint({}) | {"rank1": rank1}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert b"numpy._core.multiarray" in data
    path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    with pytest.raises(CheckpointError, match="neither MMA-GGA"):  # read, and found empty
        load_official(path)


class Payload:
    """Pickles into a call that creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["rank1", "state_dict"])
def test_a_hostile_file_is_refused_and_not_run(tmp_path, zipped, place):
    path, target = tmp_path / "hostile.pth.tar", tmp_path / "touched"
    hostile = checkpoint({}) | {place: Payload(target)}
    torch.save(hostile, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="would mean running its code"):
        load_official(path)
    assert not target.exists()


def test_numpy_objects_are_not_among_the_allowed(tmp_path):
    path, target = tmp_path / "hostile.pth.tar", tmp_path / "touched"
    torch.save(checkpoint({}) | {"rank1": np.array([Payload(target)], dtype=object)}, path)
    with pytest.raises(CheckpointError, match="refused"):
        load_official(path)
    assert not target.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -10])
def test_a_damaged_file_is_refused(tmp_path, keep):
    path = tmp_path / "torn.pth.tar"
    torch.save(checkpoint({"a": torch.zeros(100)}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="refused"):
        load_official(path)


def test_reading_allows_nothing_for_good(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save(checkpoint({}), tmp_path / "file.pth")
    with pytest.raises(CheckpointError):
        load_official(tmp_path / "file.pth")
    assert set(torch.serialization.get_safe_globals()) == before
