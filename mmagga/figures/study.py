"""Pictures of an attention study: several networks of each way of training, side by side."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmagga.figures.style import BLACK, COLOURS, GREY, STYLE

BRANCHES = ("p2", "p1", "p3", "global", "parts")
OCCLUDERS = ("none", "filmed", "object", "person", "noise")
ARMS = {
    "occluders": "rendered, trained with occluders",
    "clear": "the same, trained without occluders",
    "taught": "taught to ignore occluders",
    "shuffled": "trained on shuffled labels",
    "photographs": "real photographs",
}
PANELS = {
    "response": (
        "Does attention down-weight\nan occluder?", "response in nats; left: less weight", 1
    ),
    "gain over uniform weights": (
        "Do the weights\nimprove retrieval?", "mAP over uniform weights, points", 100
    ),
    "extra gain under an occluder": (
        "Do they help more\nunder an occluder?", "that gain minus the one without, points", 100
    ),
}  # fmt: skip
"""Measure: its question, axis and unit."""
_NAMES = {"parts": "all parts", "none": "no occluder"}
_MARKS = "osD^vP"


def attention_study_figure(study: pd.DataFrame, *, title: str) -> Figure:
    """Draw the pooled mean and 95 % interval of each arm's networks for the deciding measures.

    `study` has the columns of data/results/attention.csv. A hollow diamond is what oracle weights
    within GGA's bound reach, a dashed line the smallest effect of interest. Scales are linear up to
    about that effect and logarithmic beyond.
    """
    study = study[study["measure"].isin(PANELS) & study["occluder"].isin(OCCLUDERS)]
    known = set(zip(study["branch"], study["occluder"]))
    rows = [(b, o) for b in BRANCHES for o in OCCLUDERS if (b, o) in known]
    arms = list(study["arm"].unique())
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(PANELS), sharey=True, figsize=(13, 2.2 + (0.16 + 0.13 * len(arms)) * len(rows))
        )
        for axes, (measure, (question, label, unit)) in zip(panels, PANELS.items()):
            _draw(axes, study[study["measure"] == measure], rows=rows, arms=arms, unit=unit)
            axes.set_title(question, fontsize=11)
            axes.set_xlabel(f"{label}\n(linear near 0, logarithmic beyond)", fontsize=9)
        labels = [f"{_NAMES.get(b, b)}, {_NAMES.get(o, o)}" for b, o in rows]
        panels[0].set_yticks(range(len(rows)), labels)
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        pairs = [axes.get_legend_handles_labels() for axes in panels]
        named = {label: line for lines, labels in pairs for line, label in zip(lines, labels)}
        figure.legend(named.values(), named, loc="outside lower left", ncols=3, fontsize=9)
    return figure


def _draw(
    axes: Axes, found: pd.DataFrame, *, rows: list[tuple[str, str]], arms: list[str], unit: float
) -> None:
    axes.axvline(0, color=BLACK, lw=1, label="no effect")
    if len(found):
        least = unit * found["smallest"].abs().min() * (-1 if found["smallest"].min() < 0 else 1)
        axes.axvline(least, color=BLACK, lw=1, ls="--", label="smallest effect of interest")
    for line in found.itertuples():
        arm = arms.index(line.arm)
        y = rows.index((line.branch, line.occluder)) + 0.7 / len(arms) * (arm - (len(arms) - 1) / 2)
        colour = COLOURS[arm % len(COLOURS)]
        some = "network" if line.runs == 1 else "networks"
        name = f"{ARMS.get(line.arm, line.arm)}, {line.runs:.0f} {some}"
        axes.plot([unit * line.low, unit * line.high], [y, y], color=colour, lw=2)
        axes.plot(unit * line.value, y, _MARKS[arm % 6], color=colour, ms=5, label=name)
        if pd.notna(line.ceiling):
            axes.plot(unit * line.ceiling, y, "D", mfc="white", mec=GREY, ms=4,
                      label="oracle weights within the bound")  # fmt: skip
    if len(found):
        _symmetric_log(axes, 2 * abs(least))
    axes.grid(axis="y", visible=False)
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axes.axhline(y - 0.5, color="#D0D0D0", lw=0.8)


def _symmetric_log(axes: Axes, linear: float) -> None:
    """Scale the x axis linearly up to `linear`, logarithmically beyond; plain tick labels."""
    axes.set_xscale("symlog", linthresh=linear)
    low, high = axes.get_xlim()
    decades = [linear / 2, *(10.0**k for k in range(-3, 4) if 10.0**k > linear)]
    ticks = [t for t in (*(-d for d in reversed(decades)), 0.0, *decades) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}".replace("-", "−") for t in ticks])
    axes.minorticks_off()


MAPS_TITLE = "Do maps agree with the measured importance of parts?"


def parts_figure(study: pd.DataFrame, *, title: str = MAPS_TITLE) -> Figure:
    """Draw the agreement of each map with the measured importance of the parts of a person.

    `study` has the columns of data/results/attention.csv, with or without "arm".
    """
    study = study if "arm" in study else study.assign(arm="")
    found = study[study["measure"] == "rank with what parts are worth"]
    maps, arms = list(found["branch"].unique()), list(found["arm"].unique())
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.8 + (0.2 + 0.12 * len(arms)) * len(maps)))
        axes.axvline(0, color=BLACK, lw=1)
        for line in found.itertuples():
            arm = arms.index(line.arm)
            y = maps.index(line.branch) + _aside(arm, arms)
            colour = COLOURS[arm % len(COLOURS)]
            axes.plot([line.low, line.high], [y, y], color=colour, lw=2)
            axes.plot(line.value, y, _MARKS[arm % 6], color=colour, ms=5,
                      label=ARMS.get(line.arm, line.arm))  # fmt: skip
        axes.set_yticks(range(len(maps)), maps)
        axes.set_ylim(len(maps) - 0.4, -0.6)
        axes.set_xlabel("mean rank correlation over the parts of a clip")
        axes.grid(axis="y", visible=False)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        if any(arms):
            lines, labels = axes.get_legend_handles_labels()
            named = dict(zip(labels, lines))
            figure.legend(named.values(), named, loc="outside lower left", ncols=3, fontsize=9)
    return figure


def _aside(arm: int, arms: Sequence[str]) -> float:
    return 0.7 / len(arms) * (arm - (len(arms) - 1) / 2)
