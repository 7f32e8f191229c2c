"""What the browser's pictures are made of: colours, text, outlines, bytes, spots to point at."""

from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from mmagga.data.masks import resize_masks
from mmagga.figures.attention import contribution_scale, weight_scale
from mmagga.figures.style import BLACK

WIDTH = 836
"""Pixels of the panel: fits a notebook in a window of 1280 with the file list open."""
PAIR_WIDTH, BRUSH_WIDTH = 604, 224
"""Pixels of the two pictures that stand beside each other."""


class Spot(NamedTuple):
    """A rectangle of a picture that can be pointed at."""

    box: tuple[float, float, float, float]
    """Left, top, width and height in pixels of the picture."""
    text: str
    """What is shown under the pointer."""
    what: Any = None
    """What a click means, for whoever listens; it stays in Python."""
    values: np.ndarray | None = None
    """(rows, columns) of numbers or words: the one under the pointer follows the text."""
    drag: bool = False
    """Whether a rectangle can be dragged in it."""

    def moved(self, left: float, top: float) -> "Spot":
        """Return the same spot, further to the right and down."""
        x, y, width, height = self.box
        return self._replace(box=(x + left, y + top, width, height))

    def state(self) -> dict[str, Any]:
        """Return what the web page needs, as plain values."""
        spot: dict[str, Any] = {"box": [float(x) for x in self.box], "text": self.text}
        if self.values is not None:
            spot["values"] = self.values.tolist()
        return spot | ({"drag": True} if self.drag else {})


def png(image: Image.Image, about: Mapping[str, str] | None = None) -> bytes:
    """Encode quickly; `about` becomes text chunks of the file."""
    info = PngInfo()
    for key, value in (about or {}).items():
        info.add_itxt(key, value)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


@lru_cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


@lru_cache
def _palette(name: str) -> np.ndarray:
    """(256, 3) float32 in [0, 1], from -1 to 1: the colours of the attention sheets."""
    scale = weight_scale() if name == "weight" else contribution_scale(1.0)
    return scale.colours(np.linspace(0, 1, 256))[:, :3].astype(np.float32)


def colours(values: np.ndarray, palette: str) -> np.ndarray:
    """Colour values in [-1, 1], and what lies beyond as the ends: (..., 3) float32 in [0, 1]."""
    return _palette(palette)[(np.clip(values, -1, 1) * 127.5 + 127.5).astype(np.uint8)]


def overlay(frames: np.ndarray, maps: np.ndarray, palette: str, opacity: float) -> np.ndarray:
    """Tint frames (T, H, W, 3) by maps (T, h, w), cell by cell; opacity 0 leaves the frames."""
    colour = resize_masks(colours(maps, palette), frames.shape[1:3])  # (T, H, W, 3)
    grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
    tinted = colour * (90 + 165 / 255 * grey[..., None])
    return ((1 - opacity) * frames + opacity * tinted).astype(np.uint8)


def outline(mask: np.ndarray) -> np.ndarray:
    """Find the border, one pixel inside, of a mask (..., H, W): bool of the same shape."""
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(1, 1), (1, 1)])
    inner = padded[..., 1:-1, 1:-1].copy()
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(-2), slice(1, -1)),
                          (slice(1, -1), slice(2, None)), (slice(1, -1), slice(-2))):  # fmt: skip
        inner &= padded[..., rows, columns]
    return mask & ~inner


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring frames (T, H, W, 3) to (height, width) pixels."""
    if frames.shape[1:3] == size:
        return frames
    images = (Image.fromarray(f).resize(size[::-1], Image.Resampling.BOX) for f in frames)
    return np.stack([np.asarray(image) for image in images])


def text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], line: str, size: int = 12, *,
    colour: str = BLACK, anchor: str = "la", bold: bool = False, width: float | None = None,
) -> None:  # fmt: skip
    """Write a line, cut to `width` pixels; what no font shows, such as a line's end, is blank."""
    font = _font(size, bold)
    line = "".join(c if c.isprintable() else " " for c in line)
    if width is not None and font.getlength(line) > width:
        while line and font.getlength(line + "…") > width:
            line = line[:-1]
        line += "…"
    draw.text(at, line, fill=colour, font=font, anchor=anchor)


def hatch(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """Cross a box with slanted lines."""
    left, top, right, bottom = box
    for start in range(left - (bottom - top), right, 9):
        x0, x1 = max(left, start), min(right, start + bottom - top)
        if x1 > x0:
            draw.line((x0, top + x0 - start, x1, top + x1 - start), fill="white", width=1)


def canvas(height: int, width: int = WIDTH) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty white picture, and what draws on it."""
    image = Image.new("RGB", (width, height), "white")
    return image, ImageDraw.Draw(image)
