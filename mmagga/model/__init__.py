"""The networks: MMA-GGA, the baseline it is compared with, and the authors' checkpoints."""

from mmagga.model.head import Attention, Head, Output, Tokens
from mmagga.model.mmagga import MMAGGA, Baseline
from mmagga.model.official import load_official

__all__ = ["MMAGGA", "Attention", "Baseline", "Head", "Output", "Tokens", "load_official"]
