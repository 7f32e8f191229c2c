"""Pictures of an ablation."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

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
            interval, = axes.plot([100 * line["low"], 100 * line["high"]], [place] * 2, color=BLUE,
                                  lw=2.5)  # fmt: skip
            (point,) = axes.plot(mean, place, "D", color=BLUE, ms=7)
            (dots,) = axes.plot(seeds, [place + 0.22] * len(seeds), "o", color=GREY, ms=4.5)
            axes.annotate(f"{mean:.1f}", (mean, place), (0, 7), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(summary)), summary.index)
        axes.set_ylim(len(summary) - 0.4, -0.65)  # the first row on top
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="mAP (%)", title=title)
        names = ["mean over seeds", "its 95 % interval over persons", "one seed"]
        figure.legend([point, interval, dots], names, loc="outside lower center", ncols=3)
    return figure
