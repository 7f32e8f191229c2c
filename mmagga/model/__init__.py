"""The networks: MMA-GGA, the baseline it is compared with, and the authors' checkpoints."""

from mmagga.model.build import make_baseline, make_mmagga
from mmagga.model.head import Head
from mmagga.model.networks import MMAGGA, Baseline
from mmagga.model.official import load_official
from mmagga.model.outputs import Attention, Output, Tokens

__all__ = [
    "MMAGGA",
    "Attention",
    "Baseline",
    "Head",
    "Output",
    "Tokens",
    "load_official",
    "make_baseline",
    "make_mmagga",
]
