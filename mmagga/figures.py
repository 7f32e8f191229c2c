"""Every picture of the kit: arrays and tables in, a figure out; nothing is computed here.

Colours are Okabe and Ito's, which the colour-blind can tell apart; right and wrong are marked by
a tick and a cross as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import DISTRACTOR, Tracklets

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
]
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK)
GREY = "#6B6B6B"
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,
}

# Load the backend now: loaded by the first figure, inside `rc_context`, a notebook's would lose
# its interactive mode with the context, and every later figure would not be shown.
plt.switch_backend(plt.get_backend())


def save(figure: Figure, path: Path, dpi: int = 90) -> Path:
    """Write a figure as a PNG of 256 colours, a third of the size; the same bytes every time."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi)
    picture = Image.open(buffer).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Maximum coverage keeps a rare colour, such as that of a bag, which median cut would lose.
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


# --- tracklets ----------------------------------------------------------------------------------


def spread(length: int, count: int) -> list[int]:
    """Choose `count` frame numbers evenly over a tracklet, or all of a shorter one."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def strip(frames: np.ndarray, gap: int = 2, columns: int | None = None) -> np.ndarray:
    """Join (n, H, W, 3) bytes to one white-gapped row, wide enough for `columns` frames."""
    n, h, w, _ = frames.shape
    row = np.full((h, (columns or n) * (w + gap) - gap, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        row[:, i * (w + gap) : i * (w + gap) + w] = frame
    return row


def _picture(axes: Axes, image: np.ndarray, title: str | None = None, **options: object) -> None:
    axes.imshow(image, interpolation="nearest", aspect="equal", **options)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title)


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
            _picture(axes, strip(images, columns=frames))
            axes.axis("on")
            label = labels[k] if labels else describe(tracklets, row)
            axes.set_title(label, fontsize=9, fontweight="normal")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def describe(tracklets: Tracklets, row: int) -> str:
    """Say in a few words which tracklet this is."""
    pid, camid, length = (a[row] for a in (tracklets.pids, tracklets.camids, tracklets.lengths))
    who = f"person {pid}" if pid > 0 else "distractor"
    return f"{who} · camera {camid} · {length} frames"


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
            _picture(grid[2 * k, 0], strip(frames[k], columns=columns), name)
            mask = np.pad(masks[k], ((0, 0), (0, 0), (0, 2)), constant_values=0)
            row = np.concatenate(list(mask), axis=1)
            row = np.pad(row, ((0, 0), (0, columns * (w + 2) - row.shape[1])))
            _picture(grid[2 * k + 1, 0], row, cmap=palette, vmin=-0.5, vmax=len(labels) - 0.5)
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
        figure.legend(loc="outside upper right", ncols=3)
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
    """Draw clips (B, T, H, W, 3) as read and as the network sees them, side by side."""
    with plt.rc_context(STYLE):
        b, t, h, w, _ = before.shape
        size = (11, b * (5.3 * h / ((w + 2) * t)) + 0.9)
        figure, grid = plt.subplots(b, 2, figsize=size, squeeze=False)
        for i in range(b):
            _picture(grid[i, 0], strip(before[i]))
            _picture(grid[i, 1], strip(after[i]))
            grid[i, 0].set_ylabel(labels[i], rotation=0, ha="right", va="center")
        grid[0, 0].set_title("A training batch as read…")
        grid[0, 1].set_title("…and augmented: flipped, shifted, partly erased")
    return figure


# --- training -----------------------------------------------------------------------------------


def learning_curves(steps: pd.DataFrame) -> Figure:
    """Draw losses, batch distances and learning rate over the steps, with the stages as bands."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(1, 3, figsize=(12, 3.6))
        names = {"cross_entropy": "cross-entropy, all branches", "triplet": "triplet"}
        for (name, label), colour in zip(names.items(), COLOURS, strict=False):
            if name in steps:
                grid[0].plot(steps["step"], steps[name], color=colour, alpha=0.25, lw=1)
                smooth = steps[name].ewm(span=15).mean()
                grid[0].plot(steps["step"], smooth, color=colour, label=label)
        grid[0].set(title="Losses", xlabel="step", ylabel="loss (nats)")
        grid[0].set_ylim(0, 1.1 * steps["cross_entropy"].max())
        grid[0].legend(loc="center right")
        grid[1].fill_between(
            steps["step"], steps["distance_5"], steps["distance_95"], color=BLUE, alpha=0.2, lw=0
        )
        grid[1].plot(steps["step"], steps["distance_50"], color=BLUE, label="median, 5–95 % band")
        grid[1].axhline(14.5, color=RED, ls="--", lw=1, label="14.5: official triplet turns round")
        grid[1].set(title="Distances in a batch", xlabel="step", ylabel="Euclidean distance")
        grid[1].set_ylim(0, max(18, 1.25 * steps["distance_95"].max()))
        grid[1].legend(loc="upper left", bbox_to_anchor=(0, 0.78))
        grid[2].step(steps["step"], steps["lr"], where="post", color=BLACK)
        grid[2].set(title="Learning rate", xlabel="step", ylabel="Adam's rate", yscale="log")
        grid[2].set_ylim(steps["lr"].min() / 2, steps["lr"].max() * 3)
        for axes in grid:
            _stage_bands(axes, steps)
    return figure


def _stage_bands(axes: Axes, steps: pd.DataFrame) -> None:
    """Shade every second stage and number all of them along the top."""
    for stage, part in steps.groupby("stage"):
        first, last = part["step"].min() - 0.5, part["step"].max() + 0.5
        if stage % 2 == 0:
            axes.axvspan(first, last, color="#EBEBEB", zorder=0, lw=0)
        axes.text(
            (first + last) / 2, 0.985, f"stage {stage}" if stage == 1 else f"{stage}",
            transform=axes.get_xaxis_transform(), ha="center", va="top", color=GREY, fontsize=9,
        )  # fmt: skip


# --- evaluation ---------------------------------------------------------------------------------


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
            _picture(line[0], queries.read(row, [int(query.lengths[row]) // 2])[0])
            line[0].set_title(f"query\ncam {query.camids[row]}", fontsize=8)
            if notes:
                line[0].set_xlabel(notes[row], fontsize=8, loc="left")
            for axes, hit in zip(line[1:], ranked.itertuples()):
                middle = int(gallery.lengths[hit.gallery]) // 2
                _picture(axes, galleries.read(hit.gallery, [middle])[0])
                _mark(axes, bool(hit.match))
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


def _mark(axes: Axes, match: bool) -> None:
    colour = GREEN if match else RED
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)
    axes.text(
        0.95, 0.02, "✓" if match else "✗", transform=axes.transAxes, ha="right", va="bottom",
        color="white", fontsize=11, fontweight="bold", family="DejaVu Sans",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def matrices_figure(matrices: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> Figure:
    """Draw the MMA matrices before and after training: rows are parts, columns cells."""
    bound = max(np.abs(m).max() for m in [*matrices.values(), *before.values()])
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            2, len(matrices), figsize=(11, 4), squeeze=False,
            width_ratios=[max(4, m.shape[1]) for m in matrices.values()],
        )  # fmt: skip
        for column, name in enumerate(matrices):
            for line, (when, values) in enumerate((("start", before), ("trained", matrices))):
                axes = grid[line, column]
                image = axes.imshow(
                    values[name], cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto"
                )
                axes.set_title(f"{name}, {when}", fontsize=9)
                axes.grid(False)
                axes.set(xlabel="cell" if line else "", ylabel="part" if column == 0 else "")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.get_major_locator().set_params(integer=True)
        figure.colorbar(image, ax=grid, label="weight", shrink=0.8)
        figure.suptitle(
            "MMA: how cells become parts (one scale for all)", x=0.01, ha="left", fontweight="bold"
        )
    return figure
