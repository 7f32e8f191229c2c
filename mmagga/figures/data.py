"""Pictures of the data: tracklets, masks, batches and what a data set holds."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import DISTRACTOR, Tracklets, describe_tracklet, spread
from mmagga.figures.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    PINK,
    SKY,
    STYLE,
    YELLOW,
    show_picture,
    strip,
)


def tracklet_sheet(
    tracklets: Tracklets,
    rows: Sequence[int],
    size: tuple[int, int],
    *,
    title: str,
    frames: int = 8,
    columns: int = 2,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw tracklets as strips of up to `frames` frames of `size` (H, W), with their labels."""
    store = open_frames(tracklets, size)
    with plt.rc_context(STYLE):
        lines = -(-len(rows) // columns)
        width = 5.4 * columns
        height = lines * (5.4 * size[0] / (size[1] * frames) + 0.28) + 0.4
        figure, grid = plt.subplots(lines, columns, figsize=(width, height), squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for k, (axes, row) in enumerate(zip(grid.flat, rows)):
            images = store.read(row, spread(int(tracklets.lengths[row]), frames))
            show_picture(axes, strip(images, columns=frames))
            axes.axis("on")
            label = labels[k] if labels else describe_tracklet(tracklets, row)
            axes.set_title(label, fontsize=9, fontweight="normal")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def mask_sheet(
    frames: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    labels: Mapping[int, str],
    *,
    title: str,
    names: Sequence[str],
) -> Figure:
    """Draw strips (n, H, W, 3) above their masks (n, H, W), with a legend of the colours."""
    colours = ["#F2F2F2", BLACK, ORANGE, BLUE, SKY, GREEN, PINK, YELLOW][: len(labels)]
    palette = ListedColormap(colours)
    columns = max(len(s) for s in frames)
    with plt.rc_context(STYLE):
        h, w = frames[0].shape[1:3]
        height = len(frames) * 2 * (11 * h / ((w + 2) * columns)) + 0.35 * len(frames) + 0.8
        figure, grid = plt.subplots(2 * len(frames), 1, figsize=(11, height), squeeze=False)
        for k, name in enumerate(names):
            show_picture(grid[2 * k, 0], strip(frames[k], columns=columns), name)
            mask = np.pad(masks[k], ((0, 0), (0, 0), (0, 2)), constant_values=0)
            row = np.concatenate(list(mask), axis=1)
            row = np.pad(row, ((0, 0), (0, columns * (w + 2) - row.shape[1])))
            show_picture(grid[2 * k + 1, 0], row, cmap=palette, vmin=-0.5, vmax=len(labels) - 0.5)
        handles = [plt.Rectangle((0, 0), 1, 1, color=colours[i]) for i in labels]
        names_of = list(labels.values())
        figure.legend(handles, names_of, loc="outside lower center", ncols=len(labels))
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def dataset_figure(tracklets: Tracklets) -> Figure:
    """Draw how long tracklets are, what each camera has, and how many cameras see a person."""
    table = tracklets.table
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 3, figsize=(12, 3.6), width_ratios=(3, 2, 2))
        left, middle, right = grid
        shortest, longest = table["length"].min(), table["length"].max()
        step = -(-(longest - shortest + 1) // 30)  # whole frames, so that no bin is fuller by rule
        bins = np.arange(shortest, longest + step + 1, step) - 0.5
        splits = [s for s in ("train", "query", "gallery") if (table["split"] == s).any()]
        lengths = [table.loc[table["split"] == s, "length"] for s in splits]
        left.hist(lengths, bins=bins, stacked=True, label=splits, color=COLOURS[: len(splits)])
        left.set(xlabel="frames in a tracklet", ylabel="tracklets", title="How long tracklets are")
        for axis in (left.xaxis, left.yaxis):
            axis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside lower left", ncols=3, title="split", alignment="left")
        counts = table.groupby(["camid", "split"]).size().unstack(fill_value=0)[splits]
        counts.plot.bar(stacked=True, ax=middle, color=COLOURS, legend=False, rot=0, width=0.7)
        middle.set(xlabel="camera", ylabel="tracklets", title="What each camera saw")
        people = table[table["pid"] > DISTRACTOR].assign(test=table["split"] != "train")
        cameras = people.groupby(["test", "pid"])["camid"].nunique()
        seen = cameras.groupby("test").value_counts().unstack("test", fill_value=0)
        seen = seen.sort_index().rename(columns={False: "train", True: "test"})
        seen.plot.bar(stacked=True, ax=right, color=[COLOURS[0], COLOURS[3]], rot=0, width=0.7)
        right.set(xlabel="cameras that saw a person", ylabel="persons", title="Across cameras")
        right.legend(title=None)
    return figure


def batch_sheet(before: np.ndarray, after: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw clips (B, T, H, W, 3) as read and as the network gets them, side by side."""
    with plt.rc_context(STYLE):
        b, t, h, w, _ = before.shape
        size = (11, b * (5.3 * h / ((w + 2) * t)) + 0.9)
        figure, grid = plt.subplots(b, 2, figsize=size, squeeze=False)
        for i in range(b):
            show_picture(grid[i, 0], strip(before[i]))
            show_picture(grid[i, 1], strip(after[i]))
            grid[i, 0].set_ylabel(labels[i], rotation=0, ha="right", va="center")
        grid[0, 0].set_title("A training batch as read…")
        grid[0, 1].set_title("…and augmented: flipped, shifted, partly erased")
    return figure
