"""Pictures of the attention battery: forest plot, where the harm goes, robustness curves."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mmagga.figures.style import BLACK, BLUE, COLOURS, GREEN, GREY, ORANGE, STYLE

FOREST: Mapping[str, str] = {
    "response": "response to the occluder\n(nats; left: less weight)",
    "weight removed": "weight taken off it\n(share)",
    "gain over uniform weights": "gain over uniform weights\n(AP)",
    "extra gain under an occluder": "gain minus that without\nthe occluder (AP)",
}
"""Measures of the forest plot, with their units."""

_COLOUR = {
    "supported": GREEN,
    "too small to matter": ORANGE,
    "shown to be absent": COLOURS[5],
    "cannot tell": GREY,
    "": BLACK,
}
_MARK = {
    "supported": "o",
    "too small to matter": "D",
    "shown to be absent": "s",
    "cannot tell": "v",
    "": "o",
}
_SHORT = {
    "supported": "supported",
    "too small to matter": "too small",
    "shown to be absent": "absent",
    "cannot tell": "cannot tell",
}
_NAMES = {"parts": "all parts", "none": "no occluder"}


def forest_figure(
    table: pd.DataFrame, *, title: str, measures: Mapping[str, str] = FOREST
) -> Figure:
    """Draw value and interval of the battery's main measures, a panel each, one row per claim.

    `table` is `Battery.table`. Filled: the trained network, coloured and shaped by the word,
    which is written beside it. Hollow circle: untrained; hollow diamond: oracle weights within
    the bound. Solid line: no effect; dashed: the smallest effect of interest.
    """
    chosen = table[table["measure"].isin(measures)].fillna({"word": ""})
    rows = list(dict.fromkeys(zip(chosen["branch"], chosen["occluder"])))
    rows.sort(key=lambda row: _place(row, chosen))
    panels = [name for name in measures if name in set(chosen["measure"])]
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            1, len(panels), sharey=True, squeeze=False,
            figsize=(2.0 + 3.0 * len(panels), 1.6 + 0.2 * len(rows)),
        )  # fmt: skip
        for axes, name in zip(grid.flat, panels):
            _panel(axes, chosen[chosen["measure"] == name], rows)
            axes.set_title(measures[name], fontsize=10)
        labels = [f"{_NAMES.get(b, b)}, {_NAMES.get(o, o)}" for b, o in rows]
        grid[0, 0].set_yticks(range(len(rows)), labels)
        for axes in grid.flat:  # the panels share their labels
            for text in axes.get_yticklabels():
                text.set_parse_math(False)
        grid[0, 0].set_ylim(len(rows) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        words = set(chosen["word"])
        figure.legend(handles=_legend(words), loc="outside lower left", ncols=5, fontsize=9)
    return figure


def _place(row: tuple[str, str], table: pd.DataFrame) -> tuple[int, int]:
    branches, occluders = list(table["branch"].unique()), list(table["occluder"].unique())
    return branches.index(row[0]), occluders.index(row[1])


def _panel(axes: Axes, table: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> None:
    axes.axvline(0, color=BLACK, lw=1)
    smallest = table["smallest"].dropna()
    if smallest.nunique() == 1:
        axes.axvline(smallest.iloc[0], color=BLACK, lw=1, ls="--")
    for line in table.itertuples():
        y = rows.index((line.branch, line.occluder))
        colour, mark = _COLOUR[line.word], _MARK[line.word]
        axes.plot([line.low, line.high], [y, y], color=colour, lw=2)
        axes.plot(line.value, y, mark, color=colour, ms=5)
        axes.plot(line.untrained, y, "o", mfc="white", mec=BLUE, ms=4)
        axes.plot(line.ceiling, y, "D", mfc="white", mec=GREY, ms=4)
        if smallest.nunique() > 1 and np.isfinite(line.smallest):
            axes.plot([line.smallest] * 2, [y - 0.4, y + 0.4], color=BLACK, lw=1, ls="--")
        axes.text(1.02, y, _SHORT.get(line.word, ""), fontsize=8, va="center", color=colour,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=4)
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axes.axhline(y - 0.5, color="#D0D0D0", lw=0.8)


def _legend(there: set[str]) -> list[Line2D]:
    words = [
        Line2D([], [], color=_COLOUR[word], marker=_MARK[word], lw=2, ms=5, label=word)
        for word in _SHORT
        if word in there
    ]
    return [
        *words,
        Line2D([], [], color=BLACK, marker="o", lw=2, ms=5, label="a control: no claim"),
        Line2D([], [], color=BLUE, marker="o", mfc="white", lw=0, ms=4, label="untrained"),
        Line2D([], [], color=GREY, marker="D", mfc="white", lw=0, ms=4,
               label="oracle weights within the bound"),
        Line2D([], [], color=BLACK, lw=1, label="no effect"),
        Line2D([], [], color=BLACK, lw=1, ls="--", label="smallest effect of interest"),
    ]  # fmt: skip


_WAYS = {
    "": ("in all", BLACK),
    " through the weights": ("through the weights", COLOURS[0]),
    " through the content": ("through the content", COLOURS[1]),
}


def harm_figure(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw what each occluder costs, and how much of it goes through the weights and the content.

    `table` is `Battery.table`; the two parts add up to the whole. Bars are 95 % intervals over
    persons (and networks).
    """
    units = {"AP": ("cost in average precision (points)", 100)}
    units |= {"margin": ("cost in margin (cosine)", 1)}
    harm = table[table["measure"].str.startswith("harm (")]
    occluders = list(harm["occluder"].unique())
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            1, 2, sharey=True, squeeze=False, figsize=(9.6, 1.6 + 0.5 * len(occluders))
        )
        for axes, (unit, (label, scale)) in zip(grid.flat, units.items()):
            axes.axvline(0, color=BLACK, lw=1)
            for place, (way, (name, colour)) in enumerate(_WAYS.items()):
                for line in harm[harm["measure"] == f"harm ({unit}){way}"].itertuples():
                    y = occluders.index(line.occluder) + 0.24 * (place - 1)
                    ends = [scale * line.low, scale * line.high]
                    axes.plot(ends, [y, y], color=colour, lw=2)
                    axes.plot(scale * line.value, y, "osD"[place], color=colour, ms=5, label=name)
            axes.set_xlabel(label)
            axes.grid(axis="y", visible=False)
            axes.locator_params(axis="x", nbins=5)
        grid[0, 0].set_yticks(range(len(occluders)), occluders)
        grid[0, 0].set_ylim(len(occluders) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        named = dict(zip(labels, handles))
        figure.legend(named.values(), named, loc="outside lower left", ncols=3, fontsize=9)
    return figure


_LINES = {
    ("gga", "parts"): ("network's own weights", COLOURS[0], "-", "o"),
    ("uniform", "parts"): ("uniform over each granularity", COLOURS[1], "-", "s"),
    ("uniform", "all"): ("average pooling of all", COLOURS[5], ":", "^"),
    ("frames", "parts"): ("frame weights only", COLOURS[3], "-.", "v"),
    ("soft oracle", "parts"): ("oracle weights within the bound", COLOURS[2], "--", "D"),
}
_AXES = {
    "area": ("by area", "area of the occluder (% of a frame, in half of the frames)"),
    "frames": ("by frames", "covered frames (of the clip's, 30 % of each)"),
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
            for axes, (axis, (by, label)) in zip(line, _AXES.items()):
                found = curves[(curves["occluder"] == occluder) & (curves["axis"] == axis)]
                _curves(axes, found, 100 if axis == "area" else 1)
                axes.set(title=f"pasted {occluder}, {by}", xlabel=label)
            line[0].set_ylabel("mAP (%)")
        lowest = 100 * curves[["mAP", "low"]].min(axis=None)
        grid[0, 0].set_ylim(max(0, lowest - 3), 102)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        band = Patch(color=GREY, alpha=0.3, lw=0, label="95 % over persons")
        figure.legend([*handles, band], [*labels, band.get_label()], loc="outside lower left",
                      ncols=3, fontsize=9)  # fmt: skip
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
