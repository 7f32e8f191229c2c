"""The browser's pictures: arrays in, a Pillow image out, with the spots that can be pointed at.

Frames are (..., H, W, 3) uint8. Maps are (..., h, w) in [-1, 1], 0 being uniform or nothing, as
`Scale` makes them; they are enlarged cell by cell, never smoothed.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mmagga.browser.paint import (
    PAIR_WIDTH,
    WIDTH,
    Spot,
    canvas,
    colours,
    hatch,
    outline,
    overlay,
    resize,
    text,
)
from mmagga.data.masks import resize_masks
from mmagga.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED

GAP = 2
_SIDE = (PAIR_WIDTH - 8) // 2  # width of one clip of the pair view
_LABEL = 66  # width of the column that names the strips
_CAPTION = 30  # height of what stands above a strip in two columns
_TERM = 16  # height of a line of the sum
_LEGEND = 66
LOWER = 20 + _TERM * 6 + 6 + _LEGEND
"""Pixels of what is below the clips in the pair view of a model with four branches."""
_LETTERS = 118  # that fit in a line of the saved page
_BARS = 84  # height of the bars of the frame weights
MARKS = {True: "✓", False: "✗", None: "?"}
"""Right person, wrong person, unknown."""
_PALE = "#D9D9D9"


class Scale(NamedTuple):
    """How a kind of map becomes colour: one scale for all frames, granularities and tracklets."""

    colours: Literal["weight", "contribution"]
    """Of which of the sheets in `figures.attention`."""
    title: str
    """What the numbers are, with their unit."""
    ticks: tuple[tuple[float, str], ...]
    """Places in [-1, 1] and what they mean."""
    read: Callable[[np.ndarray], np.ndarray] = lambda values: values
    """Turns what is drawn back into the numbers themselves."""
    note: str = ""
    """What the letters beside the strips stand for."""


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
    labels: Mapping[str, str] = field(default_factory=dict)
    """What to call a row of `maps`, where it is not its key."""
    drag: bool = False
    """Whether a rectangle can be dragged on its frames."""


class Term(NamedTuple):
    """One part of the sum that makes a similarity."""

    name: str
    value: float


# --- rank list ----------------------------------------------------------------------------------


def strip_tile(
    frames: np.ndarray, match: bool | None = None, *, selected: bool = False, columns: int = 4,
    mark: bool = True,
) -> Image.Image:  # fmt: skip
    """Draw frames (n, h, w, 3) side by side in a border that says right or wrong.

    Green with a tick is the right person, red with a cross another, grey with a question mark one
    of whom nobody knows; without `mark` grey is the query itself.
    """
    h, w = frames.shape[1:3]
    edge = 4
    image, draw = canvas(h + 2 * edge, columns * (w + GAP) - GAP + 2 * edge)
    colour = GREY if match is None else GREEN if match else RED
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=colour, width=edge - 1)
    for i, frame in enumerate(frames):
        image.paste(Image.fromarray(frame), (edge + i * (w + GAP), edge))
    if mark:
        box = (image.width - 20, image.height - 20, image.width - 1, image.height - 1)
        draw.rectangle(box, fill=colour)
        centre = (box[0] + 10, box[1] + 10)
        text(draw, centre, MARKS[match], 14, colour="white", anchor="mm", bold=True)
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
        room = _SIDE // 2 - 6 if columns == 2 else _SIDE - _LABEL
        lines = -(-(rows + 1) // 2) if columns == 2 else rows
        height = 256 if frames <= 5 and rows <= 2 else 250
        width = min(room // frames - GAP, height // lines * size[1] // size[0])
        return cls(max(8, width * size[0] // size[1]), max(4, width), rows, columns, frames)

    def corner(self, place: int) -> tuple[int, int]:
        """Return left and top of the strip at a place, counted line by line."""
        line, column = divmod(place, self.columns)
        if self.columns == 2:
            return column * (_SIDE // 2), 20 + _CAPTION + line * (self.height + _CAPTION + 2)
        return _LABEL, 24 + line * (self.height + GAP)

    @property
    def total(self) -> int:
        """Pixels of height of a side."""
        left, top = self.corner(self.rows)
        return top + max(_BARS, self.height if left and self.columns == 2 else 0) + 4


class Drawn(NamedTuple):
    """A picture, and what can be pointed at in it."""

    image: Image.Image
    spots: list[Spot]


def pair_view(
    sides: Sequence[Side],
    terms: Sequence[Term],
    scale: Scale,
    *,
    frame: int,
    opacity: float,
    stamp: str = "",
    height: int = 0,
) -> Drawn:
    """Draw two clips side by side with their maps and frame weights, and how they match.

    `terms` add up to the cosine, the last of them not being part of the sum but the sum itself.
    `frame` is marked in both clips. Shorter pictures are filled up to `height`, so that a page
    does not jump. A spot's `what` is ("frame", t).
    """
    count, *size, _ = sides[0].frames.shape
    layout = Layout.of(count, tuple(size), 1 + len(sides[0].maps))
    blocks = [_side(side, layout, scale, frame=frame, opacity=opacity) for side in sides]
    lower, legend = _terms(terms), _legend(scale, stamp)
    top = max(layout.total, height - lower.height - legend.height)
    image, draw = canvas(top + lower.height + legend.height, PAIR_WIDTH)
    spots = []
    for block, x in zip(blocks, (0, PAIR_WIDTH - _SIDE), strict=True):
        image.paste(block.image, (x, 0))
        spots += [spot.moved(x, 0) for spot in block.spots]
    draw.line((PAIR_WIDTH // 2 - 1, 4, PAIR_WIDTH // 2 - 1, top - 12), fill=_PALE)
    image.paste(lower, (0, top))
    image.paste(legend, (0, top + lower.height))
    return Drawn(image, spots)


def _side(side: Side, layout: Layout, scale: Scale, *, frame: int, opacity: float) -> Drawn:
    """Draw one clip: its frames, its maps strip by strip, its frame weights."""
    h, w = layout.height, layout.width
    image, draw = canvas(layout.total, _SIDE)
    text(draw, (0, 3), side.title, 11, bold=True, width=_SIDE)
    small = resize(side.frames, (h, w))
    strips = {"": small}
    strips |= {
        name: overlay(small, values, scale.colours, opacity) for name, values in side.maps.items()
    }
    edges, spots = None, []
    if side.occluders is not None:
        edges = outline(resize_masks(side.occluders, (h, w)))
    for place, (name, strip) in enumerate(strips.items()):
        left, top = layout.corner(place)
        label = side.labels.get(name, name) or "frames"
        _caption(draw, layout, (left, top), name=label, notes=side.notes.get(name, ()))
        numbers = _numbers(scale.read(side.maps[name])) if name else None
        for t, picture in enumerate(strip):
            if edges is not None:
                picture = np.where(edges[t, ..., None], np.uint8(0 if name else 255), picture)
            x = left + t * (w + GAP)
            image.paste(Image.fromarray(picture), (x, top))
            if side.repeats[t]:
                hatch(draw, (x, top, x + w - 1, top + h - 1))
            spots.append(_spot((x, top, w, h), label, t=t, numbers=numbers, side=side))
        x = left + frame * (w + GAP)
        draw.rectangle((x - 1, top - 1, x + w, top + h), outline=BLACK, width=2)
    _weights(draw, side, layout)
    return Drawn(image, spots)


def _spot(
    box: tuple[int, int, int, int], label: str, *, t: int, numbers: np.ndarray | None, side: Side
) -> Spot:
    """Describe frame t of a strip; without numbers it is the frames themselves."""
    again = " (repeated)" if side.repeats[t] else ""
    if numbers is None:
        share = f" · weight {side.weights[t]:.3f}"
        return Spot(box, f"frame {t + 1}{again}{share}", ("frame", t), drag=side.drag)
    return Spot(box, f"{label} · frame {t + 1}{again}: ", ("frame", t), numbers[t])


def _numbers(values: np.ndarray) -> np.ndarray:
    """Write numbers with three significant digits."""
    return np.vectorize("{:.3g}".format, otypes=[object])(values)


def _caption(
    draw: ImageDraw.ImageDraw,
    layout: Layout,
    at: tuple[int, int],
    *,
    name: str,
    notes: Sequence[str],
) -> None:
    """Name a strip: above it, or to its left."""
    left, top = at
    if layout.columns == 2:
        text(draw, (left, top - _CAPTION + 2), name, 11, bold=True)
        text(draw, (left, top - 14), "  ".join(notes), 10, colour=GREY)
        return
    lines = name.replace(" (", "\n(").split("\n")
    for k, line in enumerate(lines):
        text(draw, (0, top + 1 + 13 * k), line, 11, bold=k == 0, width=_LABEL - 2)
    for k, note in enumerate(notes, len(lines)):
        text(draw, (0, top + 2 + 13 * k), note, 10, colour=GREY, width=_LABEL - 2)


def _weights(draw: ImageDraw.ImageDraw, side: Side, layout: Layout) -> None:
    """Draw frame weights upwards, with the uniform line, and occluded shares downwards."""
    left, top = layout.corner(layout.rows)
    frames, step = len(side.weights), layout.width + GAP
    tall, low = 40, 14
    most, base = max(2 / frames, float(side.weights.max())), top + tall
    line = [f"line: uniform, 1/{frames}"] if layout.columns == 2 else []
    _caption(draw, layout, (left, top), name="weight", notes=line)
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
            text(draw, (middle, base + 19), f"{100 * share:.0f}", 10, colour=GREY, anchor="ma")
    uniform = base - round(tall / frames / most)
    for x in range(left, left + frames * step - GAP, 6):
        draw.line((x, uniform, x + 3, uniform), fill=BLACK)
    if layout.columns == 2:
        if side.occluders is not None:
            text(draw, (left, base + 31), "% of the frame occluded", 10, colour=GREY)
    else:
        text(draw, (0, uniform), f"uniform 1/{frames}", 9, colour=GREY, anchor="lm")
        if side.occluders is not None:
            text(draw, (0, base + 19), "% occluded", 10, colour=GREY)


def _terms(terms: Sequence[Term]) -> Image.Image:
    """Draw the sum as a waterfall: each part starts where the one before it ended."""
    *parts, total = terms
    image, draw = canvas(20 + _TERM * len(terms) + 6, PAIR_WIDTH)
    text(draw, (0, 0), "What makes the similarity", 12, bold=True)
    ends = np.cumsum([0.0, *(part.value for part in parts)])
    low, high = min(ends.min(), 0.0), max(ends.max(), total.value, 0.0)
    room, left = PAIR_WIDTH - 260, 240

    def x(value: float) -> float:
        return left + room * (value - low) / max(high - low, 1e-6)

    for line, term in enumerate(terms):
        y = 20 + _TERM * line
        last = line == len(parts)
        start, end = (0.0, term.value) if last else (ends[line], ends[line + 1])
        colour = GREY if last else BLUE if term.value >= 0 else ORANGE
        a, b = sorted((x(start), x(end)))
        draw.rectangle((a, y + 2, max(b, a + 1), y + 12), fill=colour)
        text(draw, (0, y + 7), term.name, 11, anchor="lm", bold=last, width=170)
        text(draw, (230, y + 7), f"{term.value:+.4f}", 11, anchor="rm", bold=last)
    draw.line((x(0.0), 20, x(0.0), 20 + _TERM * len(terms)), fill=BLACK)
    return image


def _legend(scale: Scale, stamp: str) -> Image.Image:
    """Draw the one colour scale, and under it where the picture comes from."""
    image, draw = canvas(_LEGEND, PAIR_WIDTH)
    bar = 255 * colours(np.linspace(-1, 1, 240), scale.colours)[None].repeat(12, 0)
    image.paste(Image.fromarray(bar.astype(np.uint8)), (0, 2))
    draw.rectangle((0, 2, 239, 13), outline=GREY)
    for value, label in scale.ticks:
        at = 119.5 + 119.5 * value
        anchor = "la" if value == -1 else "ra" if value == 1 else "ma"
        draw.line((at, 10, at, 16), fill=BLACK)
        text(draw, (at, 18), label, 11, anchor=anchor)
    for k, line in enumerate(textwrap.wrap(scale.title, 50)[:2]):
        text(draw, (252, 1 + 14 * k), line, 11, width=PAIR_WIDTH - 252)
    text(draw, (0, 35), scale.note, 10, width=PAIR_WIDTH)
    text(draw, (0, 50), stamp, 10, colour=GREY, width=PAIR_WIDTH)
    return image


# --- export -------------------------------------------------------------------------------------


def paste_grid(tiles: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Put the tiles of a rank list in a row, each above its label of two lines."""
    step = WIDTH // max(len(tiles), 11)
    image, draw = canvas(tiles[0].height + 34)
    for k, (tile, label) in enumerate(zip(tiles, labels)):
        image.paste(tile, (k * step, 0))
        for line, words in enumerate(label.split("\n")):
            text(draw, (k * step, tile.height + 3 + 13 * line), words, 10, width=step - 2)
    return image


def beside(images: Sequence[Image.Image]) -> Image.Image:
    """Put pictures beside one another."""
    page, _ = canvas(max(image.height for image in images))
    left = 0
    for image in images:
        page.paste(image, (left, 0))
        left += image.width + 8
    return page


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
    return ImageOps.expand(page, border=12, fill="white")
