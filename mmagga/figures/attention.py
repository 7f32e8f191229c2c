"""The attention sheet: what a clip's weights and contributions are, frame by frame.

Weights are drawn relative to uniform ones, on one scale for every sheet, so that weights that are
uniform look uniform; nothing is smoothed and no frame is stretched to a range of its own.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from mmagga.attention.maps import statistics
from mmagga.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PINK,
    RED,
    STYLE,
    YELLOW,
    show_picture,
    strip,
)

BRANCHES = {
    "p2": "p2\n8 bands",
    "p1": "p1\n4 bands",
    "p3": "p3\n2 bands",
    "global": "global\nframes",
}
"""Branch -> its label; sheets have their rows in this order."""

_GAP = 3  # pixels of the frames
_LEVELS = 257  # odd, so that the middle of a scale is exactly white


class Scale(NamedTuple):
    """How values become colours."""

    colours: LinearSegmentedColormap
    norm: Normalize
    label: str
    ticks: dict[float, str]

    def paint(self, frames: np.ndarray, values: np.ndarray, opacity: float = 0.5) -> np.ndarray:
        """Tint grey frames (T, H, W, 3) by values (T, h, w), cell by cell; NaN stays grey.

        `opacity`: how far the frames fade before they are tinted; 1 leaves the colour alone.
        """
        grey = opacity + (1 - opacity) / 255 * frames.mean(axis=3, keepdims=True)
        rows, columns = (
            np.arange(side) * cells // side
            for side, cells in zip(frames.shape[1:3], values.shape[1:], strict=True)
        )
        large = values[:, rows[:, None], columns]  # (T, H, W), nearest neighbour
        colour = self.colours(self.norm(large.ravel()))[:, :3].reshape(frames.shape)
        colour[np.isnan(large)] = 1
        return np.rint(255 * grey * colour).astype(np.uint8)


def weight_scale(limit: float = math.e) -> Scale:
    """Scale of weights relative to uniform: logarithmic, 1/limit to limit, 1 in the middle.

    At temperature 1 no weight of GGA can be further from another than e times. Any other limit is
    stamped on the sheet.
    """
    ticks = {1 / limit: f"1/{limit:.3g}", 1: "1", limit: f"{limit:.3g}"}
    if limit == math.e:
        ticks = {1 / math.e: "1/e", 0.5: "0.5", 1: "1", 2: "2", math.e: "e"}
    colours = LinearSegmentedColormap.from_list("weight", [BLUE, "white", RED], _LEVELS)
    label = "weight over a uniform one (1), log scale"
    return Scale(colours, LogNorm(1 / limit, limit, clip=True), label, ticks)


def contribution_scale(limit: float) -> Scale:
    """Scale of contributions a cell: linear, -limit to limit, 0 in the middle."""
    ticks = {v: f"{v:+.2g}" if v else "0" for v in (-limit, -limit / 2, 0, limit / 2, limit)}
    ends = [PINK, "white", GREEN]
    colours = LinearSegmentedColormap.from_list("contribution", ends, _LEVELS)
    label = "contribution to the similarity, a cell"
    return Scale(colours, Normalize(-limit, limit, clip=True), label, ticks)


def attention_sheet(
    frames: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    title: str,
    provenance: str,
    masks: np.ndarray | None = None,
    padded: np.ndarray | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    contributions: Mapping[str, np.ndarray] | None = None,
    limit: float = math.e,
) -> Figure:
    """Draw a clip, below it the weights of each branch and, to the right, the contributions.

    Args:
        frames: (T, H, W, 3) uint8.
        maps: branch -> (T, h, w), relative to uniform, as `heatmaps` gives them for one clip.
        title: what this is.
        provenance: run and checkpoint, in small print with the scale.
        masks: (T, H, W) bool, the occluder, outlined.
        padded: (T,) bool, frames that repeat others, hatched.
        weights: branch -> (T, P) summing to 1: H / ln N and R go into the margin.
        contributions: branch -> (T, h, w), of the same branches; their sums go into the margin.
        limit: of the colour scale; a value other than e is stamped on the sheet.
    """
    names = [name for name in BRANCHES if name in maps]
    blocks = [(weight_scale(limit), maps, "Weight")]
    if contributions is not None:
        most = max(float(np.abs(contributions[name]).max()) for name in names)
        blocks.append((contribution_scale(most or 1.0), contributions, "Contribution"))
    with plt.rc_context(STYLE):
        figure, grid = _sheet_grid(frames.shape, len(names) + 1, len(blocks))
        for block, (scale, values, heading) in enumerate(blocks):
            top, *column = grid[:, block]
            show_picture(top, strip(frames, _GAP), heading)
            for axes, name in zip(column, names):
                show_picture(axes, strip(scale.paint(frames, values[name]), _GAP))
                note = _sum_note(values[name]) if block else _weight_note(values, weights, name)
                axes.text(1.015, 0.5, note, transform=axes.transAxes, va="center", fontsize=9)
            for axes in grid[:, block]:
                _mark(axes, frames.shape, masks, padded)
            _number_frames(grid[-1, block], frames.shape, padded)
            _colour_bar(figure, scale, grid[:, block])
        for axes, label in zip(grid[:, 0], ["clip", *(BRANCHES[name] for name in names)]):
            axes.set_ylabel(label, rotation=0, ha="right", va="center")
        if limit != math.e:
            grid[0, 0].set_title(f"Weight, AUTO-CONTRAST: ends at {limit:.3g}", color=RED)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        small_print(figure, provenance, f"weights on {_ends(limit)}; yellow: the occluder's edge")
    return figure


def _sheet_grid(shape: tuple, rows: int, blocks: int) -> tuple[Figure, np.ndarray]:
    """Lay out `rows` strips of frames of `shape` (T, H, W, 3) in columns, for a screen."""
    t, h, w, _ = shape
    cell = min(1.2, 10.2 / (t * blocks), 6.9 * w / (h * rows))  # a frame's width in inches
    size = (max(6.4, cell * t * blocks + 0.7 + 0.95 * blocks), rows * cell * h / w + 1.7)
    return plt.subplots(rows, blocks, squeeze=False, figsize=size)


def _weight_note(maps: Mapping, weights: Mapping | None, name: str) -> str:
    span = f"{np.nanmin(maps[name]):.2f} … {np.nanmax(maps[name]):.2f}"
    if weights is None:
        return span
    found = statistics(torch.as_tensor(weights[name]).unsqueeze(0))
    return f"H/ln N {float(found.entropy):.4f}\nR {float(found.ratio):.2f}\n{span}"


def _sum_note(values: np.ndarray) -> str:
    return f"sum\n{values.sum():+.3f}"


def _mark(axes: Axes, shape: tuple, masks: np.ndarray | None, padded: np.ndarray | None) -> None:
    """Outline the occluder and hatch the repeats on a strip of frames of `shape`."""
    t, h, w, _ = shape
    lefts = np.arange(t) * (w + _GAP)
    if masks is not None and masks.any():
        row = np.full((h, t * (w + _GAP) - _GAP), np.nan)  # no line along the gaps
        for left, mask in zip(lefts, masks, strict=True):
            row[:, left : left + w] = mask
        for colour, width in ((BLACK, 2.4), (YELLOW, 1.2)):
            axes.contour(row, [0.5], colors=colour, linewidths=width)
    for left in lefts[padded] if padded is not None else ():
        frame = Rectangle(
            (left - 0.5, -0.5), w, h, hatch="///", facecolor="#FFFFFF80", edgecolor=GREY, lw=0
        )
        axes.add_patch(frame)


def _number_frames(axes: Axes, shape: tuple, padded: np.ndarray | None) -> None:
    t, _, w, _ = shape
    repeat = padded if padded is not None else np.zeros(t, bool)
    labels = [f"{i + 1}" + ("\nrepeat" if repeat[i] else "") for i in range(t)]
    axes.set_xticks(np.arange(t) * (w + _GAP) + w / 2, labels, fontsize=9)
    axes.tick_params(axis="x", length=0)


def _colour_bar(figure: Figure, scale: Scale, axes: np.ndarray) -> None:
    mappable = ScalarMappable(scale.norm, scale.colours)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=40, pad=0.02, shrink=0.9)
    bar.set_label(scale.label, fontsize=9)
    bar.ax.xaxis.set_major_locator(FixedLocator(list(scale.ticks)))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.set_xticklabels(scale.ticks.values(), fontsize=9)
    bar.outline.set_color(GREY)


def _ends(limit: float) -> str:
    end = "e" if limit == math.e else f"{limit:.3g}"
    return f"1/{end}…{end}, log"


def small_print(figure: Figure, provenance: str, scale: str) -> None:
    """Write below a figure where its numbers come from and on what scale they are."""
    figure.supxlabel(f"{provenance}\n{scale}", x=0.01, ha="left", fontsize=9, color=GREY)
