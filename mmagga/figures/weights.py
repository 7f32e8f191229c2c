"""Weights as numbers: by frame, over a tracklet, and how they are spread over many clips."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mmagga.attention.maps import bounds
from mmagga.figures.attention import small_print
from mmagga.figures.style import BLACK, BLUE, COLOURS, GREY, RED, STYLE


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
        top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names) + 1, borderaxespad=0)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        small_print(figure, provenance, "weights linear, from 0")
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
        clip: T, frames per clip: weights of different clips were not weighed against each other, so
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
            panels, squeeze=False, sharex=True, height_ratios=[0.5 * bands + 1, 1][:panels],
            figsize=(10, 0.5 * bands + 1.3 + 1.1 * panels),
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
        note = f"half a row = {step:.3g} × the uniform weight"
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
        small_print(figure, provenance, "orange: more than uniform, blue: less; log scale")
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
        small_print(figure, provenance, f"orange: bounds of GGA at temperature {temperature:g}")
    return figure


def _limit(values: np.ndarray) -> float:
    """Return the factor within which 99 % of the values are; the rest goes into the last bins."""
    return float(np.exp(np.quantile(np.abs(np.log(values)), 0.99)))


def _spread_note(name: str, relative: np.ndarray) -> str:
    low, high = np.quantile(relative, (0.05, 0.95))
    flat = relative.reshape(len(relative), -1)
    ratio = np.median(flat.max(1) / flat.min(1))
    tokens = f"{flat.shape[1]} {'frames' if name == 'global' else 'tokens'}"
    return f"{name}: {tokens}, 5–95 % in {low:.2f}…{high:.2f}, R of a clip {ratio:.2f} (median)"
