"""Irregular and regular fields that textures are made of."""

from functools import cache

import numpy as np

from mmagga.data.synthetic.dice import Dice

_LATTICE = 64


@cache
def _lattice(seed: int) -> np.ndarray:
    """(64, 64) smooth, tiling noise in [-1, 1]."""
    raw = Dice("lattice", seed).bytes(_LATTICE, _LATTICE).astype(np.float32) / np.float32(127.5) - 1
    for axis in (0, 1):
        raw = (np.roll(raw, 1, axis) + 2 * raw + np.roll(raw, -1, axis)) * np.float32(0.36)
    return raw


def folds(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """Noise at the nearest lattice point, enough for the creases of a garment."""
    rows = (a + (97 + 13 * seed)).astype(np.int32) & (_LATTICE - 1)
    columns = (b + (71 + 29 * seed)).astype(np.int32) & (_LATTICE - 1)
    return _lattice(0)[rows, columns]


def noise(x: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    """Smooth noise in about [-1, 1], one bump a unit, anywhere on the plane."""
    fx, fy = np.floor(x), np.floor(y)
    tx, ty = (x - fx).astype(np.float32), (y - fy).astype(np.float32)
    tx, ty = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty)
    ix, iy = fx.astype(np.int32) & (_LATTICE - 1), fy.astype(np.int32) & (_LATTICE - 1)
    jx, jy = (ix + 1) & (_LATTICE - 1), (iy + 1) & (_LATTICE - 1)
    table = _lattice(seed)
    upper = table[iy, ix] + tx * (table[iy, jx] - table[iy, ix])
    lower = table[jy, ix] + tx * (table[jy, jx] - table[jy, ix])
    return upper + ty * (lower - upper)


def wave(position: np.ndarray, period: float, softness: float) -> np.ndarray:
    """Stripes: 0 and 1 in turn, `softness` of a period wide at the edges; arrays of any shape."""
    turn = position / period
    triangle = np.abs(turn - np.floor(turn) - 0.5) * 4 - 1
    return np.minimum(np.maximum(triangle / (4 * softness + 1e-3) + 0.5, 0), 1)
