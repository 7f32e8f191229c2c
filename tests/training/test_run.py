"""One small run on rendered people: its folder, its resumption, its verbs."""

import dataclasses
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision

from mmagga.__main__ import main
from mmagga.config import DEMO, StageConfig, to_dict
from mmagga.data import clips, frames, load_tracklets
from mmagga.data.synthetic import render
from mmagga.errors import (
    CheckpointError,
    DataError,
    MmaggaError,
    NumericError,
    ResourceError,
    Stopped,
)
from mmagga.model.head import MMA
from mmagga.retrieval import embedding
from mmagga.runs import Run, list_runs
from mmagga.runs.status import status
from mmagga.system import files
from mmagga.training import loop, train, train_step
from mmagga.training.replay import replay

STAGES = (
    StageConfig(2, 1e-3, "all_but_mma"),
    StageConfig(1, 2.5e-2, "mma"),
    StageConfig(1, 1e-4, "all"),
)


@pytest.fixture(scope="module")
def config(tiny):
    """Eight steps of two identities, four tracklets, two frames."""
    small = dataclasses.replace(DEMO.model, width=32)
    return dataclasses.replace(
        DEMO, root=tiny, frames=2, ids_per_batch=2, clips_per_id=2, model=small, stages=STAGES,
        workers=0, eval_batch=8, checkpoint_every=1e9,
        keep_optimizer=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("runs") / "whole", bar=False)


def contents(run, metrics=True):
    """Everything that must be equal: weights, optimisers, centres, logs, metrics."""
    state = run.load_state()
    results = ("metrics.json", "queries.csv") if metrics else ()
    files = ("steps.jsonl", "epochs.jsonl", "matrices.jsonl", *results)
    return state, {name: (run.folder / name).read_bytes() for name in files}


def assert_same_run(run, other):
    (state, files), (other_state, other_files) = contents(run), contents(other)
    assert files == other_files
    assert_same_state(state, other_state)


def assert_same_state(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_state(a[key], b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_same_state(x, y)
    else:
        assert a == b


def test_a_run_folder_says_what_happened(finished, config):
    steps, epochs = finished.read("steps"), finished.read("epochs")
    assert steps["step"].tolist() == list(range(1, 9))
    assert steps["stage"].tolist() == [1, 1, 1, 1, 2, 2, 3, 3]
    assert steps["lr"].tolist() == [1e-3] * 4 + [2.5e-2] * 2 + [1e-4] * 2
    assert len(epochs) == 4
    evaluated = [record["epoch"] for record in finished.records("epochs") if "metrics" in record]
    assert evaluated == [2, 3, 4], "at the end of each stage"
    assert epochs["loss"].iat[1] == pytest.approx(steps["loss"].iloc[2:4].mean())
    assert finished.load_metrics()["epoch"] == 4
    assert 0 < finished.load_metrics()["mAP"] <= 1
    assert finished.load_config() == config
    assert json.loads((finished.folder / "environment.json").read_text())["torch"]


def test_an_optimiser_lasts_for_its_stage(finished):
    """The last stage has two steps: its Adam has seen both, and none of the stages before."""
    adam = finished.load_state()["optimizer"]["state"]
    assert {int(parameter["step"]) for parameter in adam.values()} == {2}


def test_dropout_differs_from_step_to_step(config, tmp_path, monkeypatch):
    kept = []

    def spy(state, clips, *rest):
        if len(kept) < 8:
            kept.append(torch.nn.functional.dropout(torch.ones(64)))
        return train_step(state, clips, *rest)

    monkeypatch.setattr(loop, "train_step", spy)
    one = dataclasses.replace(config, stages=config.stages[:1], eval_every=0)
    train(one, tmp_path / "run", bar=False)
    assert len({tuple(mask.tolist()) for mask in kept}) == len(kept) == 4


def test_every_stage_warms_up(config, tmp_path):
    stages = (StageConfig(1, 1e-3, "all_but_mma"), StageConfig(1, 2e-2, "mma"))
    warm = dataclasses.replace(config, stages=stages, warmup=4, eval_every=0)
    steps = train(warm, tmp_path / "run", bar=False).read("steps")
    assert steps["lr"].tolist() == pytest.approx([2.5e-4, 5e-4, 5e-3, 1e-2])


def test_the_log_holds_the_health_of_every_epoch(finished):
    for epoch in finished.records("epochs"):
        assert epoch["health"]["dead"].keys() == {"global", "p3", "p1", "p2"}
        assert epoch["health"]["guide"].keys() == {"p3", "p1", "p2"}
        assert epoch["health"]["trunk"] > 0
    assert "dead units: global" in status(finished)


def test_stages_change_what_they_say(config, tmp_path):
    """Stage 2 moves the matrices and BatchNorm's statistics, and no other weight."""
    states = []

    class Spy(Run):
        def save_state(self, step, state, keep):
            states.append({k: v.clone() for k, v in state["model"].items()})

    original, loop.Run = loop.Run, Spy
    try:
        train(config, tmp_path / "run", bar=False)
    finally:
        loop.Run = original
    after_first, after_second, _ = states
    moved = {k for k in after_first if not torch.equal(after_first[k], after_second[k])}
    matrices = {k for k in moved if k.endswith(".matrix")}
    assert len(matrices) == 3
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert all(k.endswith(statistics) for k in moved - matrices)
    assert any(k.endswith("running_mean") for k in moved)


def test_a_finished_run_is_left_as_it_is(finished, config):
    before = contents(finished)[1]
    stamp = (finished.folder / "metrics.json").stat().st_mtime_ns
    again = train(config, finished.folder, bar=False)
    assert contents(again)[1] == before
    assert (finished.folder / "metrics.json").stat().st_mtime_ns == stamp


def test_a_finished_run_keeps_its_weights_alone(config, finished, tmp_path):
    """By default; `keep_optimizer` is not part of a run's identity."""
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    for path in (run.folder / "checkpoints").glob("00000008.*"):
        path.unlink()
    small = dataclasses.replace(config, keep_optimizer=False)
    train(small, run.folder, bar=False)
    (path,) = (run.folder / "checkpoints").glob("*.pt")
    whole = finished.folder / "checkpoints" / path.name
    assert path.stat().st_size < 0.4 * whole.stat().st_size
    state, kept = finished.load_state(), run.load_state()
    assert state.keys() - kept.keys() == {"optimizer", "center_optimizer"}
    assert_same_state({name: state[name] for name in kept}, kept)
    stamp = path.stat().st_mtime_ns
    for again in (small, config):
        assert train(again, run.folder, bar=False).load_model()
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    config, finished, tmp_path, monkeypatch, stop_after
):
    """Stopped by a real signal in mid-stage, at its end and in the middle of an epoch."""
    step = loop.train_step

    def interrupted(state, *args):
        log = step(state, *args)
        if state.step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return log

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(Stopped, match=f"stopped at step {stop_after} of 8; run it again"):
        train(config, tmp_path / "run", bar=False)
    monkeypatch.undo()
    torch.manual_seed(12345)  # whatever the global generator was meanwhile
    assert_same_run(train(config, tmp_path / "run", bar=False), finished)


def test_a_run_goes_on_without_the_weights_it_started_from(config, tmp_path, monkeypatch):
    step, weights = loop.train_step, tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)

    def interrupted(state, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(state, *args)

    model = dataclasses.replace(config.model, weights=str(weights))
    config = dataclasses.replace(config, model=model, stages=(StageConfig(1, 1e-3),))
    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", bar=False)
    monkeypatch.undo()
    weights.unlink()
    run = train(config, tmp_path / "run", bar=False)
    assert run.load_metrics()["epoch"] == 1
    run.load_model()
    with pytest.raises(CheckpointError, match="no such file"):
        train(config, tmp_path / "new", bar=False)


def test_dropout_is_drawn_again_after_a_stop(config, tmp_path, monkeypatch):
    """The baseline draws from torch's generator, whose state no checkpoint holds."""
    baseline = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, name="baseline"),
        stages=(StageConfig(2, 1e-3),),
    )
    whole = train(baseline, tmp_path / "whole", bar=False)
    step = loop.train_step

    def interrupted(state, *args):
        log = step(state, *args)
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return log

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(Stopped):
        train(baseline, tmp_path / "run", bar=False)
    monkeypatch.undo()
    torch.manual_seed(54321)
    assert_same_run(train(baseline, tmp_path / "run", bar=False), whole)


KILLED = """
    import dataclasses, json, os, signal, sys
    from mmagga.training import loop
    from mmagga.config import from_dict
    config = from_dict(json.loads(sys.argv[1]))
    step, last = loop.train_step, int(sys.argv[3])
    def train_step(state, *args):
        log = step(state, *args)
        if state.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return log
    loop.train_step = train_step
    loop.train(config, sys.argv[2], bar=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("killed_at", "logged", "saved"), [(3, 2, 0), (6, 5, 4)])
def test_a_killed_run_goes_on_to_the_same_bytes(
    config, finished, tmp_path, killed_at, logged, saved
):
    """SIGKILL with steps logged that no checkpoint has; then another number of workers."""
    arguments = [json.dumps(to_dict(config)), str(tmp_path / "run"), str(killed_at)]
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *arguments], check=False)
    assert child.returncode == -signal.SIGKILL
    run = Run(tmp_path / "run")
    assert run.read("steps")["step"].max() == logged
    assert (run.load_state() or {"step": 0})["step"] == saved
    with_workers = dataclasses.replace(config, workers=2)
    assert_same_run(train(with_workers, run.folder, bar=False), finished)


def test_another_seed_gives_another_run(config, finished, tmp_path):
    """The negative control of the equalities above."""
    other = train(dataclasses.replace(config, seed=1), tmp_path / "run", bar=False)
    with pytest.raises(AssertionError):
        assert_same_run(other, finished)


def test_a_folder_of_another_run_is_refused(config, finished):
    with pytest.raises(CheckpointError, match="seed is 0, not 5"):
        train(dataclasses.replace(config, seed=5), finished.folder, bar=False)


def test_a_loss_that_is_not_finite_stops_before_the_step(config, finished, tmp_path, monkeypatch):
    step = loop.train_step

    def poisoned(state, clips, *args):
        return step(state, clips * float("nan") if state.step == 3 else clips, *args)

    monkeypatch.setattr(loop, "train_step", poisoned)
    with pytest.raises(NumericError, match="step 3"):
        train(dataclasses.replace(config, checkpoint_every=0.0), tmp_path / "run", bar=False)
    run = Run(tmp_path / "run")
    state = run.load_state()
    assert state["step"] == 3
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())
    before = contents(run, metrics=False)
    told = replay(run, bar=False)
    assert "the same as before" in told
    assert "step 3" in told
    assert told.count("person") == 4
    assert contents(run, metrics=False)[1] == before[1], "a replay leaves the run as it is"
    monkeypatch.undo()
    done = []
    monkeypatch.setattr(loop, "train_step", lambda *a: done.append(a[0].step) or step(*a))
    assert "this time all losses are finite" in replay(run, bar=False)
    assert done == [3], "only the step that failed"
    train(dataclasses.replace(config, checkpoint_every=0.0), run.folder, bar=False)
    with pytest.raises(MmaggaError, match="has passed it since"):
        replay(run, bar=False)
    with pytest.raises(MmaggaError, match="no failure"):
        replay(finished, bar=False)


def test_a_gradient_that_is_not_finite_stops_before_the_step(config, tmp_path, monkeypatch):
    losses = loop.compute_losses

    def poisoned(state, *args):
        total, values = losses(state, *args)
        if state.step == 3:
            total.register_hook(lambda gradient: gradient * float("inf"))
        return total, values

    monkeypatch.setattr(loop, "compute_losses", poisoned)
    with pytest.raises(NumericError, match="gradient's norm nan"):
        train(config, tmp_path / "run", bar=False)
    assert len(Run(tmp_path / "run").read("steps")) == 3


def test_out_of_memory_says_what_to_change(config, tmp_path, monkeypatch):
    """Never a smaller batch by itself."""

    def small_device(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(loop, "compute_losses", small_device)
    with pytest.raises(ResourceError, match=r"with 4 clips .* set hardware.recompute"):
        train(config, tmp_path / "run", bar=False)
    assert len(Run(tmp_path / "run").read("steps")) == 0


def test_a_killed_reader_is_named(config, tmp_path, monkeypatch):
    read = clips._TrainingBatches.__getitem__

    def dies(self, key):
        if key == (1, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, key)

    monkeypatch.setattr(clips._TrainingBatches, "__getitem__", dies)
    with pytest.raises(ResourceError, match=r"killed by signal: Killed.* workers=0"):
        train(dataclasses.replace(config, workers=1), tmp_path / "run", bar=False)
    monkeypatch.undo()
    assert train(config, tmp_path / "run", bar=False).load_metrics()


def test_other_data_in_the_same_folder_are_refused(config, finished, tmp_path):
    """Two frames exchanged under an existing index: the names are the same, the pixels are not."""
    copy, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(config.root, copy)
    shutil.copytree(finished.folder, run)
    elsewhere = dataclasses.replace(config, root=copy)
    train(elsewhere, run, bar=False)  # the same data in another place are welcome
    before = (run / "config.json").read_bytes()
    one, other = sorted((copy / "bbox_train").rglob("*.jpg"))[:2]
    for path, content in ((one, other.read_bytes()), (other, one.read_bytes())):
        path.write_bytes(content)
    with (
        pytest.warns(UserWarning, match=f"2 of .* frames .* have changed .*{one.name}"),
        pytest.raises(CheckpointError, match="trained on other frames"),
    ):
        train(elsewhere, run, bar=False)
    assert (run / "config.json").read_bytes() == before


def test_nothing_is_written_into_a_run_that_cannot_be_carried_on(
    config, finished, tmp_path, monkeypatch
):
    """A finished run's configuration stays, and a run without data leaves no folder."""
    before = state_of(finished.folder)
    nowhere = dataclasses.replace(config, root=tmp_path / "nowhere", workers=1)
    with pytest.raises(DataError):
        train(nowhere, finished.folder, bar=False)
    with pytest.raises(DataError):
        train(nowhere, tmp_path / "new", bar=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MmaggaError, match="pip install"):
        train(dataclasses.replace(config, tensorboard=True), tmp_path / "new", bar=False)
    assert not (tmp_path / "new").exists()
    train(dataclasses.replace(config, workers=1), finished.folder, bar=False)
    assert state_of(finished.folder) == before


def state_of(folder):
    names = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"]
    return {str(path): path.read_bytes() for path in names}


def test_a_stop_during_an_evaluation_is_obeyed_at_once_and_nothing_is_lost(
    config, finished, tmp_path, monkeypatch
):
    """The weights are saved before it begins; the same command evaluates them."""
    clips_seen = []
    forward = embedding.forward_within_memory

    def interrupted(*arguments):
        clips_seen.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return forward(*arguments)

    monkeypatch.setattr(embedding, "forward_within_memory", interrupted)
    run = Run(tmp_path / "run")
    with pytest.raises(Stopped, match="stopped at step 4, before its evaluation was done"):
        train(config, run.folder, bar=False)
    assert len(clips_seen) == 1
    assert run.saved_step() == 4
    assert not run.load_metrics()
    monkeypatch.undo()
    steps = []

    def counted(*arguments):
        steps.append(1)
        return train_step(*arguments)

    monkeypatch.setattr(loop, "train_step", counted)
    assert_same_run(train(config, run.folder, bar=False), finished)
    assert len(steps) == 4, "no step is done again"


@pytest.fixture(scope="module")
def one_epoch(config, tmp_path_factory):
    one = dataclasses.replace(config, stages=(StageConfig(1, 1e-3, "all_but_mma"),))
    return one, train(one, tmp_path_factory.mktemp("runs") / "one", bar=False)


@pytest.mark.parametrize("lost", ["save_queries", "save_metrics", "epoch"])
def test_killed_between_weights_and_what_speaks_of_them(one_epoch, tmp_path, monkeypatch, lost):
    """Wherever it falls, the next start finds the weights and writes the rest, byte for byte."""

    class Killed(BaseException):
        pass

    def die(*arguments):
        raise Killed

    if lost == "epoch":
        append = Run.append
        monkeypatch.setattr(
            Run, "append", lambda *a: die() if a[1:] and a[1] == "epochs" else append(*a)
        )
    else:
        monkeypatch.setattr(Run, lost, die)
    run = Run(tmp_path / "run")
    one, whole = one_epoch
    with pytest.raises(Killed):
        train(one, run.folder, bar=False)
    assert run.saved_step() == 2
    assert status_of(run) != "finished"
    monkeypatch.undo()
    assert_same_run(train(one, run.folder, bar=False), whole)
    assert status_of(run) == "finished"


def status_of(run):
    return next(line for line in status(run).splitlines() if line.startswith("state")).split()[1]


def test_a_checkpoint_of_an_older_version_says_so(config, finished, tmp_path, capsys):
    run = Run(tmp_path / "old")
    shutil.copytree(finished.folder, run.folder)
    state = run.load_state()
    old = {name: state[name] for name in state if name not in ("data", "split", "processes")}
    run.save_state(state["step"], old)
    with pytest.raises(CheckpointError, match=r"old.* lacks data, split, processes.*older version"):
        train(config, run.folder, bar=False)
    assert run.load_model()  # what it holds can be used


def test_matrices_are_recorded_after_each_stage(finished):
    recorded = finished.read("matrices")
    assert recorded["stage"].tolist() == [1, 2, 3]
    p1 = [np.array(m["p1"]) for m in recorded["matrices"]]
    assert np.array_equal(p1[0], finished_start("p1"))
    assert not np.array_equal(p1[0], p1[1])
    last = finished.load_state()["model"]["head.mma.p1.matrix"].numpy()
    assert np.array_equal(p1[2].astype(np.float32), last)


def test_results_on_other_data_of_the_same_name_have_names_of_their_own(
    finished, config, tmp_path, capsys
):
    """What is in the run folder is of the run's data, which may have been moved."""
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    moved, other = (shutil.copytree(config.root, tmp_path / name) for name in ("moved", "other"))
    first, second = sorted(other.glob("bbox_test/*/*.jpg"))[-2:]  # the first ones are junk
    second.write_bytes(first.read_bytes())
    assert main(["evaluate", str(folder), "--root", str(moved)]) == 0
    assert str(folder / "queries.csv") in capsys.readouterr().out
    before = (folder / "queries.csv").read_bytes()
    assert main(["evaluate", str(folder), "--root", str(other)]) == 0
    assert str(folder / "queries-synthetic-other.csv") in capsys.readouterr().out
    assert (folder / "queries.csv").read_bytes() == before
    assert main(["ledger", str(folder), "--root", str(other)]) == 0
    text = (folder / "ledger-synthetic-other.csv").read_text()
    assert "best on test" not in text, "that is a fact of the run's log"


def finished_start(name):
    return MMA(name, True).matrix.detach().numpy().astype(float)


def test_a_run_says_what_it_will_do_and_is_watched(config, tmp_path, capsys):
    seen = []
    one = dataclasses.replace(config, stages=(StageConfig(6, 1e-3),))
    run = train(one, tmp_path / "run", watch=lambda run: seen.append(len(run.read("epochs"))))
    out = capsys.readouterr().out
    assert "train: mmagga, resnet18, 2 frames of 128x64, seed 0" in out
    assert "protocol mars" in out
    assert "steps: 0 of 12, 6 epochs; on 1 x CPU, float32, deterministic" in out
    assert str(run.folder) in out
    assert "frames/s: about 0 min" in out
    assert seen[-1] == 6


def test_tensorboard_is_written_or_asked_for(config, tmp_path, monkeypatch):
    """It is an extra: where it is not installed the run says what to install, and has not begun."""
    one = dataclasses.replace(config, stages=(StageConfig(1, 1e-3),), tensorboard=True)
    if importlib.util.find_spec("tensorboard"):
        run = train(one, tmp_path / "run", bar=False)
        assert list((run.folder / "tensorboard").glob("events*"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MmaggaError, match="pip install 'tensorboard"):
        train(one, tmp_path / "other", bar=False)
    assert Run(tmp_path / "other").read("steps").empty


def test_what_is_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(MmaggaError, match="is not a run folder"):
        _ = Run(tmp_path).load_config()
    assert list_runs(tmp_path) == []


# --- the command line ---------------------------------------------------------------------------


def test_evaluate_gives_what_training_measured(finished, tmp_path, capsys):
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    assert main(["evaluate", "--run", str(run.folder)]) == 0
    out = capsys.readouterr().out
    assert f"mAP {100 * finished.load_metrics()['mAP']:.1f}" in out
    queries = pd.read_csv(run.folder / "queries.csv")
    assert queries["average_precision"].mean() == pytest.approx(
        finished.load_metrics()["mAP"], abs=1e-6
    )


def test_a_result_without_a_place_is_refused_before_the_work(
    finished, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(embedding, "forward_within_memory", None)
    for verb in ("evaluate", "ledger", "report"):
        assert main([verb, str(finished.folder), "--out", str(tmp_path)]) == 2
        assert "is a folder; name a file in it" in capsys.readouterr().err


def test_scores_are_shown_even_where_they_cannot_be_stored(finished, tmp_path, capsys, monkeypatch):
    """A share that became read-only in the hour that the evaluation took."""

    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(files, "commit", refuse)
    out = tmp_path / "queries.csv"
    assert main(["evaluate", str(finished.folder), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert f"mAP {100 * finished.load_metrics()['mAP']:.1f}" in shown.out
    assert f"Read-only file system: {out}" in shown.err


@pytest.mark.slow
def test_two_processes_of_torchrun_evaluate_as_one_does(finished, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    out = tmp_path / "queries.csv"
    done = subprocess.run(
        [*launch, "mmagga", "evaluate", str(finished.folder), "--out", str(out)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mAP") == 1
    one, both = (pd.read_csv(path) for path in (finished.folder / "queries.csv", out))
    pd.testing.assert_frame_equal(one, both[one.columns], rtol=1e-4)


def test_another_data_set_does_not_touch_the_run_s_own_results(finished, tmp_path, capsys):
    """Evaluated elsewhere, a run keeps the queries that ablations compare."""
    run, root = str(finished.folder), tmp_path / "elsewhere"
    render(root, "tiny", layout="prid2011", workers=1, progress=False)
    before = (finished.folder / "queries.csv").read_bytes()
    assert main(["evaluate", "--run", run, "--dataset", "prid2011"]) == 2
    assert "give --root too" in capsys.readouterr().err
    assert main(["evaluate", "--run", run, "--dataset", "prid2011", "--root", str(root)]) == 0
    assert "two_camera" in capsys.readouterr().out
    assert (finished.folder / "queries.csv").read_bytes() == before
    assert len(pd.read_csv(finished.folder / "queries-prid2011.csv"))


@pytest.mark.slow
def test_attention_writes_tables_and_figures(finished, tmp_path, capsys):
    words = ["attention", "--run", str(finished.folder), "--clips", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    written = {path.name for path in tmp_path.iterdir()}
    assert {"battery.csv", "verdicts.csv", "battery.png"} <= written
    assert all(str(tmp_path / name) in out for name in written)
    assert len(pd.read_csv(tmp_path / "battery.csv")) > 10


def test_train_takes_any_field(config, finished, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"train demo --root {config.root} --frames 2 --ids-per-batch 2 --clips-per-id 2"
    words += " --model.width 32 --workers 0 --stages 1:0.001:all_but_mma 1:0.025:mma"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "run: runs/synthetic-mmagga-" in out
    (run,) = list_runs(Path("runs"))
    assert run.load_config().model.width == 32
    assert main(["status"]) == 0
    assert str(run.folder) in capsys.readouterr().out


def test_data_verbs(config, tmp_path, capsys):
    where = ["--dataset", "synthetic", "--root", str(config.root)]
    assert main(["data", "summary", *where]) == 0
    assert "identities" in capsys.readouterr().out
    assert main(["data", "check", *where]) == 0
    assert "0 bad" in capsys.readouterr().out
    assert main(["data", "check", *where, "--verify"]) == 0
    size = ["--height", "128", "--width", "64"]
    assert main(["data", "pack", *where, "--out", str(tmp_path / "pack"), *size]) == 0
    assert len(load_tracklets("synthetic", config.root)) > 0


def test_a_packed_run_is_the_same_run(config, finished, tmp_path, monkeypatch):
    where = ["--dataset", "synthetic", "--root", str(config.root), "--out", str(tmp_path / "p")]
    assert main(["data", "pack", *where, "--height", "128", "--width", "64"]) == 0
    packed = dataclasses.replace(config, packed=tmp_path / "p")
    monkeypatch.setattr(frames, "decode", None)  # no file is opened
    assert_same_run(train(packed, tmp_path / "run", bar=False), finished)
