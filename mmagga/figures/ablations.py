"""Pictures of an ablation."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmagga.figures.style import BLUE, GREY, STYLE


def ablation_figure(summary: pd.DataFrame, results: pd.DataFrame, *, title: str) -> Figure:
    """Draw mAP of the rows of a grid, in its order: every seed, their mean and its interval.

    `summary` and `results` are those of `mmagga.studies.comparison`. A row without a run is empty.
    """
    height = 1.7 + 0.5 * len(summary)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, height))
        for place, (label, line) in enumerate(summary.iterrows()):
            seeds = 100 * results.loc[results["label"] == label, "mAP"].to_numpy()
            if not len(seeds):
                axes.text(0.01, place, "not run", transform=axes.get_yaxis_transform(),
                          color=GREY, va="center")  # fmt: skip
                continue
            mean = 100 * line["mAP"]
            axes.plot(mean, place, "D", color=BLUE, ms=7, label="mean over seeds")
            axes.plot(seeds, [place + 0.22] * len(seeds), "o", color=GREY, ms=4.5, label="one seed")
            if pd.notna(line["low"]):
                axes.plot([100 * line["low"], 100 * line["high"]], [place] * 2, color=BLUE, lw=2.5,
                          label="95 % interval")  # fmt: skip
            axes.annotate(f"{mean:.1f}", (mean, place), (0, 7), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(summary)), summary.index)
        axes.set_ylim(len(summary) - 0.4, -0.65)  # the first row on top
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="mAP (%)", title=title)
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles))
        figure.legend(named.values(), named, loc="outside lower center", ncols=3)
    return figure


def curves_figure(curves: pd.DataFrame, yardsticks: pd.DataFrame, *, title: str) -> Figure:
    """Draw mAP over training steps: each seed of each row thin, the mean over seeds thick.

    `curves` has the columns label, seed, step and mAP, `yardsticks` method and mAP: dashed lines.
    """
    curves = curves.dropna(subset="mAP")
    labels = list(dict.fromkeys(curves["label"]))
    with plt.rc_context(STYLE):
        colours = seaborn.color_palette("colorblind", len(labels))
        figure, axes = plt.subplots(figsize=(7.2, 4.2))
        lines: list[Line2D] = []
        for label, colour in zip(labels, colours, strict=True):
            runs = curves[curves["label"] == label]
            for _, run in runs.groupby("seed"):
                axes.plot(run["step"], 100 * run["mAP"], color=colour, lw=0.7, alpha=0.5)
            mean = runs.groupby("step")["mAP"].mean()
            lines += axes.plot(mean.index, 100 * mean, color=colour, lw=2.2)
        lowest = 100 * curves["mAP"].min()
        for method, value in yardsticks.groupby("method")["mAP"].mean().items():
            if 100 * value > lowest - 15:  # others would flatten the curves
                axes.axhline(100 * value, color=GREY, ls="--", lw=1)
                axes.annotate(method, (0, 100 * value), (4, 3), textcoords="offset points",
                              fontsize=8, color=GREY)  # fmt: skip
        axes.set(xlabel="training step", ylabel="mAP (%)", title=title)
        figure.legend(lines, labels, loc="outside lower center", ncols=min(5, len(labels)),
                      title="thick: mean over seeds; thin: each seed")  # fmt: skip
    return figure
