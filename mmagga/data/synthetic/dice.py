"""Random numbers that depend on a key and on nothing else: no order, no process, no NumPy version.

NumPy promises the raw stream of a bit generator for ever, but not what `Generator` makes of it, so
only the raw stream is used here.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Draws keyed by what they are for: `Dice(seed, "person", 7)`."""

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256(repr(key).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw from [low, high)."""
        return low + (high - low) * ((self._bits.random_raw() >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """Draw from low..high, both included."""
        return low + (self._bits.random_raw() * (high - low + 1) >> 64)

    def chance(self, probability: float) -> bool:
        """Draw yes with the given probability."""
        return self.uniform() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Draw one item."""
        return items[self.integer(0, len(items) - 1)]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Draw `count` different items, in random order."""
        rest = list(items)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in range(count)]

    def bytes(self, *shape: int) -> np.ndarray:
        """Draw a uint8 array."""
        count = math.prod(shape)
        words = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)


def cis(angle: float) -> tuple[float, float]:
    """Return (cos, sin) of an angle, rounded so that every C library agrees on them."""
    return round(math.cos(angle), 6), round(math.sin(angle), 6)
