"""Training: the three-stage loop, its state, its log, and the repetition of a failed step."""

from mmagga.training.loop import train, train_step
from mmagga.training.state import TrainState

__all__ = ["TrainState", "train", "train_step"]
