"""Pictures of retrieval: curves and rank lists."""

from collections.abc import Mapping
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets
from mmagga.figures.style import COLOURS, STYLE, mark_match, show_picture


def cmc_figure(curves: Mapping[str, np.ndarray], *, title: str, ranks: int = 20) -> Figure:
    """Draw cumulative matching curves, one for each name; values are shares in [0, 1]."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.8))
        for (name, cmc), colour, mark in zip(curves.items(), COLOURS, "os^Dv", strict=False):
            shown = cmc[:ranks]
            label = f"{name}: rank-1 {shown[0]:.1%}"
            axes.plot(np.arange(1, len(shown) + 1), 100 * shown, color=colour, marker=mark, ms=4,
                      label=label)  # fmt: skip
        axes.set(xlabel="rank", ylabel="queries matched by this rank (%)", ylim=(0, 102))
        axes.set_xticks([1, 5, 10, 15, 20][: 1 + ranks // 5])
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=1)
    return figure


def rank_sheet(
    query: Tracklets,
    gallery: Tracklets,
    lists: Mapping[int, pd.DataFrame],
    size: tuple[int, int],
    *,
    title: str,
    notes: Mapping[int, str] | None = None,
) -> Figure:
    """Draw each query and its nearest gallery tracklets by their middle frames.

    `gallery` holds all that was searched, see `searched_tracklets`. `lists` gives for a query row
    its rank list, as `retrieval.rank_list` makes it. Green with a tick
    is the right person, red with a cross another.
    """
    queries, galleries = open_frames(query, size), open_frames(gallery, size)
    depth = max(len(ranked) for ranked in lists.values())
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(lists), depth + 1, squeeze=False,
            figsize=(1.02 * (depth + 1), len(lists) * (1.02 * size[0] / size[1] + 0.45) + 0.5),
        )  # fmt: skip
        for line, (row, ranked) in zip(grid, lists.items(), strict=True):
            show_picture(line[0], queries.read(row, [int(query.lengths[row]) // 2])[0])
            line[0].set_title(f"query\ncam {query.camids[row]}", fontsize=8)
            if notes:
                line[0].set_xlabel(notes[row], fontsize=8, loc="left")
            for axes, hit in zip(line[1:], ranked.itertuples()):
                middle = int(gallery.lengths[hit.gallery]) // 2
                show_picture(axes, galleries.read(hit.gallery, [middle])[0])
                mark_match(axes, bool(hit.match))
                label = f"{hit.distance:.3f}\ncam {hit.camid}"
                axes.set_title(label, fontsize=8, fontweight="normal")
            for axes in line[1 + len(ranked) :]:
                axes.axis("off")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def searched_tracklets(query: Tracklets, gallery: Tracklets, queries_too: bool) -> Tracklets:
    """Give what a protocol searches: the gallery and, where it says so, then the queries."""
    if not queries_too:
        return gallery
    return replace(gallery, table=pd.concat([gallery.table, query.table], ignore_index=True))
