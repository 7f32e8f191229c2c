"""What each camera sees when nobody is there: planes met by the rays of its pixels.

A scene is a ground, a far wall and, indoors, side walls and a ceiling; their textures are functions
of metres, so kerbs, tiles and windows stand in true perspective. A plate is painted once a process.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from mmagga.data.synthetic import props
from mmagga.data.synthetic.cameras import CAMERAS, PLATE_HEIGHT, PLATE_WIDTH, plate_view
from mmagga.data.synthetic.dice import Dice, cis
from mmagga.data.synthetic.noise import noise
from mmagga.data.synthetic.paint import Canvas, Colour, clamp, mix, plain


class Rays(NamedTuple):
    """Directions of a plate's pixels, right (H, W), down and away (H, 1), and the eye's height."""

    right: np.ndarray
    down: np.ndarray
    away: np.ndarray
    eye: float
    focal: float

    def ground(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Metres right and away where each ray meets the ground, and metres a pixel there."""
        reach = self.eye / np.maximum(self.down, 0.02)
        away = self.away * reach
        return self.right * reach, np.broadcast_to(away, self.right.shape), away / self.focal

    def wall(self, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Metres right and up on a wall across the view, and where it is in sight."""
        reach = distance / self.away
        up = self.eye - self.down * reach
        return self.right * reach, np.broadcast_to(up, self.right.shape), up > 0

    def side(self, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Metres up and away on walls to both sides."""
        reach = distance / np.maximum(np.abs(self.right), 1e-3)
        return self.eye - self.down * reach, self.away * reach, reach


@cache
def plate(camera: int, sharpness: float, seed: int) -> np.ndarray:
    """Paint the empty scene of a camera: (3, 480 · sharpness, 760 · sharpness)."""
    eye = CAMERAS[camera]
    view = plate_view(eye, sharpness)
    height, width = int(PLATE_HEIGHT * sharpness), int(PLATE_WIDTH * sharpness)
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5 - view.centre[0]) / view.focal
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - view.centre[1]) / view.focal
    cos, sin = cis(eye.pitch)
    rays = Rays(np.repeat(x, height, 0), y * cos + sin, cos - y * sin, eye.height, view.focal)
    rgb, furniture = _SCENES[eye.name](rays)
    canvas = Canvas(clamp(rgb, 0, 1).astype(np.float32), np.zeros((height, width), np.uint8))
    for number, (kind, right, away) in enumerate(furniture):
        dice = Dice(seed, "furniture", camera, number)
        props.draw(canvas, view, kind, right=right, away=away, dice=dice, label=None)
    return canvas.rgb


Scene = tuple[np.ndarray, list[tuple[str, float, float]]]
"""Colours (3, H, W), and furniture (kind, metres right, metres away), the farthest first."""


def _line(at: np.ndarray, period: float, width: float, pixel: np.ndarray | float) -> np.ndarray:
    """Lines `width` metres wide every `period` metres, fading where pixels are wider."""
    turn = at / period
    near = np.abs(turn - np.floor(turn + 0.5)) * period
    return clamp((width / 2 - near) / pixel + 0.5, 0, 1) * np.minimum(width / pixel, 1)


def _band(at: np.ndarray, low: float, high: float, pixel: np.ndarray | float) -> np.ndarray:
    """1 between two positions."""
    return clamp((at - low) / pixel + 0.5, 0, 1) * clamp((high - at) / pixel + 0.5, 0, 1)


def _rough(x: np.ndarray, y: np.ndarray, fine: float) -> np.ndarray:
    """Three octaves of noise, `fine` bumps a metre in the middle one."""
    return (
        noise(x * fine * 0.13, y * fine * 0.13, 1)
        + 0.7 * noise(x * fine, y * fine, 2)
        + 0.5 * noise(x * fine * 2.7, y * fine * 2.7, 3)
    )


def _cells(x: np.ndarray, y: np.ndarray, wide: float, tall: float) -> np.ndarray:
    """A random value in about [-1, 1] for each tile of a grid."""
    return noise(np.floor(x / wide) * 7.31, np.floor(y / tall) * 5.77, 4)


def _lit(colour: Colour | np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """Brighten a colour by a field."""
    return plain(colour) * (1 + np.asarray(amount, np.float32))


def _over(below: np.ndarray, above: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, above, below)


def _tiles(
    x: np.ndarray,
    y: np.ndarray,
    *,
    size: tuple[float, float],
    gap: float,
    pixel: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Tone of each tile, and where the joints are."""
    joints = np.maximum(_line(x, size[0], gap, pixel), _line(y, size[1], gap, pixel))
    return _cells(x, y, *size), joints


def _windows(
    x: np.ndarray, up: np.ndarray, *, pixel: float, step: tuple[float, float], sill: float
) -> tuple[np.ndarray, np.ndarray]:
    """Window panes (and their frames) of a facade: two masks."""
    fx = x / step[0] - np.floor(x / step[0])
    fy = (up - sill) / step[1] - np.floor((up - sill) / step[1])
    wide, tall = fx * step[0] - step[0] / 2, fy * step[1] - step[1] * 0.36
    outside = np.maximum(np.abs(wide) - step[0] * 0.27, np.abs(tall) - step[1] * 0.30)
    frame = clamp(0.5 - (outside - 0.07) / pixel, 0, 1)
    pane = clamp(0.5 - outside / pixel, 0, 1) * (1 - _line(wide, 99, 0.05, pixel))
    return pane * (up > sill), frame * (up > sill)


def _street(rays: Rays) -> Scene:
    x, z, pixel = rays.ground()
    asphalt = _lit((0.36, 0.36, 0.38), 0.07 * _rough(x, z, 5))
    tone, joints = _tiles(x + 0.2, z, size=(0.6, 0.6), gap=0.018, pixel=pixel)
    slabs = _lit((0.63, 0.60, 0.56), 0.05 * tone + 0.035 * _rough(x, z, 4) - 0.32 * joints)
    ground = mix(asphalt, slabs, _band(z, 6.3, 99, pixel))
    ground = mix(ground, (0.74, 0.73, 0.70), 0.9 * _band(z, 6.12, 6.3, pixel))
    ground = mix(ground, (0.20, 0.20, 0.21), 0.7 * _band(z, 6.06, 6.12, pixel))
    dash = _band(x - np.floor(x / 2.2) * 2.2, 0, 1.3, pixel)
    ground = mix(ground, (0.88, 0.87, 0.82), 0.8 * _band(z, 4.75, 4.90, pixel) * dash)
    distance = 13.0
    wx, up, seen = rays.wall(distance)
    pixel = distance / rays.focal
    row = np.floor(up / 0.14)
    tone, joints = _tiles(wx + 0.14 * row, up, size=(0.36, 0.14), gap=0.02, pixel=pixel)
    brick = _lit((0.58, 0.34, 0.27), 0.09 * tone + 0.06 * _rough(wx, up, 2))
    brick = mix(brick, (0.66, 0.58, 0.52), 0.5 * joints)
    pane, frame = _windows(wx + 0.4, up, pixel=pixel, step=(2.6, 3.0), sill=0.9)
    facade = mix(brick, (0.90, 0.88, 0.84), frame)
    glass = _lit((0.30, 0.38, 0.46), 0.35 * noise(wx * 0.6 + up, up * 0.9))
    facade = mix(facade, glass, pane)
    facade = mix(facade, (0.42, 0.40, 0.39), _band(up, -1, 0.55, pixel))
    furniture = [("tree", -5.0, 12.2), ("car", 3.6, 11.6), ("lamp", 0.9, 12.0), ("bin", -2.6, 11.9)]
    return _over(ground, facade, seen), furniture


def _corridor(rays: Rays) -> Scene:
    x, z, pixel = rays.ground()
    tone, joints = _tiles(x, z, size=(0.8, 0.8), gap=0.012, pixel=pixel)
    floor = _lit((0.60, 0.57, 0.50), 0.03 * tone + 0.02 * _rough(x, z, 6) - 0.22 * joints)
    glow = _line(z - 1.2, 2.6, 1.5, 0.9) * clamp(1 - np.abs(x) / 2.6, 0, 1)
    floor = _lit(floor, 0.34 * glow)
    half, end, top = 3.0, 17.0, 3.3
    side_up, side_z, reach = rays.side(half)
    pixel = reach / rays.focal
    panel = _lit((0.82, 0.80, 0.73), 0.03 * _rough(side_z, side_up, 2))
    panel = mix(panel, (0.36, 0.47, 0.52), _band(side_up, 0.0, 1.15, pixel))
    panel = mix(panel, (0.22, 0.24, 0.27), _band(side_up, 0.0, 0.14, pixel))
    panel = mix(panel, (0.52, 0.37, 0.25), 0.8 * _band(side_up, 1.0, 1.12, pixel))
    door = _band(side_z - np.floor(side_z / 4.2) * 4.2, 1.3, 2.6, pixel) * _band(
        side_up, 0, 2.2, pixel
    )
    panel = mix(panel, (0.55, 0.39, 0.25), door)
    panel = _lit(panel, np.where(rays.right < 0, np.float32(-0.08), np.float32(0.03)))
    wx, up, _ = rays.wall(end)
    pixel_end = end / rays.focal
    back = _lit((0.78, 0.76, 0.70), 0.02 * _rough(wx, up, 2))
    back = mix(
        back, (0.34, 0.44, 0.50), _band(wx, -1.0, 1.0, pixel_end) * _band(up, 0, 2.3, pixel_end)
    )
    back = mix(
        back,
        (0.86, 0.92, 0.95),
        _band(np.abs(wx), 0.12, 0.8, pixel_end) * _band(up, 1.2, 2.1, pixel_end),
    )
    scene = np.where((side_z < end), panel, back)
    reach = (top - rays.eye) / np.maximum(-rays.down, 0.01)
    cx, cz = rays.right * reach, np.broadcast_to(rays.away * reach, rays.right.shape)
    ceiling = _lit((0.74, 0.73, 0.69), -0.10 * _line(cx, 0.9, 0.03, 0.02))
    lamp = _band(cx, -0.7, 0.7, 0.04) * _line(cz - 1.2, 2.6, 0.7, 0.06)
    ceiling = mix(ceiling, (1.0, 0.98, 0.90), lamp)
    above = (rays.down < 0) & (np.abs(cx) < half) & (cz < end)
    below = (rays.down > 0) & (np.abs(x) < half) & (z < end)
    scene = _over(_over(scene, ceiling, above), floor, below)
    return scene, [("bench", -2.5, 11.0), ("planter", 2.5, 12.5), ("planter", 2.55, 9.6)]


def _lawn(rays: Rays) -> Scene:
    x, z, _ = rays.ground()
    blades = 0.5 * noise(x * 9, z * 9, 5) + 0.5 * noise(x * 23, z * 17, 6)
    mown = _line(x + 0.35 * z, 3.2, 1.6, 0.25) - 0.5
    grass = _lit(
        (0.34, 0.50, 0.19), 0.16 * blades + 0.10 * noise(x * 0.6, z * 0.6, 7) + 0.10 * mown
    )
    flowers = clamp(noise(x * 5.1, z * 5.1, 8) * 6 - 3.6, 0, 1) * clamp(noise(x, z, 9) * 2, 0, 1)
    grass = mix(grass, (0.93, 0.90, 0.72), 0.7 * flowers)
    middle = z - 9.0 - 0.16 * x + 0.12 * noise(x * 0.7, z * 0.3, 3)
    gravel = _lit(
        (0.74, 0.68, 0.56), 0.08 * noise(x * 16, z * 16, 2) + 0.05 * noise(x * 3, z * 3, 4)
    )
    ground = mix(grass, (0.42, 0.38, 0.22), 0.8 * clamp((1.15 - np.abs(middle)) / 0.2, 0, 1))
    ground = mix(ground, gravel, clamp((1.0 - np.abs(middle)) / 0.12 + 0.5, 0, 1))
    wx, up, seen = rays.wall(19.0)
    leaves = 0.5 * noise(wx * 2.2, up * 2.2, 5) + 0.5 * noise(wx * 6, up * 6, 6)
    hedge = _lit((0.15, 0.28, 0.11), 0.55 * leaves + 0.25 * up / 2.2 - 0.2)
    sky = mix((0.93, 0.95, 0.97), (0.60, 0.75, 0.93), clamp(up / 9, 0, 1))
    sky = mix(sky, (0.98, 0.98, 0.98), 0.7 * clamp(noise(wx * 0.22, up * 0.5, 7), 0, 1))
    rim = 2.3 + 0.25 * noise(wx * 1.5, wx * 0, 2)
    back = mix(sky, hedge, clamp((rim - up) / 0.08, 0, 1))
    furniture = [
        ("tree", 5.6, 17.5),
        ("tree", -6.5, 17.0),
        ("bush", 2.0, 18.0),
        ("bush", -1.8, 18.2),
        ("bench", 2.6, 14.0),
        ("bush", -5.0, 15.5),
    ]
    return _over(ground, back, seen), furniture


def _car_park(rays: Rays) -> Scene:
    x, z, pixel = rays.ground()
    oil = clamp(noise(x * 0.8, z * 0.8, 5) * 1.5 - 0.5, 0, 1)
    ground = _lit((0.43, 0.44, 0.45), 0.06 * _rough(x, z, 6) - 0.22 * oil)
    bays = _line(x + 1.3, 2.6, 0.12, pixel) * _band(z, 12.6, 17.5, pixel)
    bays = np.maximum(bays, _band(z, 12.55, 12.68, pixel))
    arrow = _band(z, 9.6, 9.8, pixel) * _band(x, -2.5, 0.4, pixel)
    head = _band(np.abs(z - 9.7) + 0.6 * (x - 1.2), -9, 0, pixel) * _band(x, 0.4, 1.2, pixel)
    ground = mix(ground, (0.86, 0.85, 0.80), 0.75 * clamp(bays + arrow + head, 0, 1))
    ground = _lit(ground, -0.25 * _line(z + 0.02 * x, 5.1, 0.03, pixel))
    wx, up, seen = rays.wall(18.0)
    pixel = 18.0 / rays.focal
    tone, joints = _tiles(wx, up, size=(2.4, 1.25), gap=0.03, pixel=pixel)
    concrete = _lit((0.66, 0.66, 0.65), 0.03 * tone + 0.05 * _rough(wx, up, 1.2) - 0.3 * joints)
    concrete = mix(concrete, (0.86, 0.72, 0.18), _band(up, 0.95, 1.25, pixel))
    concrete = mix(
        concrete, (0.18, 0.18, 0.20), _band(up, 0.95, 1.25, pixel) * _line(wx + up, 0.8, 0.4, pixel)
    )
    gap = _band(up, 3.0, 4.4, pixel)
    concrete = mix(concrete, (0.80, 0.84, 0.88), gap * (1 - _line(wx, 4.8, 0.6, pixel)))
    cars = [("car", 5.2 * i - 7.6, 15.6) for i in range(4)]
    return _over(ground, concrete, seen), [*cars, ("pillar", -4.6, 13.2), ("pillar", 4.9, 13.2)]


def _arcade(rays: Rays) -> Scene:
    x, z, pixel = rays.ground()
    check = np.floor(x / 0.7) + np.floor(z / 0.7)
    odd = check - 2 * np.floor(check / 2)
    _, joints = _tiles(x, z, size=(0.7, 0.7), gap=0.012, pixel=pixel)
    marble = 0.05 * noise(x * 1.3 + noise(x * 3, z * 3, 2), z * 2.2, 3)
    ground = mix(_lit((0.70, 0.60, 0.49), marble), _lit((0.46, 0.33, 0.26), marble), odd * 0.85)
    ground = _lit(ground, -0.3 * joints + 0.20 * clamp((z - 7) / 5, 0, 1))
    distance = 11.5
    wx, up, seen = rays.wall(distance)
    pixel = distance / rays.focal
    shop = np.floor(wx / 3.4)
    within = np.abs(wx - shop * 3.4 - 1.7)
    stone = _lit((0.50, 0.42, 0.36), 0.05 * _rough(wx, up, 2))
    glass = within < 1.42
    lit = 0.5 + 0.5 * noise(shop * 3.7, shop * 0 + 1.5, 6)
    shelves = _line(up - 0.2, 0.62, 0.05, pixel) * 0.5
    goods = noise(np.floor(wx / 0.22) * 3.3, np.floor((up - 0.2) / 0.62) * 4.1, 7)
    inside = _lit((0.98, 0.80, 0.52), -0.30 * lit - shelves + 0.12 * (up - 1.5))
    wares = np.stack([0.5 + 0.35 * goods, 0.45 - 0.2 * goods, 0.4 + 0.3 * goods * goods])
    level = (up - 0.2) / 0.62
    inside = mix(inside, wares, 0.55 * (np.abs(goods) > 0.2) * (level - np.floor(level) < 0.6))
    window = mix(stone, inside, glass * _band(up, 0.45, 2.7, pixel))
    window = mix(
        window, (0.20, 0.16, 0.14), _band(within, 1.36, 1.46, pixel) * _band(up, 0, 2.8, pixel)
    )
    awnings = np.stack([0.55 + 0.3 * lit, 0.20 + 0 * lit, 0.26 - 0.15 * lit])
    striped = mix(awnings, (0.94, 0.90, 0.82), _line(wx, 0.44, 0.22, pixel))
    window = mix(window, striped, glass * _band(up, 2.7, 3.3, pixel))
    return _over(ground, window, seen), [
        ("planter", -3.4, 10.6),
        ("planter", 3.3, 10.6),
        ("sign", 1.0, 10.4),
    ]


def _station(rays: Rays) -> Scene:
    x, z, pixel = rays.ground()
    tone, joints = _tiles(x, z, size=(0.45, 0.45), gap=0.016, pixel=pixel)
    ground = _lit((0.50, 0.51, 0.52), 0.05 * tone + 0.04 * _rough(x, z, 5) - 0.25 * joints)
    ground = mix(ground, (0.92, 0.78, 0.16), 0.9 * _band(z, 11.1, 11.5, pixel))
    studs = _line(x, 0.2, 0.10, pixel) * _line(z, 0.2, 0.10, pixel)
    ground = _lit(ground, -0.2 * studs * _band(z, 11.1, 11.5, pixel))
    ground = mix(ground, (0.80, 0.80, 0.78), _band(z, 11.9, 12.0, pixel))
    distance = 12.0
    wx, up, _ = rays.wall(distance)
    pixel = distance / rays.focal
    train = _lit((0.72, 0.75, 0.78), 0.06 * noise(wx * 0.3, up * 3, 2) + 0.04 * (up - 1))
    train = mix(train, (0.10, 0.42, 0.50), _band(up, 0.55, 0.95, pixel))
    pane, frame = _windows(wx + 0.5, up + 0.5, pixel=pixel, step=(2.5, 2.3), sill=1.05)
    train = mix(train, (0.22, 0.24, 0.27), frame * (up < 2.7))
    train = mix(
        train, _lit((0.80, 0.84, 0.78), 0.2 * noise(wx * 2, up * 2, 3)), 0.8 * pane * (up < 2.7)
    )
    door = _band(wx - np.floor(wx / 7.5) * 7.5, 2.9, 4.3, pixel) * _band(up, -0.1, 2.5, pixel)
    train = mix(train, (0.86, 0.70, 0.14), door)
    train = mix(
        train,
        (0.30, 0.33, 0.36),
        door * _band(up, 1.1, 2.2, pixel) * (1 - _line(wx - 3.6, 7.5, 0.25, pixel)),
    )
    roof = _lit((0.24, 0.25, 0.27), 0.1 * _line(wx, 1.6, 0.1, pixel))
    scene = mix(train, roof, clamp((up - 2.9) / 0.05, 0, 1))
    return _over(ground, scene, np.broadcast_to(z > distance, x.shape)), [
        ("pillar", -3.9, 11.0),
        ("bench", 2.6, 10.7),
        ("bin", -2.7, 10.9),
    ]


_SCENES = {
    "street": _street,
    "corridor": _corridor,
    "lawn": _lawn,
    "car park": _car_park,
    "arcade": _arcade,
    "station": _station,
}
