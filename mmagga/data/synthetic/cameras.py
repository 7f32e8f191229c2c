"""Six cameras: where they hang, what light they see, and what their sensors do to colour.

World axes are right, up and away from the camera, in metres, with the origin on the ground below
it. Each camera is a pinhole that looks down by its pitch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmagga.data.synthetic.dice import cis
from mmagga.data.synthetic.paint import Colour, Light

PLATE_HEIGHT, PLATE_WIDTH = 480, 760
"""Pixels of a camera's whole picture when persons are 128 pixels high."""


@dataclass(frozen=True)
class Camera:
    """One camera and its place."""

    name: str
    """Also the name of the scene it looks at."""
    height: float
    """Metres above the ground."""
    pitch: float
    """Radians it looks down."""
    near: float
    """Metres away of the closest and, `far`, of the farthest place where people walk."""
    far: float
    aside: float
    """Metres to the left and right that people walk."""
    light: Light
    shadow: tuple[float, float, float]
    """Cast shadow: metres to the right, metres away, strength. Contact shadows are always there."""
    cast: Colour
    """Gain of the three channels."""
    contrast: float
    saturation: float
    lift: float
    """Black level."""
    blur: float
    """Share of a pixel that its neighbours get."""
    noise: float
    """Standard deviation of the sensor noise, of 1."""
    quality: int
    """Of the JPEG files."""

    @property
    def focal(self) -> float:
        """Focal length in plate pixels: chosen so that the walkers fill the plate."""
        return 62.0 * (self.near + self.far) / 2


CAMERAS = (
    Camera(
        "street", 3.2, 0.20, 6.0, 9.5, 2.2,
        light=Light(-0.55, 0.50, 0.66, sun=0.62, ambient=0.52), shadow=(1.3, 0.55, 0.42),
        cast=(1.04, 1.00, 0.93), contrast=1.10, saturation=1.08, lift=0.00,
        blur=0.10, noise=0.012, quality=88,
    ),
    Camera(
        "corridor", 2.5, 0.15, 5.0, 8.0, 1.3,
        light=Light(0.10, 0.92, 0.38, sun=0.40, ambient=0.58), shadow=(0.0, 0.25, 0.22),
        cast=(1.06, 0.98, 0.80), contrast=0.92, saturation=0.86, lift=0.03,
        blur=0.22, noise=0.026, quality=76,
    ),
    Camera(
        "lawn", 3.8, 0.24, 7.0, 11.0, 2.6,
        light=Light(0.60, 0.62, 0.50, sun=0.66, ambient=0.50), shadow=(-1.0, 0.6, 0.40),
        cast=(0.99, 1.05, 0.90), contrast=1.05, saturation=1.15, lift=0.01,
        blur=0.06, noise=0.010, quality=92,
    ),
    Camera(
        "car park", 4.6, 0.31, 8.0, 12.5, 3.0,
        light=Light(-0.20, 0.85, 0.48, sun=0.34, ambient=0.60), shadow=(0.25, 0.2, 0.20),
        cast=(0.88, 0.97, 1.10), contrast=0.86, saturation=0.74, lift=0.05,
        blur=0.30, noise=0.020, quality=70,
    ),
    Camera(
        "arcade", 2.8, 0.17, 5.5, 9.0, 2.0,
        light=Light(0.72, 0.35, 0.60, sun=0.60, ambient=0.36), shadow=(-0.7, 0.3, 0.26),
        cast=(1.12, 0.95, 0.76), contrast=1.12, saturation=1.00, lift=0.00,
        blur=0.14, noise=0.022, quality=82,
    ),
    Camera(
        "station", 3.5, 0.23, 6.5, 10.5, 2.3,
        light=Light(-0.35, 0.80, 0.49, sun=0.42, ambient=0.44), shadow=(0.35, 0.1, 0.24),
        cast=(0.86, 1.01, 0.99), contrast=1.00, saturation=0.80, lift=0.02,
        blur=0.20, noise=0.030, quality=78,
    ),
)  # fmt: skip


class Spot(NamedTuple):
    """A point of the world on the picture: pixels right and down, pixels a metre, metres away."""

    x: float
    y: float
    scale: float
    away: float

    @property
    def at(self) -> tuple[float, float]:
        """Pixels right and down."""
        return self.x, self.y


@dataclass(frozen=True)
class View:
    """A crop of a camera's picture: pixel (x, y) of the plate lands at ((x, y) - origin) · zoom."""

    camera: Camera
    focal: float
    left: float = 0.0
    top: float = 0.0
    zoom: float = 1.0
    centre: tuple[float, float] = (PLATE_WIDTH / 2, PLATE_HEIGHT / 2)

    def project(self, right: float, up: float, away: float) -> Spot:
        """Return the pixel of a point of the world."""
        cos, sin = cis(self.camera.pitch)
        down = self.camera.height - up
        depth = away * cos + down * sin
        scale = self.focal / depth
        x = right * scale + self.centre[0]
        y = (down * cos - away * sin) * scale + self.centre[1]
        return Spot(
            (x - self.left) * self.zoom, (y - self.top) * self.zoom, scale * self.zoom, depth
        )


def plate_view(camera: Camera, sharpness: float) -> View:
    """Return the view of the whole plate, `sharpness` plate pixels to one of the standard size."""
    return View(
        camera,
        camera.focal * sharpness,
        centre=(PLATE_WIDTH * sharpness / 2, PLATE_HEIGHT * sharpness / 2),
    )


def crop(plate: np.ndarray, view: View, height: int, width: int) -> np.ndarray:
    """Resample a view's part of the plate, bilinearly: (3, height, width) float32."""
    step = 1 / view.zoom
    y0, y1, fy = _taps(view.top, step, height, plate.shape[1])
    x0, x1, fx = _taps(view.left, step, width, plate.shape[2])
    part = plate[:, y0[0] : y1[-1] + 1, x0[0] : x1[-1] + 1]
    upper, lower = part[:, y0 - y0[0]], part[:, y1 - y0[0]]
    lines = upper + fy[:, None] * (lower - upper)
    before, after = lines.take(x0 - x0[0], 2), lines.take(x1 - x0[0], 2)
    return before + fx * (after - before)


def _taps(start: float, step: float, count: int, size: int) -> tuple[np.ndarray, ...]:
    """Lower neighbour, upper neighbour and share of the upper one for each output pixel."""
    at = np.arange(count, dtype=np.float64) * step + (start + step / 2 - 0.5)
    at = np.clip(at, 0, size - 1.001)
    lower = at.astype(np.int32)
    return lower, lower + 1, (at - lower).astype(np.float32)


_LUMA = (0.30, 0.59, 0.11)


def expose(camera: Camera, rgb: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Turn clean colours (3, H, W) in [0, 1] into what this sensor delivers, (H, W, 3) uint8.

    `noise` (2, 3, H, W) are random bytes; the sum of two is close enough to a bell.
    """
    grey = rgb[0] * _LUMA[0] + rgb[1] * _LUMA[1] + rgb[2] * _LUMA[2]
    gain = np.asarray(camera.cast, np.float32)[:, None, None] * np.float32(camera.contrast)
    rgb = (grey + camera.saturation * (rgb - grey)) * gain + (
        0.5 - 0.5 * camera.contrast + camera.lift
    )
    inner = rgb[:, 1:-1, 1:-1]
    beside = rgb[:, :-2, 1:-1] + rgb[:, 2:, 1:-1] + rgb[:, 1:-1, :-2] + rgb[:, 1:-1, 2:]
    inner += camera.blur * (beside * 0.25 - inner)
    grain = noise[0].astype(np.float32) + noise[1] - 255  # standard deviation 104
    rgb = rgb * 255 + grain * (camera.noise * 255 / 104)
    return np.ascontiguousarray(np.clip(rgb + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))
