"""Which stage an epoch belongs to, and how fast it learns."""

from mmagga.config import Config


def stage_of(config: Config, epoch: int) -> tuple[int, int]:
    """Give the number of the stage that `epoch` belongs to, and the epoch within it."""
    for number, stage in enumerate(config.stages):
        if epoch < stage.epochs:
            return number, epoch
        epoch -= stage.epochs
    raise ValueError("the epoch is past the last stage")


def total_epochs(config: Config) -> int:
    """Count the epochs of all stages."""
    return sum(stage.epochs for stage in config.stages)


def learning_rates(config: Config) -> list[float]:
    """Give the learning rate of each epoch: a fresh MultiStepLR (x 0.1) in each stage."""
    rates = []
    for stage in config.stages:
        for epoch in range(stage.epochs):
            rates.append(stage.lr * 0.1 ** sum(m <= epoch for m in config.milestones))
    return rates
