"""A run folder read and written without training: its log, its configuration, its status."""

import dataclasses
import json
import os
import re
import time
import warnings

import pytest
import torch

from mmagga.config import DEMO, LossConfig, StageConfig, config_hash
from mmagga.errors import CheckpointError, MmaggaError, ResourceError
from mmagga.model.build import build_model
from mmagga.runs import Run, list_runs
from mmagga.runs.lock import RunLock
from mmagga.runs.status import overview, status

CONFIG = dataclasses.replace(
    DEMO,
    frames=2,
    model=dataclasses.replace(DEMO.model, width=16),
    stages=(StageConfig(2, 1e-3, "all_but_mma"), StageConfig(1, 2.5e-2, "mma")),
)
CENTER = dataclasses.replace(CONFIG, loss=LossConfig(center=0.01))


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "a-run")
    run.open(CONFIG)
    return run


def log(run, steps, per_epoch=4):
    """What `train` logs in so many steps."""
    for step in range(1, steps + 1):
        epoch = (step - 1) // per_epoch + 1
        where = {"step": step, "epoch": epoch, "stage": 1 if epoch < 3 else 2}
        run.append("steps", where | {"lr": 1e-3, "loss": 10.0 / step, "triplet": 0.5})
        if step % per_epoch == 0:
            run.append("epochs", where | {"loss": 1.0})
            run.append("timing", where | {"frames": per_epoch * 32, "seconds": 2.0})


# --- the configuration --------------------------------------------------------------------------


def test_a_foreign_configuration_is_named_field_by_field(run):
    model = dataclasses.replace(CONFIG.model, temperature=0.5)
    stages = (dataclasses.replace(CONFIG.stages[0], lr=0.1),)
    other = dataclasses.replace(CENTER, model=model, stages=stages, seed=5, workers=7)
    with pytest.raises(CheckpointError) as refused:
        run.open(other)
    told = str(refused.value)
    for difference in (
        "model.temperature is 1.0, not 0.5", "loss.center is 0.0005, not 0.01",
        "stages.0.lr is 0.001, not 0.1", "stages.1.epochs is 1, not absent", "seed is 0, not 5",
    ):  # fmt: skip
        assert difference in told
    assert "workers" not in told, "what does not change the result is no difference"
    assert told.count(" is ") == 7
    assert run.load_config() == CONFIG


def test_what_does_not_change_the_result_may_change(run):
    run.open(dataclasses.replace(CONFIG, workers=7))
    assert run.load_config().workers == 7


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"model": 1}', '{"root": 1}'])
def test_a_damaged_configuration_is_named(run, damage):
    (run.folder / "config.json").write_text(damage)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be used .*damaged"):
        run.open(CONFIG)


def test_two_starts_at_the_same_instant_have_different_folders_if_they_differ(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert Run.of(CONFIG) == Run.of(CONFIG)
    assert Run.of(CONFIG) != Run.of(CENTER)


# --- the log ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["steps", "epochs", "timing", "matrices"])
@pytest.mark.filterwarnings("ignore:.*steps.jsonl lacks")
@pytest.mark.parametrize("torn", ['{"step": 2, "lo', "{", '{"step": 2, "loss": 1.0}', "\0\0\0"])
def test_a_torn_last_line_is_no_line(run, name, torn):
    """Not even where it would parse: its number may have lost digits."""
    run.append(name, {"step": 1, "loss": 1.0})
    with (run.folder / f"{name}.jsonl").open("a") as file:
        file.write(torn)
    assert run.read(name)["step"].tolist() == [1]
    assert run.tail(0, 5) == ([{"loss": 1.0}] if name == "steps" else [])
    run.rewind(10)
    run.append(name, {"step": 2, "loss": 0.5})
    assert run.read(name)["step"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "damage", [b'{"step": 2, "lo', b"", b"17", b'{"step": "2"}', b"\xff\xfe", b"\0\0"]
)
def test_a_damaged_line_in_the_middle_is_named(run, damage):
    lines = [b'{"step": 1}', damage, b'{"step": 3}', b""]
    (run.folder / "steps.jsonl").write_bytes(b"\n".join(lines))
    for use in (lambda: run.read("steps"), lambda: run.rewind(1), lambda: status(run)):
        with pytest.raises(CheckpointError, match=r"a-run/steps\.jsonl, line 2: damaged"):
            use()


def test_a_line_is_one_write(run, monkeypatch):
    """Whatever its length: a buffer would write a long one in pieces."""
    written = []
    original = open

    def spy(path, mode, buffering=-1):
        file = original(path, mode, buffering)
        assert buffering == 0
        written.append(path)
        return file

    monkeypatch.setattr("builtins.open", spy)
    run.append("matrices", {"step": 1, "matrices": [0.123456789] * 10_000})
    assert len(written) == 1
    monkeypatch.undo()
    assert len(run.read("matrices")["matrices"][0]) == 10_000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_log_that_cannot_grow_is_a_resource_error(run):
    (run.folder / "steps.jsonl").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match=r"disk or quota full.*steps\.jsonl"):
        run.append("steps", {"step": 1})


def test_rewinding_forgets_what_came_later_in_every_log(run):
    log(run, 8)
    run.append("matrices", {"step": 8})
    run.rewind(5)
    assert [len(run.read(name)) for name in ("steps", "epochs", "timing", "matrices")] == [
        5, 1, 1, 0
    ]  # fmt: skip


def test_a_hole_between_log_and_checkpoint_is_said(run):
    """After a power cut, a log that was not flushed may be shorter than its checkpoint."""
    log(run, 5)
    with pytest.warns(UserWarning, match="steps.jsonl lacks 2 of the 7 steps .* the first is 6"):
        run.rewind(7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.rewind(5)


# --- small files ----------------------------------------------------------------------------------

DAMAGE = (b"", b"{", b"[]", b"\xff\xfe\0", b'"x"', b"[" * 100_000)


@pytest.mark.parametrize("damage", [*DAMAGE, b'{"step": "12"}'])
@pytest.mark.parametrize("name", ["metrics", "failure", "config", "environment"])
def test_a_damaged_small_file_is_named_and_stops_no_other_run(run, tmp_path, name, damage):
    log(run, 5)
    good = Run(tmp_path / "good")
    good.open(CONFIG)
    path = run.folder / f"{name}.json"
    path.write_bytes(damage)
    if name == "config" and damage.startswith(b'{"step'):  # an unknown setting, no damage
        return
    load = getattr(run, f"load_{name}")
    if not (name == "environment" and damage.startswith(b'{"step')):
        with pytest.raises(CheckpointError, match=path.name):
            load()
    first, second = overview(tmp_path).splitlines()
    assert (path.name in first) == (name != "environment")
    assert "never started" in second
    assert run.scored_step() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames", "8"),
        ("stages", 3),
        ("model", []),
        ("root", 5),
        ("seed", None),
        ("loss", {"center": []}),
    ],
)
def test_a_configuration_of_other_types_is_named(run, field, value):
    path = run.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json cannot be used \({field}"):
        run.load_config()


def test_logs_of_other_forms_stop_no_other_run(run, tmp_path):
    run.append("steps", {"step": 3})
    run.append("epochs", {"step": 3, "epoch": 0})
    (line,) = overview(tmp_path).splitlines()
    assert "its logs cannot be understood" in line


# --- weights ------------------------------------------------------------------------------------


def saved(run, model, **others):
    facts = {"num_ids": 3, "data": "d" * 12, "split": "s" * 12, "epoch": 1, "config": {"a": 1}}
    run.save_state(4, {"model": model.state_dict(), "step": 4} | facts | others)


def test_a_record_says_what_its_checkpoint_belongs_to(run):
    saved(run, torch.nn.Linear(1, 1))
    record = run.last_checkpoint()
    assert record["config"] == config_hash(CONFIG)
    assert (record["data"], record["split"]) == ("d" * 12, "s" * 12)
    assert {"step", "epoch", "num_ids", "sha256", "bytes", "torch", "mmagga"} <= record.keys()
    assert run.saved_step() == 4


def test_a_model_is_loaded_without_what_it_started_from(run):
    """Pretrained weights need not be there any more."""
    pretrained = dataclasses.replace(CONFIG.model, weights="no/such/file.pth")
    (run.folder / "config.json").unlink()
    run.open(dataclasses.replace(CONFIG, model=pretrained))
    model = build_model(CONFIG, 3)
    saved(run, model)
    loaded = run.load_model()
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_foreign_model_is_refused_or_taken_in_part(run):
    wide = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, width=24))
    saved(run, build_model(wide, 3))
    with pytest.raises(CheckpointError, match=r"a-run does not fit .* of another shape: head\."):
        run.load_model()
    with pytest.warns(UserWarning, match=r"partial: \d+ of \d+ tensors"):
        run.load_model(partial=True)


def test_without_a_checkpoint_there_is_no_model(run):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        run.load_model()


# --- status -------------------------------------------------------------------------------------


def field(text, name):
    return re.search(rf"^{name} +(.*)$", text, re.MULTILINE)[1]


def test_a_run_that_never_started(run):
    text = status(run)
    assert field(text, "state") == "never started"
    assert field(text, "checkpoint") == "none yet"
    assert field(text, "evaluation") == "not evaluated yet"
    assert "losses" not in text


def test_a_run_under_way(run):
    log(run, 9)
    with RunLock(run.folder):
        text = status(run)
    assert field(text, "state").startswith(f"running, process {os.getpid()} on ")
    assert field(text, "done") == "step 9 of 12, epoch 3 of 3, stage 2 of 2"
    assert field(text, "losses") == "loss 1.111  triplet 0.5"
    assert field(text, "lr") == "0.001"
    assert field(text, "speed") == "64 frames/s; about 0 min to go"
    assert field(text, "config") == config_hash(CONFIG)
    assert len(text.splitlines()) < 24
    assert max(map(len, text.splitlines())) < 200


def test_the_time_to_go(run):
    log(run, 4)
    run.append("timing", {"step": 4, "frames": 32, "seconds": 3600.0})
    with RunLock(run.folder):
        assert field(status(run), "speed") == "0 frames/s; about 1 h 36 min to go"


def test_a_stopped_run_and_its_checkpoint(run):
    log(run, 5)
    assert field(status(run), "done").startswith("step 5 of 12")
    saved(run, torch.nn.Linear(1, 1))
    text = status(run)
    assert field(text, "state").startswith("stopped at step 5; the same command resumes")
    assert field(text, "checkpoint") == "step 4, 0 min old, healthy"
    assert field(text, "data") == "d" * 12
    damaged = run.folder / "checkpoints" / "00000004.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "DAMAGED" in field(status(run), "checkpoint")


def test_before_the_first_epoch_is_done_the_total_is_not_known(run):
    log(run, 3)
    assert field(status(run), "done") == "step 3 of ?, epoch 1 of 3, stage 1 of 2"


def test_a_finished_run(run):
    log(run, 12)
    assert field(status(run), "state").startswith("stopped"), "its last checkpoint is missing"
    run.save_state(12, {"model": {}, "step": 12})
    run.save_metrics({"step": 8, "mAP": 0.25, "rank-1": 0.5, "epoch": 2})
    assert field(status(run), "state").startswith("stopped"), "its last evaluation is missing"
    run.save_metrics({"step": 12, "mAP": 0.5, "rank-1": 0.625, "epoch": 3})
    text = status(run)
    assert field(text, "state") == "finished"
    assert field(text, "speed") == "64 frames/s"
    assert field(text, "evaluation") == "mAP 50.0%  rank-1 62.5%  (epoch 3)"


def test_a_failed_run_says_why_until_it_is_past_it(run):
    log(run, 5)
    run.save_failure({"step": 5, "error": "the loss is nan at step 5", "clips": []})
    assert field(status(run), "state") == "failed: the loss is nan at step 5"
    run.append("steps", {"step": 6, "epoch": 2, "stage": 1, "lr": 1e-3, "loss": 1.0})
    assert field(status(run), "state").startswith("stopped at step 6")


def test_a_clock_that_was_set_back_does_not_matter(run, monkeypatch):
    log(run, 5)
    saved(run, torch.nn.Linear(1, 1))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert field(status(run), "checkpoint") == "step 4, 0 min old, healthy"


def test_all_runs_at_a_glance(run, tmp_path):
    log(run, 5)
    broken = tmp_path / "b-run"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    assert len(list_runs(tmp_path)) == 2
    first, second = overview(tmp_path).splitlines()
    assert "a-run  stopped at step 5" in first
    assert "not evaluated yet" in first
    assert "cannot be used" in second
    assert overview(tmp_path / "none").startswith("no runs in ")


def test_status_writes_nothing(run):
    log(run, 5)
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status(run)
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == before
    with pytest.raises(MmaggaError, match="not a run folder"):
        status(Run(run.folder / "absent"))
