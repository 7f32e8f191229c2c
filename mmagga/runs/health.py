"""The health of a network in words, from what a run logged; see `mmagga.training.health`."""

from collections.abc import Mapping
from typing import Any

DEAD_VARIANCE = 1e-6
"""A unit whose running variance is below this has not fired for about 130 training steps."""
ALARM = 0.5
"""A branch with a larger share of dead units than this is reported."""


def describe_health(measured: Mapping[str, Any]) -> str:
    """Return one line: the dead units of each branch and, where measured, how alike guides are."""
    dead = ", ".join(f"{name} {share:.0%}" for name, share in measured["dead"].items())
    text = f"dead units: {dead}"
    if guides := measured.get("guide"):
        alike = ", ".join(f"{name} {cosine:.2f}" for name, cosine in guides.items())
        text += f"; cosine of two clips' guides: {alike}"
    return text


def warning(dead: Mapping[str, float]) -> str | None:
    """Return what to do where more than half of a branch is dead; None where none is."""
    worst = {name: share for name, share in dead.items() if share > ALARM}
    if not worst:
        return None
    named = ", ".join(f"{name} {share:.0%}" for name, share in worst.items())
    return (
        f"more than half of a branch is dead ({named} of its units never fire): its attention and "
        "its part of the embedding carry little, and training does not bring the units back. Start "
        "from trained weights (--model.weights) at a rate of 1.5e-4, with more persons per batch"
    )
