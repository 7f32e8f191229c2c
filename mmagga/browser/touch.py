"""The brush view: one frame and its parts, before and after something covers it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mmagga.browser.paint import BRUSH_WIDTH, Spot, canvas, outline, overlay, text
from mmagga.browser.render import Drawn
from mmagga.data.masks import resize_masks
from mmagga.figures.style import BLUE, GREY, ORANGE

TOUCH_HEIGHT = 506
"""Pixels of the brush view of a model with four branches."""
_ROOM = 196  # height of the frame
_STEP = 12  # height of a line of the bars
_PALE = "#D9D9D9"


class Bars(NamedTuple):
    """Weights relative to uniform, before and after a change, of the parts of one frame."""

    names: Sequence[str]
    before: np.ndarray
    after: np.ndarray


def brush_view(
    frame: np.ndarray,
    values: np.ndarray,
    bars: Bars,
    *,
    covered: np.ndarray | None,
    opacity: float,
    limits: bool,
    title: str,
    changes: Mapping[str, str],
) -> Drawn:
    """Draw one frame (H, W, 3) large, and its map (h, w) beside it: a place for a rectangle.

    `covered` (H, W) bool is what the brush covers, outlined. `bars` compares the weights of the
    frame and of its parts before and after, relative to uniform, on the logarithmic scale of the
    maps; `limits` draws what GGA cannot pass, 1/e and e. `changes` says by branch what the brush
    did to the covered parts. A spot's `what` is ("brush",).
    """
    room = (BRUSH_WIDTH - 4) // 2
    scale = min(_ROOM / frame.shape[0], room / frame.shape[1])
    h, w = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
    image, draw = canvas(TOUCH_HEIGHT, BRUSH_WIDTH)
    large = resize_masks(frame[None], (h, w))
    shown = [large[0], overlay(large, values[None], "weight", opacity)[0]]
    if covered is not None:
        edge = outline(resize_masks(covered[None], (h, w)))[0]
        shown = [np.where(edge[..., None], np.uint8(255), picture) for picture in shown]
    spots = []
    for k, (picture, name) in enumerate(zip(shown, ("frame", title), strict=True)):
        left = k * (room + 4)
        image.paste(Image.fromarray(picture.astype(np.uint8)), (left, 18))
        text(draw, (left, 2), name, 11, bold=True, width=room)
        words = f"{title}: " if k else "drag a rectangle to cover it"
        numbers = np.vectorize("{:.3g}".format, otypes=[object])(np.exp(values)) if k else None
        spots.append(Spot((left, 18, w, h), words, ("brush",), numbers, drag=True))
    top = h + 26
    bottom = _change_bars(draw, bars, top, limits)
    if changes:
        text(draw, (0, bottom + 6), "ln weight of the covered, minus others:", 10, bold=True)
    for k, (name, words) in enumerate(changes.items()):
        text(draw, (0, bottom + 20 + 13 * k), f"{name} {words}", 10, width=BRUSH_WIDTH - 4)
    return Drawn(image, spots)


def _change_bars(draw: ImageDraw.ImageDraw, bars: Bars, top: int, limits: bool) -> int:
    """Draw a line for each part: a ring before, a dot after, on a log scale about uniform.

    Returns the bottom, in pixels.
    """
    start, right = 62, BRUSH_WIDTH - 10
    centre, reach = (start + right) / 2, (right - start) / 2
    text(draw, (0, top), "weight, before ○ and after ●", 10, bold=True)
    text(draw, (centre, top + 14), "uniform", 10, colour=GREY, anchor="ma")
    top += 28

    def x(value: float) -> float:
        return centre + reach * float(np.clip(np.log(max(value, 1e-9)) / 1.15, -1, 1))

    bottom = top + _STEP * len(bars.names)
    draw.line((centre, top, centre, bottom), fill=GREY)
    if limits:
        for value, name in ((1 / np.e, "1/e"), (np.e, "e")):
            draw.line((x(value), top, x(value), bottom), fill=_PALE)
            text(draw, (x(value), top - 14), name, 10, colour=GREY, anchor="ma")
    for k, (name, old, new) in enumerate(zip(bars.names, bars.before, bars.after, strict=True)):
        y = top + _STEP * k + _STEP / 2
        text(draw, (0, y), name, 10, anchor="lm")
        a, b = x(old), x(new)
        draw.line((a, y, b, y), fill=ORANGE, width=3)
        draw.ellipse((a - 4, y - 4, a + 4, y + 4), outline=GREY, width=2, fill="white")
        draw.ellipse((b - 3, y - 3, b + 3, y + 3), fill=BLUE)
    return bottom
