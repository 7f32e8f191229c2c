"""Pictures of a training run."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmagga.figures.style import BLACK, BLUE, COLOURS, GREEN, GREY, ORANGE, RED, STYLE


def learning_curves(
    steps: pd.DataFrame, epochs: pd.DataFrame | None = None, timing: pd.DataFrame | None = None
) -> Figure:
    """Draw a run's log: losses, distances, learning rate, gradient, test scores and speed.

    `steps`, `epochs` and `timing` as `Run.read` gives them; stages are bands.
    """
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 3, figsize=(12, 6.4), sharex=True)
        figure.get_layout_engine().set(w_pad=0.1)  # type: ignore[call-arg]
        _losses(grid[0, 0], steps)
        _distances(grid[0, 1], steps)
        _scores(grid[0, 2], epochs)
        _line(
            grid[1, 0],
            steps,
            "gradient",
            title="Gradient norm of the weights",
            unit="L2 norm",
            colour=BLUE,
        )
        grid[1, 1].step(steps["step"], steps["lr"], where="post", color=BLACK)
        grid[1, 1].set(title="Learning rate", ylabel="Adam's rate", yscale="log")
        grid[1, 1].set_ylim(steps["lr"].min() / 2, steps["lr"].max() * 3)
        _speed(grid[1, 2], timing)
        for axes in grid.flat:
            axes.set_xlim(0, 1.02 * steps["step"].max() + 0.5)
            _stage_bands(axes, steps)
        for axes in grid[1]:
            axes.set_xlabel("step")
    return figure


def _losses(axes: Axes, steps: pd.DataFrame) -> None:
    names = {"cross_entropy": "cross-entropy, all branches", "triplet": "triplet"}
    for (name, label), colour in zip(names.items(), COLOURS, strict=False):
        if name in steps:
            axes.plot(steps["step"], steps[name], color=colour, alpha=0.25, lw=1)
            smooth = steps[name].ewm(span=15).mean()
            axes.plot(steps["step"], smooth, color=colour, label=label)
    axes.set(title="Losses (thin: each step)", ylabel="loss (nats)")
    axes.set_ylim(0, 1.1 * steps["cross_entropy"].max())
    axes.legend(loc="center right")


def _distances(axes: Axes, steps: pd.DataFrame) -> None:
    low, high = steps["distance_5"], steps["distance_95"]
    axes.fill_between(steps["step"], low, high, color=BLUE, alpha=0.2, lw=0)
    axes.plot(steps["step"], steps["distance_50"], color=BLUE, label="median, 5–95 % band")
    axes.axhline(14.5, color=RED, ls="--", lw=1, label="14.5: the official triplet reverses")
    axes.set(title="Distances in a batch", ylabel="Euclidean distance")
    axes.set_ylim(0, max(18, 1.25 * high.max()))
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.78))


def _scores(axes: Axes, epochs: pd.DataFrame | None) -> None:
    axes.set(title="Test scores", ylabel="share (%)", ylim=(0, 110), yticks=range(0, 101, 20))
    tested = epochs.dropna(subset="metrics") if epochs is not None and "metrics" in epochs else []
    for name, colour, mark in (("mAP", BLUE, "o"), ("rank-1", ORANGE, "s")):
        if len(tested):
            values = [100 * metrics[name] for metrics in tested["metrics"]]
            axes.plot(tested["step"], values, color=colour, marker=mark, label=name)
    if len(tested):
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0.94))
    else:
        axes.text(0.5, 0.5, "not tested yet", transform=axes.transAxes, ha="center", color=GREY)


def _speed(axes: Axes, timing: pd.DataFrame | None) -> None:
    axes.set(title="Speed", ylabel="frames a second")
    if timing is not None and len(timing):
        rate = timing["frames"] / timing["seconds"]
        axes.plot(timing["step"], rate, color=GREEN, marker=".")
        axes.set_ylim(0, 1.25 * rate.max())


def _line(
    axes: Axes, steps: pd.DataFrame, name: str, *, title: str, unit: str, colour: str
) -> None:
    axes.plot(steps["step"], steps[name], color=colour, lw=1)
    axes.set(title=title, ylabel=unit, yscale="log")
    axes.set_ylim(top=3 * steps[name].max())  # the stages' names stand there


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
                sns.heatmap(
                    values[name], cmap="PuOr", vmin=-bound, vmax=bound, linewidths=0.3,
                    cbar=False, ax=axes,
                )  # fmt: skip
                axes.set_title(f"{name}, {when}", fontsize=9)
                axes.set(xlabel="cell" if line else "", ylabel="part" if column == 0 else "")
                axes.tick_params(length=0)
                axes.tick_params(axis="y", labelrotation=0)
        figure.colorbar(axes.collections[0], ax=grid, label="weight", shrink=0.8)
        figure.suptitle(
            "MMA: how cells become parts (one scale for all)", x=0.01, ha="left", fontweight="bold"
        )
    return figure
