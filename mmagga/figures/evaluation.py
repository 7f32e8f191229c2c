"""Pictures of where a score comes from; `mmagga.retrieval.analysis` computes what they show."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from mmagga.figures.style import BLUE, COLOURS, GREY, ORANGE, STYLE
from mmagga.retrieval import DistanceHistogram


def cmc_band_figure(bands: Mapping[str, pd.DataFrame], *, title: str) -> Figure:
    """Draw cumulative matching curves with their 95 % bands, a `cmc_bands` table for each name."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.8))
        lines = {}  # handed to the legend one by one: by itself it drops names that begin with "_"
        for (name, band), colour, mark in zip(bands.items(), cycle(COLOURS), cycle("os^Dv")):
            first = band.iloc[0]
            label = f"{name}: rank-1 {first['mean']:.1%} ({first['low']:.1%}–{first['high']:.1%})"
            (lines[label],) = axes.plot(
                band["rank"], 100 * band["mean"], color=colour, marker=mark, ms=4
            )
            axes.fill_between(
                band["rank"], 100 * band["low"], 100 * band["high"], color=colour, alpha=0.18, lw=0
            )
        axes.set(xlabel="rank", ylabel="queries matched by this rank (%)", ylim=(0, 102))
        last = max(int(band["rank"].max()) for band in bands.values())
        axes.set_xticks([1, *range(5, last + 1, 5)])
        axes.set_title(title)
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=1,
                      title="bands: 95 % over persons")  # fmt: skip
    return figure


def distance_figure(histogram: DistanceHistogram, *, title: str, bars: int = 50) -> Figure:
    """Draw the distances of same and of different persons, with overlap and equal error rate."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 4.4))
        parts = len(histogram.same) // bars or 1  # bins to a bar: fine bins are for the numbers
        edges = np.append(histogram.edges[:-1:parts], histogram.edges[-1])
        sides = (("same person", histogram.same, BLUE), ("different persons", histogram.different,
                 ORANGE))  # fmt: skip
        for name, counts, colour in sides:
            counts = np.add.reduceat(counts, np.arange(0, len(counts), parts))
            shares = 100 * counts / counts.sum()
            label = f"{name}: {counts.sum():,} pairs"
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(shares, edges, color=colour, lw=1.5, label=label)
        rate, threshold = histogram.equal_error
        axes.axvline(threshold, color=GREY, ls="--", lw=1.2,
                     label=f"equal error rate {rate:.1%}, at {threshold:.2f}")  # fmt: skip
        filled = np.flatnonzero(histogram.same + histogram.different)
        axes.set_xlim(0, histogram.edges[filled[-1] + 1])
        axes.set(xlabel="Euclidean distance of two embeddings (no unit)", ylabel="pairs (%)")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=2,
                      title=f"overlap of the two {histogram.overlap:.1%}")  # fmt: skip
    return figure


def camera_figure(pairs: pd.DataFrame, *, title: str) -> Figure:
    """Draw mAP for each camera of the query and of the match, from `camera_pairs`."""
    table = pairs.pivot(index="camid", columns="gallery_camid", values="mAP") * 100
    counts = pairs.pivot(index="camid", columns="gallery_camid", values="queries")
    rows, columns = table.shape
    texts = table.map("{:.0f}".format) + counts.map("\nn = {:.0f}".format)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(1.6 + 0.95 * columns, 1.4 + 0.8 * rows))
        sns.heatmap(
            table, annot=texts, fmt="", cmap="cividis", vmax=100, ax=axes,
            vmin=10 * np.floor(np.nanmin(table.to_numpy(float)) / 10),
            annot_kws={"fontsize": 9}, cbar_kws={"label": "mAP (%); n: queries"},
        )  # fmt: skip
        axes.set(xlabel="camera of the match")
        axes.set(ylabel="camera of the query")
        axes.tick_params(axis="y", rotation=0)
        axes.grid(False)
        axes.set_title(title, fontsize=10)
    return figure


def embedding_figure(points: pd.DataFrame, *, title: str) -> Figure:
    """Draw a map of tracklets, from `retrieval.project`: a number and lines for each person.

    Seven colours tell neighbours apart, the number tells the person; the marker is the camera.
    """
    cameras = dict(zip(sorted(points["camid"].unique()), cycle("os^Dv<>p")))
    maps = {"pca": "PCA", "tsne": f"t-SNE, perplexity {points.attrs['perplexity']:.3g}"}
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(11, 5.4))
        for axes, (name, words) in zip(panels, maps.items()):
            for (pid, mine), colour in zip(points.groupby("pid"), cycle(COLOURS)):
                x, y = mine[f"{name}_x"], mine[f"{name}_y"]
                for a, b in zip(x, y):
                    axes.plot([x.mean(), a], [y.mean(), b], color=colour, lw=0.6, alpha=0.6)
                for camid, seen in mine.groupby("camid"):
                    axes.plot(seen[f"{name}_x"], seen[f"{name}_y"], cameras[camid],
                              color=colour, ms=5, mec="white", mew=0.4)  # fmt: skip
                axes.text(x.mean(), y.mean(), str(pid), fontsize=9, fontweight="bold",
                          ha="center", va="center", color=colour,
                          path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
            axes.set(title=words, xticks=[], yticks=[], xlabel="no unit", ylabel="no unit")
        marks = [Line2D([], [], color=GREY, marker=mark, lw=0, label=f"camera {camid}")
                 for camid, mark in cameras.items()]  # fmt: skip
        figure.legend(handles=marks, loc="outside lower left", ncols=min(8, len(marks)),
                      title="number: person, at the mean of their tracklets; to look at, not "
                      "evidence")  # fmt: skip
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def cost_figure(
    length: pd.DataFrame, occlusion: pd.DataFrame | None = None, *, title: str
) -> Figure:
    """Draw the accuracy by length and, where it is known, by occlusion, from `by_bins` tables."""
    with plt.rc_context(STYLE):
        count = 1 if occlusion is None else 2
        figure, grid = plt.subplots(
            1, count, figsize=(5.4 * count, 3.9), squeeze=False, sharey=True
        )
        _bins(grid[0, 0], length, _names(length["left"], length["right"]))
        grid[0, 0].set(xlabel="frames in the query", ylabel="average precision (%)")
        if occlusion is not None:
            names = _names(100 * occlusion["left"], 100 * occlusion["right"])
            _bins(grid[0, 1], occlusion, names)
            grid[0, 1].set(xlabel="share of the person that is hidden, mean over the frames (%)")
        grid[0, 0].set_ylim(0, 112)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _names(left: pd.Series, right: pd.Series) -> list[str]:
    """Name bins that hold left < x <= right."""
    middle = [f"> {a:g} to {b:g}" for a, b in zip(left[1:-1], right[1:-1], strict=True)]
    return [f"≤ {right.iloc[0]:g}", *middle, f"> {left.iloc[-1]:g}"][: len(left)]


def _bins(axes: Axes, bins: pd.DataFrame, names: list[str]) -> None:
    """Draw the mean of each bin with its 95 % interval and the number of queries."""
    places = np.arange(len(bins))
    means = 100 * bins["mean"]
    errors = [means - 100 * bins["low"], 100 * bins["high"] - means]
    axes.errorbar(places, means, yerr=errors, fmt="o", color=BLUE, capsize=4, ms=7)
    for place, queries in zip(places, bins["queries"], strict=True):
        axes.text(place, 109, f"n = {queries}", ha="center", va="top", fontsize=9, color=GREY)
    axes.set_xticks(places, names)
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.grid(axis="x", visible=False)
