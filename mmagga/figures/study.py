"""Picture of an attention study: several networks of each way of training, side by side."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmagga.figures.style import BLACK, COLOURS, GREY, STYLE

BRANCHES = ("p2", "p1", "p3", "global", "parts")
OCCLUDERS = ("object", "person", "noise")
ARMS = {
    "occluders": "rendered, trained with occluders",
    "clear": "rendered, trained without",
    "photographs": "real photographs",
}
PANELS = {
    "A1 DiD": ("Does attention turn away from an occluder?", "A1, nats; left is away from it", 1),
    "A7 swap gain": (
        "Does that help to find occluded people?",
        "A7, mAP gained over uniform weights,\noccluded less clean, in points; right is help",
        100,
    ),
}
"""Measure: its question, axis and unit."""


def attention_study_figure(study: pd.DataFrame, *, title: str) -> Figure:
    """Draw mean and range of each arm's networks for the two deciding measures.

    `study` has the columns of data/results/attention.csv. A bar reaches from the lowest to the
    highest end of the networks' 95 % intervals; a diamond is the best that weights could reach.
    """
    study = study[study["measure"].isin(PANELS) & study["occluder"].isin(OCCLUDERS)]
    rows = [(b, o) for b in BRANCHES for o in OCCLUDERS if b in set(study["branch"])]
    arms = list(study["arm"].unique())
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, sharey=True, figsize=(11, 1.8 + 0.34 * len(rows)))
        for axes, (measure, (question, label, unit)) in zip(panels, PANELS.items()):
            found = study[study["measure"] == measure]
            _draw(axes, found, rows, arms, unit)
            axes.set(title=question, xlabel=label)
        names = {"parts": "all parts", "global": "frames"}
        panels[0].set_yticks(range(len(rows)), [f"{names.get(b, b)}, {o}" for b, o in rows])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        pairs = [axes.get_legend_handles_labels() for axes in panels]
        named = {label: line for lines, labels in pairs for line, label in zip(lines, labels)}
        figure.legend(named.values(), named, loc="outside lower left", ncols=3, fontsize=9)
    return figure


def _draw(
    axes: Axes, found: pd.DataFrame, rows: list[tuple[str, str]], arms: list[str], unit: float
) -> None:
    axes.axvline(0, color=BLACK, lw=1, label="random or uniform weights")
    threshold = unit * found["threshold"].iloc[0]
    if threshold:
        axes.axvline(threshold, color=BLACK, lw=1, ls="--", label=f"wanted: left of {threshold:g}")
    for line in found.itertuples():
        arm = arms.index(line.arm)
        y = rows.index((line.branch, line.occluder)) + 0.24 * (arm - (len(arms) - 1) / 2)
        colour, name = COLOURS[arm], f"{ARMS.get(line.arm, line.arm)}, {line.seeds} networks"
        axes.plot([unit * line.low, unit * line.high], [y, y], color=colour, lw=2)
        axes.plot(unit * line.value, y, "o", color=colour, ms=5, label=name)
        if line.measure == "A7 swap gain" and pd.notna(line.attainable):
            axes.plot(unit * line.attainable, y, "D", mfc="white", mec=GREY, ms=5,
                      label="with nothing on occluded tokens")  # fmt: skip
    axes.grid(axis="y", visible=False)
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axes.axhline(y - 0.5, color="#D0D0D0", lw=0.8)
