"""The brush view: one frame and its parts, before and after something covers it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mmagga.browser.paint import WIDTH, canvas, outline, overlay, text
from mmagga.data.masks import resize_masks
from mmagga.figures.style import BLUE, GREY, ORANGE

TOUCH_HEIGHT = 336
"""Pixels of the brush view."""
_PALE = "#D9D9D9"


class Bars(NamedTuple):
    """Weights relative to uniform, before and after a change, of the parts of one frame."""

    names: Sequence[str]
    before: np.ndarray
    after: np.ndarray


def brush_view(
    before: np.ndarray,
    after: np.ndarray,
    maps: Sequence[np.ndarray],
    bars: Bars,
    *,
    covered: np.ndarray | None,
    opacity: float,
    limits: bool,
    lines: Sequence[str],
) -> Image.Image:
    """Draw one frame (H, W, 3) large, with its map (h, w), before and after the brush.

    `covered` (H, W) bool is what the brush covers, outlined. `bars` compares the weights of the
    frame and of its parts, relative to uniform, on the logarithmic scale of the maps; `limits`
    draws what GGA cannot pass, 1/e and e. `lines`, two at most, are written below.
    """
    h = TOUCH_HEIGHT - 64
    w = h * before.shape[1] // before.shape[0]
    image, draw = canvas(TOUCH_HEIGHT)
    shown = []
    for frame, values in zip((before, after), maps, strict=True):
        large = resize_masks(frame[None], (h, w))
        shown += [large[0], overlay(large, values[None], "weight", opacity)[0]]
    edge = None if covered is None else outline(resize_masks(covered[None], (h, w)))[0]
    titles = ("frame", "map", "covered", "map, covered")
    room = min(w, 136)
    for k, (picture, title) in enumerate(zip(shown, titles, strict=True)):
        if edge is not None and k >= 2:
            picture = np.where(edge[..., None], np.uint8(255), picture)
        small = Image.fromarray(picture)
        if w > room:
            small = small.resize((room, h * room // w))
        image.paste(small, (k * (room + 4), 20))
        text(draw, (k * (room + 4), 3), title, 12, bold=True)
    _change_bars(draw, bars, 4 * (room + 4) + 14, limits)
    for k, line in enumerate(lines):
        text(draw, (0, h + 28 + 15 * k), line, 12, width=WIDTH)
    return image


def _change_bars(draw: ImageDraw.ImageDraw, bars: Bars, left: int, limits: bool) -> None:
    """Draw a line for each part: a ring before, a dot after, on a log scale about uniform."""
    start, right, top, step = left + 64, WIDTH - 12, 20, 13
    centre, reach = (start + right) / 2, (right - start) / 2

    def x(value: float) -> float:
        return centre + reach * float(np.clip(np.log(max(value, 1e-9)) / 1.15, -1, 1))

    bottom = top + step * len(bars.names)
    draw.line((centre, top, centre, bottom), fill=GREY)
    text(draw, (centre, 4), "uniform", 11, colour=GREY, anchor="ma")
    if limits:
        for value, name in ((1 / np.e, "1/e"), (np.e, "e")):
            draw.line((x(value), top, x(value), bottom), fill=_PALE)
            text(draw, (x(value), 4), name, 11, colour=GREY, anchor="ma")
    for k, (name, old, new) in enumerate(zip(bars.names, bars.before, bars.after, strict=True)):
        y = top + step * k + step / 2
        text(draw, (left, y), name, 11, anchor="lm")
        a, b = x(old), x(new)
        draw.line((a, y, b, y), fill=ORANGE, width=3)
        draw.ellipse((a - 4, y - 4, a + 4, y + 4), outline=GREY, width=2, fill="white")
        draw.ellipse((b - 3, y - 3, b + 3, y + 3), fill=BLUE)
