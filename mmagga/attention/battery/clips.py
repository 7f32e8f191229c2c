"""The battery's material: one clip of each tracklet, shown clean and with occluders pasted on.

Everything drawn depends on the seed and on the tracklet's own name: a tracklet gets the same
occluders whatever stands beside it, and all kinds of occluder the same place.
"""

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np

from mmagga.attention.battery.occluders import (
    AREAS,
    OBJECTS,
    cut_out,
    paste,
    random_box,
    random_frames,
)
from mmagga.data.frames import Frames, open_frames
from mmagga.data.masks import HEAD, has_masks, read_masks, resize_masks
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.randomness import generator


@dataclass(frozen=True)
class Condition:
    """One way to show all clips; the default shows them as they are."""

    occluder: str = "none"
    """"object", "person", "grey", "noise", "placebo", or "none"."""
    area: float = 0.0
    """Share of a frame that it covers; 0 draws one of `AREAS` for each clip."""
    frames: int = 0
    """Frames that it covers; 0 draws 1 to T - 1 for each clip, so that some stay clean."""


CLEAN = Condition()


@dataclass(frozen=True)
class Sample:
    """The middle T frames of each tracklet, in an order that does not depend on the table's."""

    tracklets: Tracklets
    frames: int
    size: tuple[int, int]
    seed: int

    @classmethod
    def draw(
        cls,
        tracklets: Tracklets,
        frames: int,
        size: tuple[int, int],
        seed: int,
        limit: int | None = None,
    ) -> "Sample":
        """Sort the tracklets by person, camera and name, and draw at most `limit` of them.

        Raises DataError where fewer than two persons are left.
        """
        order = np.lexsort((_names(tracklets), tracklets.camids, tracklets.pids))
        if limit is not None and limit < len(order):
            order = order[np.sort(generator(seed, "tracklets").permutation(len(order))[:limit])]
        chosen = tracklets.subset(order)
        if len(np.unique(chosen.pids)) < 2:
            raise DataError(
                f"{tracklets.dataset} in {tracklets.root}: the battery compares persons, and its "
                f"{len(chosen)} tracklets show fewer than two: give it more of them"
            )
        return cls(chosen, frames, size, seed)

    def __len__(self) -> int:
        return len(self.tracklets)

    @cached_property
    def has_masks(self) -> bool:
        """Whether the data set says what every pixel shows."""
        return has_masks(self.tracklets)

    @cached_property
    def _store(self) -> Frames:
        return open_frames(self.tracklets, self.size)

    @cached_property
    def _keys(self) -> list[int]:
        return [crc32(str(name).encode()) for name in _names(self.tracklets)]

    def generator(self, row: int, purpose: str) -> np.random.Generator:
        """Give the randomness of one tracklet for one purpose."""
        return generator(self.seed, purpose, self._keys[row])

    def positions(self, row: int) -> list[int]:
        """Give the numbers of the middle T frames; a shorter tracklet is repeated."""
        length = int(self.tracklets.lengths[row])
        start = max(0, (length - self.frames) // 2)
        return [start + t % min(length, self.frames) for t in range(self.frames)]

    def clip(self, row: int) -> np.ndarray:
        """Read a clip: (T, H, W, 3) uint8."""
        return self._store.read(row, self.positions(row))

    def labels(self, row: int) -> np.ndarray:
        """Read what a clip's pixels show, see `LABELS`: (T, H, W) uint8."""
        return resize_masks(read_masks(self.tracklets, row)[self.positions(row)], self.size)

    def show(self, row: int, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        """Give a clip (T, H, W, 3) uint8 under a condition, and what was pasted (T, H, W) bool."""
        clip = self.clip(row)
        if condition.occluder == "none":
            return clip, np.zeros(clip.shape[:3], bool)
        g = self.generator(row, "place")
        area, hit = float(g.choice(AREAS)), int(g.integers(1, max(self.frames, 2)))
        frames = random_frames(self.frames, condition.frames or hit, g)
        box = random_box(self.size, condition.area or area, g)
        g = self.generator(row, f"paste {condition.occluder}")
        return paste(clip, self._occluder(row, condition.occluder, g), frames, box, g)

    def _occluder(self, row: int, kind: str, g: np.random.Generator) -> str | np.ndarray:
        if kind == "object":
            return str(g.choice(OBJECTS))
        if kind != "person":
            return kind
        others = np.flatnonzero(self.tracklets.pids != self.tracklets.pids[row])
        other = int(g.choice(others))
        middle = self.frames // 2
        person = self.labels(other)[middle] >= HEAD if self.has_masks else None
        return cut_out(self.clip(other)[middle], person)


def _names(tracklets: Tracklets) -> np.ndarray:
    """Give the name of each tracklet's first frame, which no other tracklet has."""
    return tracklets.names[tracklets.table["first"].to_numpy()]
