"""Pictures of a training run."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmagga.figures.style import BLACK, BLUE, COLOURS, GREY, RED, STYLE


def learning_curves(steps: pd.DataFrame) -> Figure:
    """Draw losses, batch distances and learning rate over the steps, with the stages as bands."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 3, figsize=(12, 3.6))
        names = {"cross_entropy": "cross-entropy, all branches", "triplet": "triplet"}
        for (name, label), colour in zip(names.items(), COLOURS, strict=False):
            if name in steps:
                grid[0].plot(steps["step"], steps[name], color=colour, alpha=0.25, lw=1)
                smooth = steps[name].ewm(span=15).mean()
                grid[0].plot(steps["step"], smooth, color=colour, label=label)
        grid[0].set(title="Losses", xlabel="step", ylabel="loss (nats)")
        grid[0].set_ylim(0, 1.1 * steps["cross_entropy"].max())
        grid[0].legend(loc="center right")
        grid[1].fill_between(
            steps["step"], steps["distance_5"], steps["distance_95"], color=BLUE, alpha=0.2, lw=0
        )
        grid[1].plot(steps["step"], steps["distance_50"], color=BLUE, label="median, 5–95 % band")
        grid[1].axhline(14.5, color=RED, ls="--", lw=1, label="14.5: official triplet turns round")
        grid[1].set(title="Distances in a batch", xlabel="step", ylabel="Euclidean distance")
        grid[1].set_ylim(0, max(18, 1.25 * steps["distance_95"].max()))
        grid[1].legend(loc="upper left", bbox_to_anchor=(0, 0.78))
        grid[2].step(steps["step"], steps["lr"], where="post", color=BLACK)
        grid[2].set(title="Learning rate", xlabel="step", ylabel="Adam's rate", yscale="log")
        grid[2].set_ylim(steps["lr"].min() / 2, steps["lr"].max() * 3)
        for axes in grid:
            _stage_bands(axes, steps)
    return figure


def _stage_bands(axes: Axes, steps: pd.DataFrame) -> None:
    """Shade every second stage and number all of them along the top."""
    for stage, part in steps.groupby("stage"):
        first, last = part["step"].min() - 0.5, part["step"].max() + 0.5
        if stage % 2 == 0:
            axes.axvspan(first, last, color="#EBEBEB", zorder=0, lw=0)
        axes.text(
            (first + last) / 2, 0.985, f"stage {stage}" if stage == 1 else f"{stage}",
            transform=axes.get_xaxis_transform(), ha="center", va="top", color=GREY, fontsize=9,
        )  # fmt: skip


def matrices_figure(matrices: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> Figure:
    """Draw the MMA matrices before and after training: rows are parts, columns cells."""
    bound = max(np.abs(m).max() for m in [*matrices.values(), *before.values()])
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            2, len(matrices), figsize=(11, 4), squeeze=False,
            width_ratios=[max(4, m.shape[1]) for m in matrices.values()],
        )  # fmt: skip
        for column, name in enumerate(matrices):
            for line, (when, values) in enumerate((("start", before), ("trained", matrices))):
                axes = grid[line, column]
                image = axes.imshow(
                    values[name], cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto"
                )
                axes.set_title(f"{name}, {when}", fontsize=9)
                axes.grid(False)
                axes.set(xlabel="cell" if line else "", ylabel="part" if column == 0 else "")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.get_major_locator().set_params(integer=True)
        figure.colorbar(image, ax=grid, label="weight", shrink=0.8)
        figure.suptitle(
            "MMA: how cells become parts (one scale for all)", x=0.01, ha="left", fontweight="bold"
        )
    return figure
