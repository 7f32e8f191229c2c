import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for parity_weights

import parity_weights

from mmagga.model import load_official


@pytest.fixture(scope="session")
def official_state():
    return parity_weights.official_mmagga()


@pytest.fixture(scope="session")
def _parity_model(official_state):
    return load_official(official_state)


@pytest.fixture
def parity_model(_parity_model, official_state):
    """Our MMA-GGA with the pack's weights, in evaluation mode; statistics as new for every test."""
    for name, buffer in _parity_model.head.bnneck.named_buffers():
        buffer.copy_(official_state[f"bnneck1.{name}"])
    return _parity_model.eval()


@pytest.fixture(scope="session")
def clips8():
    return parity_weights.clips((2, 8, 3, 256, 128), 7)
