"""What only a GPU can show: `pytest -m gpu` runs these alone."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from parity_weights import clips, load, official_baseline, official_mmagga, relative

from mmagga.config import DEMO, PAPER, HardwareConfig, StageConfig, to_dict
from mmagga.data import load_tracklets
from mmagga.model import load_official
from mmagga.model.fast import for_embedding, prepare
from mmagga.retrieval.embedding import tracklet_embeddings
from mmagga.runs import Run
from mmagga.system.device import autocast, settings
from mmagga.training import train
from mmagga.training.loop import compute_losses
from mmagga.training.state import initial_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # torch 2.11's compiler uses what torch itself calls deprecated
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]
GPU = torch.device("cuda")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("hardware", "tolerance"),
    [
        (HardwareConfig("float32", tf32=False), 1e-3),
        (HardwareConfig("float32", tf32=True), 1e-2),
        (HardwareConfig("bf16"), 5e-2),
    ],
    ids=["float32", "TF32", "bf16"],
)
@pytest.mark.parametrize("fast", [False, True], ids=["as trained", "folded"])
def test_parity_with_the_authors_code(hardware, tolerance, fast):
    model = load_official(official_mmagga()).eval().to(GPU)
    expected = load("model_eval.npz")["eval_feature"]
    with settings(hardware, GPU), autocast(hardware, GPU):
        if fast:
            model = for_embedding(model, hardware, GPU)
        found = model(clips((2, 8, 3, 256, 128), 7).to(GPU)).embedding.float().cpu()
    assert relative(found, expected) < tolerance


@torch.inference_mode()
def test_parity_of_the_baseline():
    hardware = HardwareConfig("float32", tf32=False)
    model = load_official(official_baseline()).eval().to(GPU)
    with settings(hardware, GPU):
        found = model(clips((2, 8, 3, 256, 128), 7).to(GPU)).embedding.cpu()
    expected = load("baseline_eval.npz")["eval_feature_T8"]
    assert relative(found, expected) < 1e-3


def losses(hardware, device):
    """The losses and the gradient's norm of one step of a small network, from the same weights."""
    small = dataclasses.replace(PAPER.model, backbone="resnet18", width=64, weights=None)
    config = dataclasses.replace(PAPER, model=small, frames=4, hardware=hardware)
    with settings(hardware, device):
        state = initial_state(config, 4, device)
        prepare(state.model, hardware)
        state.model.train()
        batch = clips((8, 4, 3, 256, 128), 3).to(device)
        labels = torch.arange(8, device=device) // 2
        total, _ = compute_losses(state, batch, labels, config)
        total.backward()
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    return total.item(), torch.nn.utils.get_total_norm(gradients).item()


EXACT = HardwareConfig("float32", tf32=False)


@pytest.mark.parametrize(
    ("hardware", "tolerance"),
    [
        (EXACT, 1e-3),
        (dataclasses.replace(EXACT, recompute=True), 1e-3),
        (dataclasses.replace(EXACT, compile=True), 1e-3),
        (HardwareConfig("bf16"), 5e-2),
        (HardwareConfig("bf16", compile=True), 5e-2),
    ],
    ids=["float32", "recomputed", "compiled", "bf16", "bf16 compiled"],
)
def test_a_step_is_the_one_of_the_cpu(hardware, tolerance):
    loss, gradient = losses(HardwareConfig("float32"), torch.device("cpu"))
    found, found_gradient = losses(hardware, GPU)
    assert found == pytest.approx(loss, rel=tolerance)
    assert found_gradient == pytest.approx(gradient, rel=10 * tolerance)


PROGRAM = """
import json, os, signal, sys
from mmagga.config import from_dict
from mmagga.training import loop
step, kill_at = loop.train_step, int(sys.argv[3])
def train_step(state, *args):
    log = step(state, *args)
    if state.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return log
loop.train_step = train_step
loop.train(from_dict(json.loads(sys.argv[1])), sys.argv[2], bar=False)
"""


@pytest.fixture(scope="module")
def config(tiny):
    model = dataclasses.replace(DEMO.model, width=32, weights=None)
    stages = (
        StageConfig(2, 1e-3, "all_but_mma"),
        StageConfig(1, 2.5e-2, "mma"),
        StageConfig(1, 1e-4, "all"),
    )
    return dataclasses.replace(
        DEMO, root=tiny, frames=2, ids_per_batch=2, clips_per_id=2, model=model, stages=stages,
        workers=0, eval_batch=8, checkpoint_every=0, device="cuda",
        hardware=HardwareConfig(deterministic=True),
    )  # fmt: skip


def digest(run):
    """A hash of all tensors of the last checkpoint, and of the log."""
    hashed = hashlib.sha256((run.folder / "steps.jsonl").read_bytes())

    def visit(value):
        if isinstance(value, torch.Tensor):
            hashed.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                visit(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit(run.load_state())
    return hashed.hexdigest()


def test_killed_and_resumed_it_is_byte_identical(config, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [json.dumps(to_dict(config)), str(tmp_path / "run")]
    killed = [
        subprocess.run([sys.executable, "-c", PROGRAM, *words, step], env=environment).returncode
        for step in ("3", "6", "0")
    ]
    assert killed == [-signal.SIGKILL, -signal.SIGKILL, 0]
    whole = train(config, tmp_path / "whole", bar=False)
    assert digest(Run(tmp_path / "run")) == digest(whole)


def test_out_of_memory_in_evaluation_halves_the_batch(config, tiny):
    tracklets = load_tracklets("synthetic", tiny).split("query")
    model = initial_state(config, 3, GPU).model
    few = tracklet_embeddings(model, tracklets, config, bar=False)["dense"].vectors
    biggest, forward = [], type(model).forward

    def limited(self, clips):
        if len(clips) > 2:
            torch.empty(1 << 50, dtype=torch.uint8, device=GPU)  # more than there is
        biggest.append(len(clips))
        return forward(self, clips)

    type(model).forward = limited
    try:
        again = tracklet_embeddings(model, tracklets, config, ("dense",), bar=False)[
            "dense"
        ].vectors
    finally:
        type(model).forward = forward
    assert max(biggest) <= 2
    torch.testing.assert_close(again, few, atol=1e-2, rtol=0)  # bf16
