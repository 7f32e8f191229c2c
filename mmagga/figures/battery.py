"""Pictures of the attention battery: forest plot and robustness curves."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmagga.figures.style import BLACK, BLUE, COLOURS, GREEN, GREY, ORANGE, STYLE

FOREST: Mapping[str, str] = {
    "A1 DiD": "A1 answer to the occluder\n(nats; below is away from it)",
    "A2 corruption removed": "A2 occluder's mass\nremoved (share)",
    "A4 AUROC": "A4 clean above occluded\n(probability)",
    "A9 occluder share": "A9 contribution on occluder\nless its area (share)",
    "A7 swap gain": "A7 gain over uniform,\noccluded less clean (mAP)",
    "A12 robustness": "A12 flatter than uniform\n(mAP)",
}
"""Measures of the forest plot, with their units."""

_SHORT = {"supported": "supported", "too small to matter": "too small", "not supported": "no"}
_COLOUR = {"supported": GREEN, "too small to matter": ORANGE, "not supported": GREY, "": BLACK}
_MARK = {"supported": "o", "too small to matter": "D", "not supported": "s", "": "o"}


def forest_figure(
    table: pd.DataFrame, *, title: str, measures: Mapping[str, str] = FOREST
) -> Figure:
    """Draw value and interval of the battery's main measures, a panel each, one row a claim.

    `table` is `Battery.table`. Filled: the trained network, coloured and shaped by the verdict,
    which is written beside it with the best value that weights could reach. Hollow: untrained.
    Solid line: random weights; dashed: the threshold that was fixed before.
    """
    chosen = table[table["measure"].isin(measures)].fillna({"verdict": ""})
    rows = list(dict.fromkeys(zip(chosen["branch"], chosen["occluder"])))
    rows.sort(key=lambda row: _place(row, chosen))
    panels = [name for name in measures if name in set(chosen["measure"])]
    with plt.rc_context(STYLE):
        columns = min(3, len(panels))
        lines = -(-len(panels) // columns)
        figure, grid = plt.subplots(
            lines, columns, sharey=True, squeeze=False,
            figsize=(1.6 + 3.6 * columns, 0.8 + lines * (0.8 + 0.25 * len(rows))),
        )  # fmt: skip
        for axes, name in zip(grid.flat, panels):
            _panel(axes, chosen[chosen["measure"] == name], rows)
            axes.set_title(measures[name], fontsize=10)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        grid[0, 0].set_yticks(range(len(rows)), [f"{b}, {o}" for b, o in rows])
        grid[0, 0].set_ylim(len(rows) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        figure.legend(handles=_legend(), loc="outside lower left", ncols=4, fontsize=9)
    return figure


def _place(row: tuple[str, str], table: pd.DataFrame) -> tuple[int, int]:
    branches, occluders = list(table["branch"].unique()), list(table["occluder"].unique())
    return branches.index(row[0]), occluders.index(row[1])


def _panel(axes: Axes, table: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> None:
    axes.axvline(table["random"].iloc[0], color=BLACK, lw=1)
    threshold = table["threshold"].dropna()
    if len(threshold):
        axes.axvline(threshold.iloc[0], color=BLACK, lw=1, ls="--")
    for found in table.itertuples():
        y = rows.index((found.branch, found.occluder))
        colour, mark = _COLOUR[found.verdict], _MARK[found.verdict]
        axes.plot([found.low, found.high], [y, y], color=colour, lw=2)
        axes.plot(found.value, y, mark, color=colour, ms=5)
        axes.plot(found.untrained, y, "o", mfc="white", mec=BLUE, ms=4)
        note = _SHORT.get(found.verdict, "")
        if np.isfinite(found.attainable):
            note += f" (best {found.attainable:.2f})"
        axes.text(1.02, y, note.strip(), transform=axes.get_yaxis_transform(), fontsize=9,
                  va="center", color=colour)  # fmt: skip
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=4)
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axes.axhline(y - 0.5, color="#D0D0D0", lw=0.8)


def _legend() -> list[Line2D]:
    words = [
        Line2D([], [], color=_COLOUR[word], marker=_MARK[word], lw=2, ms=5, label=word)
        for word in _SHORT
    ]
    return [
        *words,
        Line2D([], [], color=BLACK, marker="o", lw=2, ms=5, label="control, or too few clips"),
        Line2D([], [], color=BLUE, marker="o", mfc="white", lw=0, ms=4, label="untrained"),
        Line2D([], [], color=BLACK, lw=1, label="random weights"),
        Line2D([], [], color=BLACK, lw=1, ls="--", label="threshold"),
    ]


_LINES = {
    ("gga", "parts"): ("network's own weights", COLOURS[0], "-", "o"),
    ("uniform", "parts"): ("uniform over each granularity", COLOURS[1], "-", "s"),
    ("uniform", "all"): ("average pooling of all", COLOURS[5], ":", "^"),
    ("frames", "parts"): ("frame weights only", COLOURS[3], "-.", "v"),
    ("oracle", "parts"): ("oracle: nothing on occluded tokens", COLOURS[2], "--", "D"),
}
_AXES = {
    "area": "area of the occluder (% of a frame, in half of the frames)",
    "frames": "covered frames (of the clip's, 30 % of each)",
}


def robustness_figure(curves: pd.DataFrame, *, title: str) -> Figure:
    """Draw mAP over the occluded area and over the covered frames; bands are 95 % intervals.

    `curves` is `Battery.curves`. Only the network's own and uniform weights have bands.
    """
    occluders = list(curves["occluder"].unique())
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(occluders), 2, sharey=True, squeeze=False,
            figsize=(9.6, 1.2 + 2.9 * len(occluders)),
        )  # fmt: skip
        for line, occluder in zip(grid, occluders):
            for axes, (axis, label) in zip(line, _AXES.items()):
                found = curves[(curves["occluder"] == occluder) & (curves["axis"] == axis)]
                _curves(axes, found, 100 if axis == "area" else 1)
                axes.set(title=f"pasted: {occluder}", xlabel=label)
            line[0].set_ylabel("mAP (%)")
        grid[0, 0].set_ylim(bottom=0)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9)
    return figure


def _curves(axes: Axes, curves: pd.DataFrame, unit: float) -> None:
    for (swap, branch), (label, colour, dashes, mark) in _LINES.items():
        found = curves[(curves["swap"] == swap) & (curves["branch"] == branch)].sort_values("x")
        x = unit * found["x"]
        if dashes == "-":
            axes.fill_between(x, 100 * found["low"], 100 * found["high"], color=colour, alpha=0.12,
                              lw=0)  # fmt: skip
        axes.plot(x, 100 * found["mAP"], dashes, color=colour, marker=mark, ms=4, label=label)
    if unit == 1:
        axes.set_xticks(sorted(curves["x"].unique()))
