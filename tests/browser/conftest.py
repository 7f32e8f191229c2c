from dataclasses import replace

import pytest
import torch

from mmagga.browser.state import BrowserState
from mmagga.config import DEMO, ModelConfig
from mmagga.data import load_tracklets
from mmagga.data.synthetic import render
from mmagga.model.build import build_model
from mmagga.runs import Run

FRAMES = 2


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    return render(tmp_path_factory.mktemp("browser") / "data", "tiny", workers=1, progress=False)


@pytest.fixture(scope="session")
def make_run(rendered, tmp_path_factory):
    """Give a function that saves an untrained network as a run."""

    def make(folder="run", seed=0, **model):
        config = replace(
            DEMO, root=rendered, frames=FRAMES, workers=0, device="cpu", seed=seed,
            model=ModelConfig(backbone="resnet18", **{"width": 16} | model),
        )  # fmt: skip
        run = Run(tmp_path_factory.mktemp("runs") / folder)
        run.open(config)
        torch.manual_seed(seed)
        people = load_tracklets("synthetic", rendered, 0).split("train")
        num_ids = len(set(people.pids))
        network = build_model(config, num_ids)
        with torch.no_grad():  # a BatchNorm whose offset is not nothing
            network.head.bnneck.running_mean.normal_(0.1, 0.05)
        run.save_state(1, {"num_ids": num_ids, "model": network.state_dict()})
        return run

    return make


@pytest.fixture(scope="session")
def run(make_run):
    return make_run()


@pytest.fixture(scope="session")
def state(run):
    return BrowserState(run)
