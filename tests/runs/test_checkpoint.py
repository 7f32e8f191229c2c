"""Checkpoints under every damage: loaded the same, passed over by name, or refused."""

import errno
import json
import os
import random
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from torch import nn

from mmagga.errors import CheckpointError, NumericError, ResourceError
from mmagga.runs import checkpoint, records
from mmagga.runs.records import latest_record


def state(value):
    return {"model": {"w": torch.full((50,), float(value))}, "step": value, "names": ["a", "b"]}


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, state(step), {"config": "abc"})
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_is(loaded, step):
    assert torch.equal(loaded["model"]["w"], torch.full((50,), float(step)))
    assert (loaded["step"], loaded["names"]) == (step, ["a", "b"])


TWO = ["00000020.json", "00000020.pt", "00000030.json", "00000030.pt"]


def test_the_newest_is_loaded_and_two_are_kept(folder):
    assert_is(checkpoint.load_latest(folder), 30)
    assert names(folder) == TWO
    record = json.loads((folder / "00000030.json").read_text())
    assert record["config"] == "abc"
    assert record["bytes"] == (folder / "00000030.pt").stat().st_size
    assert latest_record(folder)["healthy"]


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    assert checkpoint.load_latest(tmp_path / "absent") is None
    assert latest_record(tmp_path) is None


# --- damage -------------------------------------------------------------------------------------


def damage(path, how, where):
    data = bytearray(path.read_bytes())
    at = int(where * len(data))
    if how == "cut":
        data = data[:at]
    elif how == "zeros":  # half copied: the length is there, the rest of the bytes is not
        data[at:] = bytes(len(data) - at)
    else:
        data[at] ^= 1 << random.Random(at).randrange(8)
    path.write_bytes(data)


def outcome(folder, newest):
    """Which one was loaded, which must be whole; None for a refusal. Never without notice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = checkpoint.load_latest(folder)
        except CheckpointError:
            return None
    assert loaded is not None, "a fresh start"
    assert_is(loaded, loaded["step"])
    if loaded["step"] != newest:
        assert f"{newest:08d}" in str(caught[0].message)
    return loaded["step"]


@pytest.mark.parametrize("how", ["cut", "zeros", "flip"])
@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_damage_anywhere_never_loads_something_else(tmp_path, how, suffix):
    chance = random.Random(7)
    for i, where in enumerate([0.0, *(chance.random() for _ in range(20))]):
        folder = tmp_path / str(i)
        for step in (20, 30):
            checkpoint.save(folder, step, state(step), {"config": "abc"})
        # Every byte of a .pt is in its hash; a record has some that do not matter to it.
        unharmed = (20, 30) if suffix == ".json" else ()
        damage(folder / f"00000030{suffix}", how, where)
        assert outcome(folder, 30) in (20, *unharmed)
        damage(folder / f"00000020{suffix}", how, where)
        assert outcome(folder, 30) in (None, *unharmed)


@pytest.mark.parametrize("missing", [".pt", ".json"])
def test_half_a_checkpoint_is_passed_over_by_name(folder, missing):
    (folder / f"00000030{missing}").unlink()
    with pytest.warns(UserWarning, match=r"00000030\.pt"):
        assert_is(checkpoint.load_latest(folder), 20)
    why = f"DAMAGED (00000030{missing} is missing)"
    assert latest_record(folder) == {"step": 30, "healthy": False, "why": why}


@pytest.mark.parametrize("lost", ["*.json", "*.pt", "[!x]*0.pt"])
def test_no_fresh_start_where_records_or_tensors_are_gone(folder, lost):
    for path in folder.glob(lost):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"no readable checkpoint: .*00000030\.pt.*delete"):
        checkpoint.load_latest(folder)


def test_a_single_checkpoint_without_its_record_is_no_fresh_start(tmp_path):
    checkpoint.save(tmp_path, 10, state(10), {})
    (tmp_path / "00000010.json").unlink()
    with pytest.raises(CheckpointError, match=r"00000010\.json"):
        checkpoint.load_latest(tmp_path)


def test_a_record_swapped_with_another_is_seen(folder):
    (folder / "00000020.json").replace(folder / "00000030.json")
    with pytest.raises(CheckpointError):
        checkpoint.load_latest(folder)


def test_after_damage_it_goes_on_and_the_damaged_one_is_dropped(folder):
    """Otherwise two damaged ones of a discarded future would outlive every healthy one."""
    damage(folder / "00000030.pt", "cut", 0.5)
    checkpoint.save(folder, 25, state(25), {})
    assert names(folder) == ["00000020.json", "00000020.pt", "00000025.json", "00000025.pt"]
    assert_is(checkpoint.load_latest(folder), 25)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_never_replaces_the_healthy(folder, poison):
    sick = state(40)
    sick["optimizer"] = {"state": {0: [torch.zeros(2), torch.tensor([1.0, poison])]}}
    with pytest.raises(NumericError, match=r"checkpoint 40 was not saved: optimizer\.state\.0\.1"):
        checkpoint.save(folder, 40, sick, {})
    assert names(folder) == TWO
    assert_is(checkpoint.load_latest(folder), 30)


def test_what_could_not_be_read_back_is_never_committed(folder):
    with pytest.raises(CheckpointError, match="more than tensors and plain types"):
        checkpoint.save(folder, 40, state(40) | {"root": Path("data")}, {})
    assert names(folder) == TWO


def test_too_little_room_is_said_before_the_first_byte(folder, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"need 2e-07 GB, free 1e-07 GB at .*00000040\.pt"):
        checkpoint.save(folder, 40, state(40), {})
    assert names(folder) == TWO


PRELUDE = """
    import os, resource, signal, sys
    from pathlib import Path
    import torch
    from mmagga.runs import checkpoint
    from mmagga.system import files
    from mmagga.errors import ResourceError
    folder = Path(sys.argv[1])
    def state(value, size=50):
        w = torch.full((size,), float(value))
        return {"model": {"w": w}, "step": value, "names": ["a", "b"]}
"""

FULL = """
    if sys.argv[2] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
    try:
        checkpoint.save(folder, 40, state(40, 1 << 20), {})
    except ResourceError as error:
        print(error)
        sys.exit(error.code)
"""


def run_child(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(code)]
    command += map(str, arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def assert_full(folder, child):
    assert child.returncode == 5, child.stderr
    assert "disk or quota full: need 0.00419 GB, free" in child.stdout
    assert "00000040.pt" in child.stdout
    assert names(folder) == TWO
    assert_is(checkpoint.load_latest(folder), 30)


def test_a_disk_that_fills_up_leaves_the_old_ones(folder):
    """RLIMIT_FSIZE plays the disk: the free space looks enough, and a write fails."""
    assert_full(folder, run_child(FULL, folder, "limit"))


def test_a_full_disk_leaves_the_old_ones(tmp_path):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        for step in (10, 20, 30):
            checkpoint.save(tmp_path, step, state(step), {})
        assert_full(tmp_path, run_child(FULL, tmp_path, "tmpfs"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# --- kills --------------------------------------------------------------------------------------

# Fork savers; each dies before or after another one of the calls that reach the disk.
KILLED = """
    def deadly(function):
        def call(*arguments, **options):
            step()
            found = function(*arguments, **options)
            step()
            return found
        return call

    def step():
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    files.os.fsync, files.os.replace = deadly(os.fsync), deadly(os.replace)
    Path.unlink = deadly(Path.unlink)
    torch.save, torch.load = deadly(torch.save), deadly(torch.load)
    for before in (), (20, 30):
        for at in range(1, 100):
            left, here = 0, folder / str(len(before)) / f"{at:02d}"
            for number in before:
                checkpoint.save(here, number, state(number), {})
            child = os.fork()
            if child == 0:
                left = at
                checkpoint.save(here, 40, state(40), {})
                os._exit(0)
            if os.waitpid(child, 0)[1] != signal.SIGKILL:
                break
"""


@pytest.mark.slow
def test_a_kill_at_any_point_of_a_save_leaves_a_whole_one(tmp_path):
    """The first save of a run, and a later one: from some point on it is the new checkpoint."""
    child = run_child(KILLED, tmp_path)
    assert child.returncode == 0, child.stderr
    for old, folders in (None, tmp_path / "0"), (30, tmp_path / "2"):
        ends = [after_a_kill(folder) for folder in sorted(folders.iterdir())]
        assert ends == [old] * ends.count(old) + [40] * ends.count(40)
        assert ends.count(old) > 10
        assert ends.count(40) > 3


def after_a_kill(folder):
    """Which one is loaded, whole and without needless warnings; the next save works too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = checkpoint.load_latest(folder)
    half = (folder / "00000040.json").exists() and not (folder / "00000040.pt").exists()
    assert len(caught) == half
    if loaded:
        assert_is(loaded, loaded["step"])
    checkpoint.save(folder, 50, state(50), {})
    assert_is(checkpoint.load_latest(folder), 50)
    return loaded["step"] if loaded else None


def test_a_first_save_cut_short_twice_is_still_a_start(tmp_path):
    """Records without their checkpoints do not add up to damage."""
    for step in (10, 20):
        checkpoint.save(tmp_path, step, state(step), {})
        (tmp_path / f"{step:08d}.pt").unlink()
        with pytest.warns(UserWarning, match="the first save was cut short"):
            assert checkpoint.load_latest(tmp_path) is None
    assert names(tmp_path) == ["00000020.json"]


# --- into a network -----------------------------------------------------------------------------


def networks():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), nn.Sequential(
        nn.Linear(2, 3), nn.Linear(3, 5), nn.Linear(1, 1)
    )


def test_what_fits_is_loaded_silently():
    ours, _ = networks()
    other, _ = networks()
    checkpoint.load_into(ours, other.state_dict(), "it")
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), other.parameters()))


def test_another_network_is_refused_with_a_list_and_nothing_is_changed():
    ours, theirs = networks()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    tensors = theirs.state_dict()
    tensors["renamed"] = tensors.pop("0.bias")
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load_into(ours, tensors, "runs/a's checkpoint")
    assert str(refused.value) == (
        "runs/a's checkpoint does not fit this network of 4 tensors: 1 missing: 0.bias; "
        "3 unexpected: 2.weight, 2.bias, renamed; "
        "2 of another shape: 1.weight (5, 3), not (4, 3), 1.bias (5,), not (4,)"
    )
    assert all(torch.equal(before[name], t) for name, t in ours.state_dict().items())


def test_partial_takes_what_fits_and_counts_it():
    ours, theirs = networks()
    kept = ours[1].weight.clone()
    with pytest.warns(UserWarning, match=r"partial: 2 of 4 tensors \(2 unexpected: 2\.weight"):
        checkpoint.load_into(ours, theirs.state_dict(), "it", partial=True)
    assert torch.equal(ours[0].weight, theirs[0].weight)
    assert torch.equal(ours[1].weight, kept)
    with pytest.raises(CheckpointError, match="4 missing"):
        checkpoint.load_into(ours, {}, "it", partial=True)


def test_long_lists_are_cut():
    with pytest.raises(CheckpointError, match=r"12 missing: 0\.weight, .*2\.weight and 7 more$"):
        checkpoint.load_into(nn.Sequential(*[nn.Linear(1, 1)] * 6), {}, "it")


# --- shortage is not damage -----------------------------------------------------------------------


@pytest.mark.parametrize("code", ["EMFILE", "EIO", "ENOMEM", "ESTALE"])
@pytest.mark.parametrize("where", ["hash", "load"])
def test_shortage_is_not_called_damage(folder, monkeypatch, code, where):
    def fail(path, *arguments, **options):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)), str(path))

    monkeypatch.setattr(*((records, "sha256") if where == "hash" else (torch, "load")), fail)
    with pytest.raises(ResourceError, match=os.strerror(getattr(errno, code))) as held:
        checkpoint.load_latest(folder)
    assert "delete" not in str(held.value)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
)
def test_want_of_memory_is_not_called_damage(folder, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ResourceError, match="out of memory"):
        checkpoint.load_latest(folder)


@pytest.mark.parametrize("error", [RuntimeError("no kernel for this device"), UnpicklingError("x")])
def test_whole_bytes_that_torch_cannot_load_are_not_called_damage(folder, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=r"hash is right, but torch .* cannot") as held:
        checkpoint.load_latest(folder)
    assert "delete" not in str(held.value)


def test_a_checkpoint_that_may_not_be_read_is_not_called_damage(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(records, "sha256", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\): the file"):
        checkpoint.load_latest(folder)
    assert latest_record(folder)["why"] == "it cannot be read now (Permission denied)"
