"""Drawing with signed distances: limbs, balls and boards, antialiased, shaded and labelled.

A shape is laid over the canvas inside its bounding box only. Its edge is analytic: coverage is
0.5 minus the signed distance in pixels, so nothing is supersampled. Arrays see only + - x / and
square roots, which IEEE 754 defines to the bit: the same picture on every machine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmagga.data.synthetic.noise import folds as fold_field

Colour = tuple[float, float, float]


class Light(NamedTuple):
    """Where light comes from, seen from the viewer, and how much of it there is."""

    right: float
    up: float
    front: float
    sun: float
    ambient: float


class Surface(NamedTuple):
    """What a texture may know about each pixel of a shape, (h, w) arrays and their scales."""

    along: np.ndarray
    """0 at the top of the shape, 1 at its bottom."""
    forward: np.ndarray
    """Normal towards where the wearer walks: 1 on the chest, -1 on the back."""
    left: np.ndarray
    """Normal towards the wearer's left."""
    up: np.ndarray
    """Normal upwards."""
    length: float
    """Metres from top to bottom."""
    half_width: float
    """Metres from the middle to the wearer's left."""
    scale: float
    """Pixels a metre."""


def plain(colour: Colour | np.ndarray) -> np.ndarray:
    """Return a colour as an array that spreads over pictures, (3, 1, 1); leave pictures alone."""
    array = np.asarray(colour, np.float32)
    return array[:, None, None] if array.ndim == 1 else array


def mix(a: np.ndarray | Colour, b: np.ndarray | Colour, share: np.ndarray) -> np.ndarray:
    """Blend colours: a where `share` (h, w) is 0, b where it is 1."""
    a = plain(a)
    return a + share * (plain(b) - a)


def clamp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`np.clip`, several times faster on small arrays."""
    return np.minimum(np.maximum(values, low), high)


Texture = Callable[[Surface], np.ndarray]
"""Gives the colours of a surface, (3, h, w), or one colour, (3, 1, 1)."""


@dataclass
class Canvas:
    """A picture in the making: colours (3, H, W) in [0, 1] and labels (H, W)."""

    rgb: np.ndarray
    labels: np.ndarray
    figure: np.ndarray = field(init=False)
    """(H, W) coverage of the figure being drawn; its parts darken what they lie upon."""

    def __post_init__(self) -> None:
        self.figure = np.zeros(self.labels.shape, np.float32)
        height, width = self.labels.shape
        self._y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
        self._x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> "Window | None":
        """Return the part of the canvas a box touches, or None."""
        height, width = self.labels.shape
        left, top = max(int(x0) - 2, 0), max(int(y0) - 2, 0)
        right, bottom = min(int(x1) + 3, width), min(int(y1) + 3, height)
        if left >= right or top >= bottom:
            return None
        rows, columns = slice(top, bottom), slice(left, right)
        return Window(self, (rows, columns), self._x[:, columns], self._y[rows])


class Window(NamedTuple):
    """A bounding box on a canvas with the pixel centres in it: x is (1, w), y is (h, 1)."""

    canvas: Canvas
    box: tuple[slice, slice]
    x: np.ndarray
    y: np.ndarray

    def lay(
        self,
        distance: np.ndarray,
        colour: np.ndarray,
        label: int | None,
        *,
        halo: float = 0,
        fade: np.ndarray | float = 1.0,
    ) -> None:
        """Lay a shape over the canvas.

        The figure grows darker within `halo` pixels around it, `fade` times as much: what lies
        behind is in its shade.
        """
        canvas, box = self.canvas, self.box
        cover = clamp(0.5 - distance, 0, 1)
        rgb, figure = canvas.rgb[:, *box], canvas.figure[box]
        if halo:
            shade = clamp(1 - distance / halo, 0, 1) * figure * fade
            rgb *= 1 - 0.36 * shade
            np.maximum(figure, cover, out=figure)
        rgb += cover * (colour - rgb)
        if label is not None:
            canvas.labels[box][cover > 0.5] = label

    def tint(self, strength: np.ndarray) -> None:
        """Darken the canvas by `strength` in [0, 1]: a shadow."""
        self.canvas.rgb[:, *self.box] *= 1 - strength


def limb(
    canvas: Canvas,
    top: tuple[float, float],
    bottom: tuple[float, float],
    radii: Sequence[tuple[float, float]],
    *,
    texture: Texture | Colour,
    light: Light,
    label: int | None,
    facing: tuple[float, float] = (1.0, 0.0),
    length: float = 1.0,
    half_width: float = 1.0,
    scale: float = 60.0,
    flat: tuple[bool, bool] = (False, False),
    halo: float = 0,
    folds: float = 0,
    fold_seed: int = 0,
) -> None:
    """Draw a rounded solid around the axis top-bottom.

    `radii` are knots (position in 0..1, radius in pixels) of its outline; `facing` is (cos, sin)
    of the angle from facing the viewer to facing right; `flat` cuts the ends straight;
    `length` and `half_width` in metres and `scale` in pixels a metre are for the texture.
    """
    reach = max(radius for _, radius in radii) + halo
    window = canvas.window(
        min(top[0], bottom[0]) - reach,
        min(top[1], bottom[1]) - reach,
        max(top[0], bottom[0]) + reach,
        max(top[1], bottom[1]) + reach,
    )
    if window is None:
        return
    axis_x, axis_y = bottom[0] - top[0], bottom[1] - top[1]
    pixels = math.sqrt(axis_x * axis_x + axis_y * axis_y) + 1e-3
    axis_x, axis_y = axis_x / pixels, axis_y / pixels
    dx, dy = window.x - top[0], window.y - top[1]
    down = dx * axis_x + dy * axis_y  # (h, w) pixels along the axis
    across = dx * axis_y - dy * axis_x  # and beside it, positive to the right of a falling axis
    inside = clamp(down, 0, pixels)
    along = inside / pixels
    radius = _outline(along, radii)
    over = down - inside
    distance = _capped(across, over, radius, flat)
    u = clamp(across / radius, -1, 1)
    depth = np.sqrt(1 - u * u)
    lit = u * (axis_y * light.right + axis_x * light.up) + depth * (light.front + 0.35 * light.up)
    shade = light.ambient + light.sun * np.maximum(lit, 0)
    if folds:
        shade += folds * fold_field(along * (length * 26), u * 5, fold_seed)
    if callable(texture):
        cos, sin = facing
        surface = Surface(
            along,
            forward=u * sin + depth * cos,
            left=u * cos - depth * sin,
            up=u * axis_x,
            length=length,
            half_width=half_width,
            scale=scale,
        )
        colour = texture(surface)
    else:
        colour = plain(texture)
    # joints are continuous: the shade around a limb sets in below its upper end
    window.lay(distance, colour * shade, label, halo=halo, fade=np.minimum(along * 4, 1))


def _outline(along: np.ndarray, radii: Sequence[tuple[float, float]]) -> np.ndarray:
    """Radius along the axis: straight between the knots, written as hinges."""
    (start, radius), slope = radii[0], 0.0
    outline = np.full_like(along, radius)
    for (t0, r0), (t1, r1) in pairwise(radii):
        steeper = (r1 - r0) / (t1 - t0) - slope
        outline += steeper * (along if t0 == start == 0 else np.maximum(along - t0, 0))
        slope += steeper
    return np.maximum(outline, 0.3)


def _capped(
    across: np.ndarray, over: np.ndarray, radius: np.ndarray, flat: tuple[bool, bool]
) -> np.ndarray:
    """Signed distance of a limb whose ends are round, or cut flat."""
    side = np.abs(across) - radius
    if all(flat):
        return np.maximum(side, np.abs(over) - 0.5)
    round_ = np.sqrt(across * across + over * over) - radius
    if flat[0]:
        return np.where(over < 0, np.maximum(side, -over - 0.5), round_)
    if flat[1]:
        return np.where(over > 0, np.maximum(side, over - 0.5), round_)
    return round_


def ball(
    canvas: Canvas,
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    texture: Texture | Colour,
    light: Light,
    label: int | None,
    facing: tuple[float, float] = (1.0, 0.0),
    tilt: tuple[float, float] = (1.0, 0.0),
    scale: float = 60.0,
    halo: float = 0,
) -> None:
    """Draw an ellipsoid; `tilt` is (cos, sin) of the angle from which it is seen from above."""
    rx, ry = radii
    x, y = centre
    window = canvas.window(x - rx - halo, y - ry - halo, x + rx + halo, y + ry + halo)
    if window is None:
        return
    u, v = (window.x - x) / rx, (y - window.y) / ry  # right and up, 1 on the outline
    square = u * u + v * v
    distance = (np.sqrt(square) - 1) * (rx if rx < ry else ry)
    depth = np.sqrt(np.maximum(1 - square, 0))
    lit = u * light.right + v * light.up + depth * light.front
    shade = light.ambient + light.sun * np.maximum(lit, 0)
    if callable(texture):
        u = np.broadcast_to(u, square.shape)
        up, near = v * tilt[0] + depth * tilt[1], depth * tilt[0] - v * tilt[1]
        cos, sin = facing
        forward, left = u * sin + near * cos, u * cos - near * sin
        colour = texture(Surface((1 - v) / 2, forward, left, up, 1.0, 1.0, scale))
    else:
        colour = plain(texture)
    window.lay(distance, colour * shade, label, halo=halo)


def board(
    canvas: Canvas,
    corners: Sequence[tuple[float, float]],
    colour: Colour,
    *,
    label: int | None,
    rounding: float = 0.0,
    shade: tuple[float, float] = (1.0, 1.0),
    halo: float = 0,
    grain: float = 0.0,
) -> None:
    """Draw a convex polygon (corners clockwise on screen), shaded from its top to its bottom."""
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    grow = rounding + halo
    window = canvas.window(min(xs) - grow, min(ys) - grow, max(xs) + grow, max(ys) + grow)
    if window is None:
        return
    distance: np.ndarray | None = None
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
        ex, ey = x1 - x0, y1 - y0
        size = math.sqrt(ex * ex + ey * ey) + 1e-6
        edge = (window.x - x0) * (ey / size) - (window.y - y0) * (ex / size)
        distance = edge if distance is None else np.maximum(distance, edge)
    assert distance is not None
    if rounding:  # eat the corners with a circle: inset, then grow
        box = min(xs), min(ys), max(xs), max(ys)
        distance = _rounded(window, box, rounding, distance)
    fall = clamp((window.y - min(ys)) / (max(ys) - min(ys) + 1e-6), 0, 1)
    tone = shade[0] + (shade[1] - shade[0]) * fall
    if grain:
        tone = tone + grain * fold_field(window.y * 0.7, window.x * 0.7, 3)
    window.lay(distance, plain(colour) * tone, label, halo=halo)


def _rounded(
    window: Window, box: tuple[float, float, float, float], radius: float, distance: np.ndarray
) -> np.ndarray:
    """Round the corners of a polygon that fills its bounding box (left, low, right, high)."""
    x0, y0, x1, y1 = box
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    qx = np.maximum(np.abs(window.x - (x0 + x1) / 2) - ((x1 - x0) / 2 - radius), 0)
    qy = np.maximum(np.abs(window.y - (y0 + y1) / 2) - ((y1 - y0) / 2 - radius), 0)
    return np.maximum(distance, np.sqrt(qx * qx + qy * qy) - radius)


def shadow(
    canvas: Canvas,
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
    *,
    flatness: float,
    strength: float,
) -> None:
    """Darken a soft capsule from start to end; `flatness` squeezes it towards the ground line."""
    reach_y = radius * flatness
    window = canvas.window(
        min(start[0], end[0]) - radius,
        min(start[1], end[1]) - reach_y,
        max(start[0], end[0]) + radius,
        max(start[1], end[1]) + reach_y,
    )
    if window is None:
        return
    dx, dy = window.x - start[0], (window.y - start[1]) / flatness
    ax, ay = end[0] - start[0], (end[1] - start[1]) / flatness
    along = clamp((dx * ax + dy * ay) / (ax * ax + ay * ay + 1e-3), 0, 1)
    px, py = dx - along * ax, dy - along * ay
    near = clamp(1 - np.sqrt(px * px + py * py) / radius, 0, 1)
    window.tint(near * near * (3 - 2 * near) * strength * (1 - 0.75 * along))
