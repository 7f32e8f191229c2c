"""The browser's pictures: arrays in, a Pillow image out. Pure, and fast enough for a slider.

Frames are (..., H, W, 3) uint8. Maps are (..., h, w) in [-1, 1], 0 being uniform or nothing, as
`Scale` makes them; they are enlarged cell by cell, never smoothed.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mmagga.browser.paint import WIDTH, canvas, colours, hatch, outline, overlay, resize, text
from mmagga.data.masks import resize_masks
from mmagga.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED

GAP = 2
_SIDE = (WIDTH - 8) // 2  # width of one clip of the pair view
_LABEL = 62  # width of the column that names the strips
LOWER = 20 + 18 * 6 + 10 + 58
"""Pixels of what is below the clips in the pair view of a model with four branches."""
_LETTERS = 118  # that fit in a line of the saved page
_BARS = 96  # height of the bars of the frame weights
_TICK, _CROSS = "✓", "✗"
_PALE = "#D9D9D9"


class Scale(NamedTuple):
    """How a kind of map becomes colour: one scale for all frames, granularities and tracklets."""

    colours: Literal["weight", "contribution"]
    """Of which of the sheets in `figures.attention`."""
    title: str
    """What the numbers are, with their unit."""
    ticks: tuple[tuple[float, str], ...]
    """Places in [-1, 1] and what they mean."""


@dataclass(frozen=True)
class Side:
    """One tracklet's clip of T frames, as the pair view shows it."""

    title: str
    frames: np.ndarray
    """(T, H, W, 3)"""
    maps: Mapping[str, np.ndarray]
    """(T, h, w) for each row to draw, by granularity; the global one is (T, 1, 1)."""
    weights: np.ndarray
    """(T,) frame weights, which sum to 1."""
    repeats: np.ndarray
    """(T,) bool: a frame that only fills the clip up; hatched."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A few words on each row."""
    occluders: np.ndarray | None = None
    """(T, H, W) bool where masks exist: outlined, and counted under the bars."""


class Term(NamedTuple):
    """One part of the sum that makes a similarity."""

    name: str
    value: float


# --- rank list ----------------------------------------------------------------------------------


def strip_tile(
    frames: np.ndarray, match: bool | None = None, selected: bool = False, columns: int = 4
) -> Image.Image:
    """Draw frames (n, h, w, 3) side by side in a border that says right or wrong.

    Green with a tick is the right person, red with a cross another, grey the query itself.
    """
    h, w = frames.shape[1:3]
    edge = 4
    image, draw = canvas(h + 2 * edge, columns * (w + GAP) - GAP + 2 * edge)
    colour = GREY if match is None else GREEN if match else RED
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=colour, width=edge - 1)
    for i, frame in enumerate(frames):
        image.paste(Image.fromarray(frame), (edge + i * (w + GAP), edge))
    if match is not None:
        box = (image.width - 20, image.height - 20, image.width - 1, image.height - 1)
        draw.rectangle(box, fill=colour)
        mark = _TICK if match else _CROSS
        centre = (box[0] + 10, box[1] + 10)
        text(draw, centre, mark, 14, colour="white", anchor="mm", bold=True)
    if selected:
        draw.rectangle((edge - 1, edge - 1, image.width - edge, image.height - edge),
                       outline=BLACK, width=2)  # fmt: skip
    return image


# --- pair view ----------------------------------------------------------------------------------


class Layout(NamedTuple):
    """Where the rows of a side go: strips one below the other, or in two columns if T is small."""

    height: int
    width: int
    """Of one frame, in pixels."""
    rows: int
    """Strips, the frames themselves among them; the bars of the weights take one more place."""
    columns: int
    frames: int

    @classmethod
    def of(cls, frames: int, size: tuple[int, int], rows: int) -> "Layout":
        """Make frames of `size` (H, W) as large as a side's width and the height allow."""
        columns = 2 if frames <= 5 and rows > 2 else 1
        room = _SIDE // 2 - 8 if columns == 2 else _SIDE - _LABEL
        lines = -(-(rows + 1) // 2) if columns == 2 else rows
        height = 284 if frames <= 5 and rows <= 2 else 420
        width = min(room // frames - GAP, height // lines * size[1] // size[0])
        return cls(max(8, width * size[0] // size[1]), max(4, width), rows, columns, frames)

    def corner(self, place: int) -> tuple[int, int]:
        """Give left and top of the strip at a place, counted line by line."""
        line, column = divmod(place, self.columns)
        if self.columns == 2:
            return column * (_SIDE // 2), 42 + line * (self.height + 20)
        return _LABEL, 24 + line * (self.height + GAP)

    @property
    def total(self) -> int:
        """Pixels of height of a side."""
        left, top = self.corner(self.rows)
        return top + max(_BARS, self.height if left and self.columns == 2 else 0) + 4


def pair_view(
    sides: Sequence[Side],
    terms: Sequence[Term],
    scale: Scale,
    *,
    frame: int,
    opacity: float,
    stamp: str = "",
    height: int = 0,
) -> Image.Image:
    """Draw two clips side by side with their maps and frame weights, and how they match.

    `terms` add up to the cosine, the last of them not being part of the sum but the sum itself.
    `frame` is marked in both clips. Shorter pictures are filled up to `height`, so that a page
    does not jump.
    """
    count, *size, _ = sides[0].frames.shape
    layout = Layout.of(count, tuple(size), 1 + len(sides[0].maps))
    blocks = [_side(side, layout, scale.colours, frame, opacity) for side in sides]
    lower, legend = _terms(terms), _legend(scale, stamp)
    top = max(layout.total, height - lower.height - legend.height)
    image, draw = canvas(top + lower.height + legend.height)
    for block, x in zip(blocks, (0, WIDTH - _SIDE), strict=True):
        image.paste(block, (x, 0))
    draw.line((WIDTH // 2 - 1, 4, WIDTH // 2 - 1, top - 12), fill=_PALE)
    image.paste(lower, (0, top))
    image.paste(legend, (0, top + lower.height))
    return image


def _side(side: Side, layout: Layout, palette: str, frame: int, opacity: float) -> Image.Image:
    """Draw one clip: its frames, its maps strip by strip, its frame weights."""
    h, w = layout.height, layout.width
    image, draw = canvas(layout.total, _SIDE)
    text(draw, (0, 3), side.title, 12, bold=True, width=_SIDE)
    small = resize(side.frames, (h, w))
    strips = {"": small}
    strips |= {name: overlay(small, values, palette, opacity) for name, values in side.maps.items()}
    edges = None
    if side.occluders is not None:
        edges = outline(resize_masks(side.occluders, (h, w)))
    for place, (name, strip) in enumerate(strips.items()):
        left, top = layout.corner(place)
        _caption(draw, layout, (left, top), name or "frames", side.notes.get(name, ()))
        for t, picture in enumerate(strip):
            if edges is not None:
                picture = np.where(edges[t, ..., None], np.uint8(0 if name else 255), picture)
            x = left + t * (w + GAP)
            image.paste(Image.fromarray(picture), (x, top))
            if side.repeats[t]:
                hatch(draw, (x, top, x + w - 1, top + h - 1))
        x = left + frame * (w + GAP)
        draw.rectangle((x - 1, top - 1, x + w, top + h), outline=BLACK, width=2)
    _weights(draw, side, layout)
    return image


def _caption(
    draw: ImageDraw.ImageDraw, layout: Layout, at: tuple[int, int], name: str, notes: Sequence[str]
) -> None:
    """Name a strip: above it, or to its left."""
    left, top = at
    if layout.columns == 2:
        text(draw, (left, top - 16), name, 12, bold=True)
        text(draw, (left + 58, top - 15), "  ".join(notes), 11, colour=GREY)
        return
    text(draw, (0, top + 2), name, 12, bold=True)
    for k, note in enumerate(notes):
        text(draw, (0, top + 18 + 13 * k), note, 10, colour=GREY)


def _weights(draw: ImageDraw.ImageDraw, side: Side, layout: Layout) -> None:
    """Draw frame weights upwards, with the uniform line, and occluded shares downwards."""
    left, top = layout.corner(layout.rows)
    frames, step = len(side.weights), layout.width + GAP
    tall, low = 46, 18
    most, base = max(2 / frames, float(side.weights.max())), top + tall
    line = [f"line: uniform, 1/{frames}"] if layout.columns == 2 else []
    _caption(draw, layout, (left, top), "weight", line)
    for t, weight in enumerate(side.weights):
        x = left + t * step
        up = round(tall * float(weight) / most)
        draw.rectangle((x + 2, base - up, x + layout.width - 3, base), fill=BLUE)
        if side.repeats[t]:
            hatch(draw, (x + 2, base - up, x + layout.width - 3, base))
        middle = x + layout.width / 2
        label = "1" if weight > 0.995 else f"{weight:.2f}".lstrip("0")
        inside = up > 13
        text(draw, (middle, base - 1 if inside else base - up - 1), label, 10, anchor="mb",
              colour="white" if inside else BLACK)  # fmt: skip
        if side.occluders is not None:
            share = float(side.occluders[t].mean())
            if share:
                down = base + 3 + max(1, round(low * share))
                draw.rectangle((x + 2, base + 3, x + layout.width - 3, down), fill=ORANGE)
            text(draw, (middle, base + 24), f"{100 * share:.0f}", 10, colour=GREY, anchor="ma")
    uniform = base - round(tall / frames / most)
    for x in range(left, left + frames * step - GAP, 6):
        draw.line((x, uniform, x + 3, uniform), fill=BLACK)
    if layout.columns == 2:
        if side.occluders is not None:
            text(draw, (left, base + 36), "% of the frame occluded", 10, colour=GREY)
    else:
        text(draw, (0, uniform), f"uniform 1/{frames}", 9, colour=GREY, anchor="lm")
        if side.occluders is not None:
            text(draw, (0, base + 24), "% occluded", 10, colour=GREY)


def _terms(terms: Sequence[Term]) -> Image.Image:
    """Draw the sum as a waterfall: each part starts where the one before it ended."""
    *parts, total = terms
    image, draw = canvas(20 + 18 * len(terms) + 10)
    text(draw, (0, 0), "What makes the similarity", 12, bold=True)
    ends = np.cumsum([0.0, *(part.value for part in parts)])
    low, high = min(ends.min(), 0.0), max(ends.max(), total.value, 0.0)
    room, left = WIDTH - 330, 250

    def x(value: float) -> float:
        return left + room * (value - low) / max(high - low, 1e-6)

    for line, term in enumerate(terms):
        y = 20 + 18 * line
        last = line == len(parts)
        start, end = (0.0, term.value) if last else (ends[line], ends[line + 1])
        colour = GREY if last else BLUE if term.value >= 0 else ORANGE
        a, b = sorted((x(start), x(end)))
        draw.rectangle((a, y + 3, max(b, a + 1), y + 14), fill=colour)
        text(draw, (0, y + 8), term.name, 12, anchor="lm", bold=last, width=170)
        text(draw, (240, y + 8), f"{term.value:+.4f}", 12, anchor="rm", bold=last)
    draw.line((x(0.0), 20, x(0.0), 20 + 18 * len(terms)), fill=BLACK)
    return image


def _legend(scale: Scale, stamp: str) -> Image.Image:
    """Draw the one colour scale, and under it where the picture comes from."""
    image, draw = canvas(58)
    bar = 255 * colours(np.linspace(-1, 1, 360), scale.colours)[None].repeat(12, 0)
    image.paste(Image.fromarray(bar.astype(np.uint8)), (0, 2))
    draw.rectangle((0, 2, 359, 13), outline=GREY)
    for value, label in scale.ticks:
        at = 179.5 + 179.5 * value
        anchor = "la" if value == -1 else "ra" if value == 1 else "ma"
        draw.line((at, 10, at, 16), fill=BLACK)
        text(draw, (at, 18), label, 11, anchor=anchor)
    text(draw, (376, 2), scale.title, 12, width=WIDTH - 376)
    text(draw, (0, 38), stamp, 10, colour=GREY, width=WIDTH)
    return image


# --- export -------------------------------------------------------------------------------------


def paste_grid(tiles: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Put the tiles of a rank list in rows of five, each above its label."""
    height = tiles[0].height + 20
    image, draw = canvas(-(-len(tiles) // 5) * height)
    for k, (tile, label) in enumerate(zip(tiles, labels)):
        left, top = k % 5 * (WIDTH // 5), k // 5 * height
        image.paste(tile, (left, top))
        text(draw, (left, top + tile.height + 3), label, 11)
    return image


def stack(images: Sequence[Image.Image], lines: Sequence[str]) -> Image.Image:
    """Put pictures under one another, and lines of text, wrapped, under them."""
    lines = [part for line in lines for part in textwrap.wrap(line, _LETTERS)]
    height = sum(image.height + 8 for image in images) + 15 * len(lines) + 8
    page, draw = canvas(height)
    y = 0
    for image in images:
        page.paste(image, (0, y))
        y += image.height + 8
    for k, line in enumerate(lines):
        text(draw, (4, y + 15 * k), line, 11, colour=GREY, width=WIDTH - 8)
    return page
