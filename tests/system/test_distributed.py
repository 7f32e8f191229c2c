"""Two gloo processes on the CPU do what one does: same batches, same losses, same scores."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import pytest

from mmagga.config import DEMO, HardwareConfig, StageConfig, to_dict
from mmagga.data import load_for
from mmagga.errors import MmaggaError
from mmagga.retrieval.metrics import score
from mmagga.runs import Run
from mmagga.system.distributed import World
from mmagga.training import train

pytestmark = pytest.mark.slow

PROGRAM = """
    import json, os, signal, sys
    from mmagga.training import loop
    from mmagga.config import from_dict
    from mmagga.errors import Stopped
    from mmagga.training.recorder import Recorder

    rank, stop_at = int(os.environ["RANK"]), int(sys.argv[3])
    step, augmented = loop.train_step, loop.augmented
    def train_step(state, *args):
        log = step(state, *args)
        if (rank, state.step) == (1, stop_at):
            os.kill(os.getpid(), signal.SIGTERM)
        return log
    def seen(batch, *args, share):
        read.append([batch.epoch, batch.step, batch.rows[share].tolist()])
        return augmented(batch, *args, share=share)
    loop.train_step, loop.augmented, read = train_step, seen, []
    try:
        loop.train(from_dict(json.loads(sys.argv[1])), sys.argv[2], bar=False)
    except Stopped as error:
        print(error, flush=True)
    open(f"{sys.argv[2]}-rank{rank}.json", "w").write(json.dumps(read))
"""


@pytest.fixture(scope="module")
def config(tiny):
    """Eight steps of two identities, four tracklets, two frames; BatchNorm over all processes."""
    return dataclasses.replace(
        DEMO, root=tiny, frames=2, ids_per_batch=2, clips_per_id=2, workers=0, eval_batch=8,
        model=dataclasses.replace(DEMO.model, width=32), milestones=(),
        stages=(StageConfig(2, 1e-4, "all_but_mma"), StageConfig(1, 1e-3, "mma"),
                StageConfig(1, 1e-5, "all")),
        hardware=HardwareConfig(sync_batchnorm=True),
        keep_optimizer=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("one") / "run", bar=False)


def together(config, folder, stop_at=0):
    """Train in two processes; give what the program printed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = folder.parent / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    arguments = [str(program), json.dumps(to_dict(config)), str(folder), str(stop_at)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *arguments], env=one_thread, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pair(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    together(config, folder)
    return Run(folder)


def test_batches_are_those_of_one_process(config, pair, monkeypatch, tmp_path):
    read = [json.loads(pair.folder.with_name(f"run-rank{r}.json").read_text()) for r in (0, 1)]
    from mmagga.training import loop

    original, whole = loop.augmented, []

    def seen(batch, *args, share):
        whole.append([batch.epoch, batch.step, batch.rows.tolist()])
        return original(batch, *args, share=share)

    monkeypatch.setattr(loop, "augmented", seen)
    train(config, tmp_path / "again", bar=False)
    joined = [[*a[:2], a[2] + b[2]] for a, b in zip(*read, strict=True)]
    assert joined == whole
    assert len(whole) == 8


def test_losses_are_those_of_one_process(alone, pair):
    ours, theirs = pair.read("steps"), alone.read("steps")
    names = ["cross_entropy", "triplet", "center", "loss", "gradient", "distance_50"]
    error = (ours[names] / theirs[names] - 1).abs()
    print(error.to_string())
    assert (error.iloc[0] < 1e-4).all()  # before any step: rounding alone
    assert (error["loss"] < 2e-3).all()
    assert len(ours) == len(theirs) == 8


def test_scores_are_those_of_one_process(alone, pair):
    """Evaluation is shared out, gathered, and written once."""
    assert pair.load_metrics()["queries"] == alone.load_metrics()["queries"]
    tracklets = load_for(pair.load_config())
    again = score(pair.load_model(), tracklets, pair.load_config(), bar=False)  # in one process
    assert pair.load_metrics()["mAP"] == pytest.approx(again.mAP, abs=1e-4)
    assert len(pair.read("epochs")) == 4


def test_a_stop_that_reaches_one_process_stops_both(config, pair, tmp_path):
    """They agree on the step, and together go on to the same losses as without the stop."""
    out = together(config, tmp_path / "run", stop_at=3)
    assert out.count("stopped at step 3 of 8") == 2
    assert Run(tmp_path / "run").load_state()["step"] == 3
    together(config, tmp_path / "run")
    for name in ("steps.jsonl", "epochs.jsonl", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (pair.folder / name).read_bytes(), name


def test_one_process_goes_on_where_two_stopped(config, tmp_path, capsys):
    together(config, tmp_path / "run", stop_at=3)
    run = train(config, tmp_path / "run", bar=False)
    assert "written by 2 processes, now there are 1" in capsys.readouterr().out
    assert run.load_metrics()["epoch"] == 4


def test_a_batch_that_cannot_be_shared_out_is_refused():
    assert World(1, 4).share(64) == slice(16, 32)
    with pytest.raises(MmaggaError, match="64 clips cannot be shared out among 3"):
        World(0, 3).share(64)
