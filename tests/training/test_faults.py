"""What befalls a whole run: another process, killed readers, a full disk, damage, the clock.

Each run must end with the very bytes of one that nothing befell.
"""

import dataclasses
import itertools
import json
import random
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from mmagga.config import DEMO, StageConfig, to_dict
from mmagga.errors import CheckpointError, MmaggaError, NumericError
from mmagga.runs import Run
from mmagga.runs.lock import RunLock, holder
from mmagga.training import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tiny):
    """Six steps in three stages, with a checkpoint after each stage."""
    return dataclasses.replace(
        DEMO, root=tiny, frames=2, ids_per_batch=2, clips_per_id=2, workers=0, eval_batch=8,
        model=dataclasses.replace(DEMO.model, width=32), checkpoint_every=1e9, milestones=(),
        stages=(StageConfig(1, 1e-3, "all_but_mma"), StageConfig(1, 2.5e-2, "mma"),
                StageConfig(1, 1e-4, "all")),
        keep_optimizer=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("runs") / "whole", bar=False)


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    nested = (dict, list, tuple, torch.Tensor)
    return [tensor for item in items if isinstance(item, nested) for tensor in tensors(item)]


def assert_same_run(run, other):
    for name in ("steps.jsonl", "epochs.jsonl", "matrices.jsonl", "metrics.json"):
        assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
    pairs = zip(tensors(run.load_state()), tensors(other.load_state()), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# Train in another process; `before` is run at the beginning of each step.
PROGRAM = """
    import json, os, resource, signal, sys, time
    from mmagga.training import loop
    from mmagga.__main__ import main
    from mmagga.config import from_dict
    from mmagga.errors import MmaggaError
    step = loop.train_step
    def train_step(state, *args):
        before(state.step)
        return step(state, *args)
    loop.train_step = train_step
    def before(step):
        {before}
    try:
        loop.train(from_dict(json.loads(sys.argv[1])), sys.argv[2], bar=False)
    except MmaggaError as error:
        print(error, flush=True)
        sys.exit(error.code)
"""


def start(config, folder, before):
    program = textwrap.dedent(PROGRAM).format(before=before)
    command = [sys.executable, "-c", program, json.dumps(to_dict(config)), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def test_a_second_process_is_refused_and_changes_nothing(config, finished, tmp_path):
    first = start(config, tmp_path / "run", "print(step, flush=True); sys.stdin.read()")
    assert first.stdout.readline() == "0\n"
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*")}
    with pytest.raises(MmaggaError, match=f"in use by process {first.pid} ") as refused:
        train(config, tmp_path / "run", bar=False)
    assert refused.value.code == 2
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*")} == before
    first.communicate(timeout=300)  # which ends its waiting
    assert first.returncode == 0
    assert_same_run(Run(tmp_path / "run"), finished)


def test_a_disk_that_fills_up_stops_it_and_nothing_is_lost(config, finished, tmp_path):
    """The second checkpoint does not fit; with room again the run goes on from the first."""
    limit = "step == 3 and resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    limit += "; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    process = start(config, tmp_path / "run", limit)
    told = process.communicate(timeout=300)[0]
    assert process.returncode == 5, told
    assert "disk or quota full: need" in told
    run = Run(tmp_path / "run")
    assert run.load_state()["step"] == 2
    assert not list(run.folder.rglob("*.tmp-*"))
    assert_same_run(train(config, run.folder, bar=False), finished)


@pytest.mark.parametrize("how", ["cut", "flip", "record"])
def test_a_damaged_checkpoint_costs_its_steps_alone(config, finished, tmp_path, how):
    run = copy(finished, tmp_path)
    newest = run.folder / "checkpoints" / f"{run.saved_step():08d}.pt"
    data = newest.read_bytes()
    at = random.Random(how).randrange(len(data))
    if how == "record":
        newest.with_suffix(".json").unlink()
    else:
        newest.write_bytes(
            data[:at] + (b"" if how == "cut" else bytes([data[at] ^ 8]) + data[at + 1 :])
        )
    with pytest.warns(UserWarning, match=newest.name):
        train(config, run.folder, bar=False)
    assert_same_run(run, finished)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(config, finished, tmp_path):
    run = copy(finished, tmp_path)
    for path in (run.folder / "checkpoints").glob("*.json"):
        path.unlink()
    before = (run.folder / "steps.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        train(config, run.folder, bar=False)
    assert (run.folder / "steps.jsonl").read_bytes() == before


def copy(run, tmp_path):
    import shutil

    return Run(shutil.copytree(run.folder, tmp_path / "run"))


def test_weights_that_are_not_finite_are_not_saved(config, tmp_path, monkeypatch):
    """Whatever made them so after the loss was found finite."""
    from mmagga.training import loop

    step = loop.train_step

    def poisoned(state, *args):
        log = step(state, *args)
        if state.step == 4:
            state.optimizer.state[next(iter(state.optimizer.state))]["exp_avg"].fill_(torch.nan)
        return log

    monkeypatch.setattr(loop, "train_step", poisoned)
    with pytest.raises(NumericError, match=r"checkpoint 4 was not saved: optimizer\.state"):
        train(config, tmp_path / "run", bar=False)
    run = Run(tmp_path / "run")
    assert run.load_state()["step"] == 2


def test_the_clock_does_not_matter(config, finished, tmp_path, monkeypatch):
    """It jumps by hours, mostly back; what is logged as a duration stays one."""
    clock = itertools.cycle([1e9, 0.0, 5e8, -1e6])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    watched = dataclasses.replace(config, checkpoint_every=1e6)
    run = train(watched, tmp_path / "run", bar=False)
    monkeypatch.undo()
    assert_same_run(run, finished)
    assert run.read("timing")["seconds"].between(0, 3600).all()
    assert sorted(p.stem for p in (run.folder / "checkpoints").glob("*.pt")) == [
        "00000004", "00000006"
    ]  # fmt: skip


def test_the_lock_is_free_after_any_end(config, finished, tmp_path):
    with pytest.raises(CheckpointError):
        train(dataclasses.replace(config, seed=9), finished.folder, bar=False)
    assert holder(finished.folder) is None
    with RunLock(finished.folder):
        pass
