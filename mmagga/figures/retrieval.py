"""Pictures of retrieval: curves and rank lists."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import DISTRACTOR, Tracklets
from mmagga.figures.style import STYLE, mark_match, show_picture


def rank_sheet(
    query: Tracklets,
    gallery: Tracklets,
    lists: Mapping[int, pd.DataFrame],
    size: tuple[int, int],
    *,
    title: str,
    notes: Mapping[int, str] | None = None,
    packed: Path | None = None,
) -> Figure:
    """Draw each query and its nearest gallery tracklets by their middle frames.

    `gallery` holds all that was searched, see `searched_tracklets`. `lists` gives for a query row
    its rank list, as `retrieval.rank_list` makes it. Green with a tick is the right person, red
    with a cross another, grey with a question mark one of whom it is not known.
    """
    queries, galleries = (open_frames(side, size, packed) for side in (query, gallery))
    depth = max(len(ranked) for ranked in lists.values())
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(lists), depth + 1, squeeze=False,
            figsize=(1.02 * (depth + 1), len(lists) * (1.02 * size[0] / size[1] + 0.45) + 0.5),
        )  # fmt: skip
        for line, (row, ranked) in zip(grid, lists.items(), strict=True):
            show_picture(line[0], queries.read(row, [int(query.lengths[row]) // 2])[0])
            line[0].set_title(f"query\ncam {query.camids[row]}", fontsize=9)
            if notes:
                line[0].set_xlabel(notes[row], fontsize=9, loc="left")
            for axes, hit in zip(line[1:], ranked.itertuples()):
                middle = int(gallery.lengths[hit.gallery]) // 2
                show_picture(axes, galleries.read(hit.gallery, [middle])[0])
                known = query.named[row] and gallery.named[hit.gallery]
                mark_match(axes, bool(hit.match) if known else None)
                place = f"cam {hit.camid}" if hit.pid != DISTRACTOR else "distractor"
                label = f"{hit.distance:.3f}\n{place}"
                axes.set_title(label, fontsize=9, fontweight="normal")
            for axes in line[1 + len(ranked) :]:
                axes.axis("off")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure
