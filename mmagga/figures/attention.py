"""Pictures of what the network looks at: sheets of maps, frame weights, statistics of weights.

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

from mmagga.attention.maps import bounds, statistics
from mmagga.figures.style import (
    BLACK,
    BLUE,
    COLOURS,
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
_PALE = "#FFFFFF"


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
    colours = LinearSegmentedColormap.from_list("weight", [BLUE, _PALE, RED])
    label = "weight over a uniform one (1), log scale"
    return Scale(colours, LogNorm(1 / limit, limit, clip=True), label, ticks)


def contribution_scale(limit: float) -> Scale:
    """Scale of contributions a cell: linear, -limit to limit, 0 in the middle."""
    ticks = {v: f"{v:+.2g}" if v else "0" for v in (-limit, -limit / 2, 0, limit / 2, limit)}
    colours = LinearSegmentedColormap.from_list("contribution", [PINK, _PALE, GREEN])
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
        for axes, label in zip(grid[:, 0], ["frames", *(BRANCHES[name] for name in names)]):
            axes.set_ylabel(label, rotation=0, ha="right", va="center")
        if limit != math.e:
            stamp = f"AUTO-CONTRAST: ends at {limit:.3g}, not e"
            grid[0, 0].set_title(stamp, loc="right", color=RED, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        _small_print(figure, provenance, f"weights on {_ends(limit)}; yellow: the occluder's edge")
    return figure


def _sheet_grid(shape: tuple, rows: int, blocks: int) -> tuple[Figure, np.ndarray]:
    """Lay out `rows` strips of frames of `shape` (T, H, W, 3) in columns, for a screen."""
    t, h, w, _ = shape
    cell = min(1.2, 10.2 / (t * blocks), 6.9 * w / (h * rows))  # a frame's width in inches
    size = (max(6.4, cell * t * blocks + 1.0 + 1.1 * blocks), rows * cell * h / w + 1.7)
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


def _small_print(figure: Figure, provenance: str, scale: str) -> None:
    figure.supxlabel(f"{provenance}\n{scale}", x=0.01, ha="left", fontsize=7.5, color=GREY)


# --- weights over time --------------------------------------------------------------------------


def frame_weights_figure(
    weights: Mapping[str, np.ndarray],
    *,
    title: str,
    provenance: str,
    occluded: np.ndarray | None = None,
    padded: np.ndarray | None = None,
) -> Figure:
    """Draw what each frame of a clip weighs and, below it, how much of it is covered.

    Args:
        weights: branch -> (T, P) summing to 1; of a granularity the sum over a frame's parts.
        title: what this is.
        provenance: run and checkpoint.
        occluded: (T,) shares of the frame.
        padded: (T,) bool, frames that repeat others, hatched.
    """
    names = [name for name in ("global", "p3", "p1", "p2") if name in weights]
    t = len(weights[names[0]])
    panels = 1 + (occluded is not None)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            panels, squeeze=False, sharex=True, figsize=(max(6.4, 1.1 * t + 2), 2.6 + 1.2 * panels),
            height_ratios=[3, 1][:panels],
        )  # fmt: skip
        top, frames = grid[0, 0], np.arange(1, t + 1)
        width = 0.8 / len(names)
        for i, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            x = frames + (i - (len(names) - 1) / 2) * width
            top.bar(x, weights[name].sum(1), width, color=colour, label=name, edgecolor="white")
        top.axhline(1 / t, color=BLACK, ls="--", lw=1.2, label="uniform, 1/T")
        top.set(ylabel="share of the clip's weight", ylim=(0, None))
        if occluded is not None:
            grid[1, 0].bar(frames, 100 * occluded, 0.8, color=GREY)
            grid[1, 0].set(ylabel="covered (%)", ylim=(0, 100))
        for axes in grid[:, 0]:
            axes.grid(axis="x", visible=False)
            for frame in frames[padded] if padded is not None else ():
                axes.axvspan(frame - 0.47, frame + 0.47, fc="none", ec="#BBBBBB", hatch="//", lw=0)
        repeat = padded if padded is not None else np.zeros(t, bool)
        labels = [f"{f}\nrepeat" if r else f"{f}" for f, r in zip(frames, repeat, strict=True)]
        grid[-1, 0].set_xticks(frames, labels)
        grid[-1, 0].set_xlabel("frame of the clip")
        figure.legend(loc="outside upper right", ncols=len(names) + 1)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        _small_print(figure, provenance, "weights linear, from 0")
    return figure


def time_ridge(
    relative: np.ndarray,
    *,
    title: str,
    provenance: str,
    clip: int,
    occluded: np.ndarray | None = None,
) -> Figure:
    """Draw one granularity over a whole tracklet: a curve a band, the covered share underneath.

    Args:
        relative: (F, P) weight times number of tokens, for the F frames without repeats; band 0 is
            at the top of the image and of the figure.
        title: what this is.
        provenance: run and checkpoint.
        clip: T, frames a clip: weights of different clips were not weighed against each other, so
            a curve breaks between them.
        occluded: (F,) shares of the frame.
    """
    frames, bands = relative.shape
    height = np.log(relative)
    most = float(np.abs(height).max())
    step = next((s for s in (1.05, 1.1, 1.25, 1.5, 2.0, math.e) if math.log(s) >= most), math.e)
    panels = 1 + (occluded is not None)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            panels, squeeze=False, sharex=True, figsize=(10, 0.5 * bands + 2.4 + 1.1 * (panels - 1)),
            height_ratios=[0.5 * bands + 1, 1][:panels],
        )  # fmt: skip
        axes = grid[0, 0]
        for band in range(bands):
            for start in range(0, frames, clip):
                x = np.arange(start, min(start + clip, frames)) + 1
                y = band - height[x - 1, band] / (2 * math.log(step))
                axes.fill_between(x, band, y, where=y <= band, color=RED, alpha=0.35, lw=0,
                                  interpolate=True)  # fmt: skip
                axes.fill_between(x, band, y, where=y >= band, color=BLUE, alpha=0.35, lw=0,
                                  interpolate=True)  # fmt: skip
                axes.plot(x, y, color=BLACK, lw=1, marker="o", ms=2.5)
        axes.set_yticks(range(bands), [f"band {band + 1}" for band in range(bands)])
        axes.set_ylim(bands - 0.4, -0.6)
        note = f"half a step between lines: {step:.3g} times the uniform weight"
        axes.set_title(note, loc="right", fontsize=9, fontweight="normal", color=GREY)
        if occluded is not None:
            grid[1, 0].fill_between(np.arange(frames) + 1, 100 * occluded, color=GREY, lw=0)
            grid[1, 0].set(ylabel="covered (%)", ylim=(0, 100))
        for panel in grid[:, 0]:
            panel.grid(axis="x", visible=False)
            for border in range(clip, frames, clip):
                panel.axvline(border + 0.5, color=GREY, ls=":", lw=0.8)
        grid[-1, 0].set(
            xlabel="frame of the tracklet; dotted: a new clip", xlim=(0.5, frames + 0.5)
        )
        grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        _small_print(figure, provenance, "red: more than uniform, blue: less; log scale")
    return figure


# --- statistics of many clips -------------------------------------------------------------------


def weight_statistics_figure(
    relative: Mapping[str, np.ndarray],
    *,
    title: str,
    provenance: str,
    temperature: float = 1.0,
) -> Figure:
    """Draw how weights of many clips are spread, with the bounds that GGA cannot pass.

    Args:
        relative: branch -> (clips, T, P), weight times number of tokens.
        title: what this is.
        provenance: run and checkpoint.
        temperature: of GGA, for the bounds; "global" has none.
    """
    names = [name for name in ("global", "p3", "p1", "p2") if name in relative]
    limit = max(math.e, *(_limit(values) for values in relative.values())) * 1.05
    bins = np.geomspace(1 / limit, limit, 82)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(len(names), sharex=True, squeeze=False,
                                    figsize=(8, 1.45 * len(names) + 1.2))  # fmt: skip
        for axes, name in zip(grid[:, 0], names, strict=True):
            values = relative[name].ravel()
            share = np.full(values.size, 100 / values.size)
            axes.hist(values.clip(1 / limit, limit), bins, weights=share, color=BLUE)
            axes.axvline(1, color=BLACK, lw=1, ls="--")
            if name != "global":
                found = bounds(relative[name][0].size, temperature)
                for end in (found.low, found.high):
                    axes.axvline(end, color=RED, lw=1.5)
            axes.set_title(_spread_note(name, relative[name]), fontsize=9, fontweight="normal")
            axes.set(xscale="log", ylabel="tokens (%)")
        ticks = [v for v in (0.125, 0.25, 0.5, 1, 2, 4, 8) if 1 / limit <= v <= limit]
        axes.set_xticks([1 / math.e, *ticks, math.e], ["1/e", *(f"{v:g}" for v in ticks), "e"])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("weight × number of tokens (1 is uniform), log scale")
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        _small_print(figure, provenance, f"red: bounds of GGA at temperature {temperature:g}")
    return figure


def _limit(values: np.ndarray) -> float:
    """Give the factor within which 99 % of the values are; the rest goes into the last bins."""
    return float(np.exp(np.quantile(np.abs(np.log(values)), 0.99)))


def _spread_note(name: str, relative: np.ndarray) -> str:
    low, high = np.quantile(relative, (0.05, 0.95))
    flat = relative.reshape(len(relative), -1)
    ratio = np.median(flat.max(1) / flat.min(1))
    tokens = f"{flat.shape[1]} {'frames' if name == 'global' else 'tokens'}"
    return f"{name}: {tokens}, 5–95 % in {low:.2f}…{high:.2f}, R of a clip {ratio:.2f} (median)"
