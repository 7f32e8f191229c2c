"""Kill a run again and again, in the middle of anything: it ends as if nothing had happened."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from mmagga.config import DEMO, StageConfig, to_dict
from mmagga.data import augment
from mmagga.errors import Stopped
from mmagga.runs import Run
from mmagga.training import loop, train

pytestmark = pytest.mark.slow

FILES = ("steps.jsonl", "epochs.jsonl", "matrices.jsonl", "metrics.json", "queries.csv")
STEPS = 12

PROGRAM = """
    import json, os, signal, sys
    from mmagga.training import loop
    from mmagga.config import from_dict
    moment, count = sys.argv[3], int(sys.argv[4])
    if moment != "none":
        # Die at the count-th call of a system function that a save goes through.
        original = getattr(os, moment)
        def deadly(*arguments):
            global count
            count -= 1
            if count == 0:
                os.killpg(0, signal.SIGKILL)
            return original(*arguments)
        setattr(os, moment, deadly)
    print("ready", flush=True)
    loop.train(from_dict(json.loads(sys.argv[1])), sys.argv[2], bar=False)
"""


@pytest.fixture(scope="module")
def config(tiny):
    """12 steps of two identities, four tracklets, two frames; a checkpoint after each."""
    return dataclasses.replace(
        DEMO, root=tiny, frames=2, ids_per_batch=2, clips_per_id=2, workers=0, eval_batch=8,
        model=dataclasses.replace(DEMO.model, width=32), checkpoint_every=0.0, eval_every=4,
        stages=(StageConfig(4, 1e-3, "all_but_mma"), StageConfig(1, 2.5e-2, "mma"),
                StageConfig(1, 1e-4, "all")),
        keep_optimizer=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("runs") / "whole", bar=False)


def start(config, folder, moment="none", count=0):
    """Start a run in a process group of its own."""
    arguments = [json.dumps(to_dict(config)), str(folder), moment, str(count)]
    words = [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout.readline() == "ready\n"
    return child


def digest(run):
    """Hash what a run computed: weights, optimisers and centres to the bit, log and results."""
    sha = hashlib.sha256()

    def add(value, name=""):
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                add(value[key], f"{name}.{key}")
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                add(item, f"{name}.{i}")
        else:
            data = value.numpy().tobytes() if hasattr(value, "numpy") else repr(value).encode()
            sha.update(name.encode() + data)

    add(run.load_state())
    for name in FILES:
        sha.update((run.folder / name).read_bytes())
    return sha.hexdigest()


@pytest.mark.filterwarnings("ignore:.*cut short")  # of the save that was under way
def test_killed_at_random_moments(config, whole, tmp_path):
    """SIGKILL to the whole group, with 0, 1 and 2 reading processes in turn; each time a few steps
    further on, or in the first seconds, before a model is even built.
    """
    g = np.random.default_rng(0)
    run, kills, goal = Run(tmp_path / "run"), [], 0
    while len(kills) < 5 and goal < STEPS:
        child = start(dataclasses.replace(config, workers=len(kills) % 3), run.folder)
        while run.saved_step() < goal and child.poll() is None:
            time.sleep(0.01)
        time.sleep(g.uniform(0.0, 1.0))
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        kills.append(run.saved_step())
        goal = kills[-1] + int(g.integers(1, 4))
    train(config, run.folder, bar=False)
    print(f"1 run, {len(kills)} kills, checkpoints then at steps {kills} of {STEPS}")
    print(f"killed {digest(run)}\nwhole  {digest(whole)}")
    assert len(set(kills)) > 2
    assert digest(run) == digest(whole)


@pytest.mark.filterwarnings("ignore:.*cut short")
def test_killed_in_the_middle_of_a_save(config, whole, tmp_path):
    """Between two writes of a commit: what was saved before is what the next start finds."""
    run = Run(tmp_path / "run")
    for moment, count in (("fsync", 19), ("replace", 14), ("replace", 15)):
        child = start(config, run.folder, moment, count)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        left = [p.name for p in run.folder.rglob("*.pt.tmp-*")]
        assert left, "it was not killed in a save"
        print(f"killed at {moment} number {count}, after step {run.saved_step()}, left {left}")
    train(config, run.folder, bar=False)
    assert not list(run.folder.rglob("*.tmp-*"))
    assert digest(run) == digest(whole)


def test_a_live_generator_would_show(config, tmp_path, monkeypatch):
    """The negative control: were augmentation drawn from a generator that lives on, a stop and a
    new process, which starts the generator again, would change the run.
    """
    draw, step = augment.draw, loop.train_step
    short = dataclasses.replace(config, stages=(StageConfig(1, 1e-3),), checkpoint_every=1e9)

    def with_a_new_generator(folder, stop_after=None):
        g = np.random.default_rng(0)

        def stopping(state, *args):
            log = step(state, *args)
            if state.step == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return log

        live = lambda *a, **key: draw(*a, **key | {"seed": int(g.integers(1000))})  # noqa: E731
        monkeypatch.setattr(augment, "draw", live)
        monkeypatch.setattr(loop, "train_step", stopping)
        return train(short, folder, bar=False)

    run = with_a_new_generator(tmp_path / "whole")
    assert digest(with_a_new_generator(tmp_path / "again")) == digest(run)
    with pytest.raises(Stopped):
        with_a_new_generator(tmp_path / "stopped", stop_after=1)
    assert digest(with_a_new_generator(tmp_path / "stopped")) != digest(run)
