"""Pictures of the health of a network: of one run, and of several ways to train it."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmagga.figures.style import COLOURS, GREY, RED, STYLE
from mmagga.runs.health import ALARM
from mmagga.studies.gate import MOST_ALIKE

Records = list[dict[str, Any]]


def health_figure(epochs: Records, *, title: str) -> Figure:
    """Draw what each epoch's record says: dead units, guides, effective rank, trunk.

    `epochs` are the records of a run's epochs, see `mmagga.training.health`.
    """
    steps = [epoch["step"] for epoch in epochs]
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 4, figsize=(12, 3.1))
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        _branches(grid[0], steps, epochs, what="dead", unit=100)
        _limit(grid[0], 100 * ALARM)
        grid[0].set(title="Dead units", ylabel="% of a branch", ylim=(0, 100))
        _branches(grid[1], steps, epochs, what="guide", unit=1)
        _limit(grid[1], MOST_ALIKE)
        grid[1].set(title="Guides of two clips", ylabel="mean cosine", ylim=(0, 1.02))
        _branches(grid[2], steps, epochs, what="rank", unit=1)
        grid[2].set(title="Effective rank", ylabel="of a batch's features")
        grid[2].set_ylim(bottom=0)
        grid[3].plot(steps, [100 * epoch["health"]["trunk"] for epoch in epochs], color=GREY)
        grid[3].set(title="Variation of the trunk", ylabel="sd / mean (%)")
        grid[3].set_ylim(bottom=0)
        for axes in grid:
            axes.set_xlabel("step")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _limit(axes: Axes, value: float) -> None:
    axes.axhline(value, color=RED, ls="--", lw=1)
    axes.annotate("limit of the gate", (1, value), (-3, -3), textcoords="offset points",
                  xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=8,
                  color=RED)  # fmt: skip


def _branches(axes: Axes, steps: list[int], epochs: Records, *, what: str, unit: float) -> None:
    names = list(epochs[-1]["health"]["dead"])
    for name, colour in zip(names, COLOURS, strict=False):
        values = [epoch["health"][what].get(name) for epoch in epochs]
        if None not in values:
            axes.plot(steps, [unit * v for v in values], color=colour, label=name)


def dead_units_figure(curves: pd.DataFrame, *, title: str) -> Figure:
    """Draw the dead units of the worst branch over the steps of several ways to train.

    `curves` is `mmagga.studies.comparison.curves`; ways "from random weights" are dashed.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.6, 4.2))
        seaborn.lineplot(
            curves.assign(dead=100 * curves["dead"], start=curves["label"].str.contains("random")),
            x="step", y="dead", hue="label", style="start", palette="colorblind", ax=axes,
            errorbar=None, legend=False,
        )  # fmt: skip
        lines = dict(zip(dict.fromkeys(curves["label"]), axes.lines, strict=True))
        _limit(axes, 100 * ALARM)
        axes.set(xlabel="training step", ylabel="dead units of the worst branch (%)", title=title)
        axes.set_ylim(0, 100)
        figure.legend(lines.values(), lines.keys(), loc="outside right upper")
    return figure
