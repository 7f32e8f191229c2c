"""The battery's material: one clip of each tracklet, shown clean and with occluders in front of it.

Of rendered tracklets the clip is the one around the moment when something passes, shown with that
thing ("filmed") and without it, see `filmed`; of all others it is the middle one. Onto both things
are pasted. Either kind has its placebo, which changes as many pixels and hides nothing.

Everything drawn depends on the seed and on the tracklet's own name: a tracklet gets the same
occluders whatever stands beside it, and all kinds of occluder the same place.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from mmagga.attention.battery.filmed import FilmedClip, filmed_clips, stack
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
from mmagga.data.tracklets import Tracklets, spread
from mmagga.errors import DataError, SettingError
from mmagga.randomness import generator


@dataclass(frozen=True)
class Condition:
    """One way to show all clips; the default shows them as they are."""

    occluder: str = "none"
    """"filmed", "filmed placebo", "object", "person", "grey", "noise", "placebo", or "none"."""
    area: float = 0.0
    """Share of a frame that it covers; 0 draws one of `AREAS` for each clip."""
    frames: int = 0
    """Frames that it covers; 0 draws 1 to T - 1 for each clip, so that some stay clean."""


CACHE = 1 << 31
"""Bytes of shown clips that a sample keeps, for the next network."""
CLEAN = Condition()
FILMED, FILMED_PLACEBO, PLACEBO = "filmed", "filmed placebo", "placebo"
PLACEBOS = (PLACEBO, FILMED_PLACEBO)
"""Patches of the same person's own frames, in the place and shape of an occluder."""


def placebo_of(occluder: str) -> str:
    """Return the placebo that an occluder is compared with."""
    return FILMED_PLACEBO if occluder == FILMED else PLACEBO


@dataclass(frozen=True)
class Sample:
    """T frames of each tracklet, in an order that does not depend on the table's."""

    tracklets: Tracklets
    frames: int
    size: tuple[int, int]
    seed: int
    filmed: FilmedClip | None = None
    """All clips (Q, T, …) with and without a filmed occluder; None where none can be rendered."""
    packed: Path | None = None
    """A pack to read frames from instead of files."""

    @classmethod
    def draw(
        cls,
        tracklets: Tracklets,
        frames: int,
        size: tuple[int, int],
        *,
        seed: int,
        limit: int | None = None,
        filmed: bool = False,
        packed: Path | None = None,
    ) -> "Sample":
        """Sort the tracklets by person, camera and name, and draw at most `limit` of them.

        One of each person is drawn before a second one of anybody: intervals are over persons.
        `filmed` renders every one of them once more, with and without an occluder.

        Raises DataError where fewer than two persons are left.
        """
        if limit is not None and limit < 1:
            raise SettingError(f"clips: at least 1, not {limit}")
        order = np.lexsort((names(tracklets), tracklets.camids, tracklets.pids))
        if limit is not None and limit < len(order):
            order = order[np.sort(_drawn(tracklets.pids[order], limit, seed))]
        chosen = tracklets.subset(order)
        if len(np.unique(chosen.pids)) < 2:
            raise DataError(
                f"{tracklets.dataset} in {tracklets.root}: the battery compares persons, and its "
                f"{len(chosen)} tracklets show fewer than two persons: use more tracklets"
            )
        pairs = stack(filmed_clips(chosen, frames, size)) if filmed else None
        return cls(chosen, frames, size, seed, pairs, packed)

    def __len__(self) -> int:
        return len(self.tracklets)

    def some(self, count: int) -> "Sample":
        """Return at most `count` of the clips, evenly over the sample."""
        rows = np.array(spread(len(self), min(count, len(self))))
        filmed = None if self.filmed is None else FilmedClip(*(a[rows] for a in self.filmed))
        return replace(self, tracklets=self.tracklets.subset(rows), filmed=filmed)

    @cached_property
    def has_masks(self) -> bool:
        """Whether the data set says what every pixel shows."""
        return has_masks(self.tracklets)

    @cached_property
    def _store(self) -> Frames:
        return open_frames(self.tracklets, self.size, self.packed)

    @cached_property
    def _keys(self) -> list[int]:
        return [crc32(str(name).encode()) for name in names(self.tracklets)]

    def generator(self, row: int, purpose: str) -> np.random.Generator:
        """Return the randomness of one tracklet for one purpose."""
        return generator(self.seed, purpose, self._keys[row])

    def positions(self, row: int) -> list[int]:
        """Return the numbers of the middle T frames; a shorter tracklet is repeated."""
        length = int(self.tracklets.lengths[row])
        start = max(0, (length - self.frames) // 2)
        return [start + t % min(length, self.frames) for t in range(self.frames)]

    def clip(self, row: int) -> np.ndarray:
        """Read a clip: (T, H, W, 3) uint8."""
        if self.filmed is not None:
            return self.filmed.clean[row]
        return self._store.read(row, self.positions(row))

    def labels(self, row: int) -> np.ndarray:
        """Read what a clip's pixels show, see `LABELS`: (T, H, W) uint8."""
        if self.filmed is not None:
            return self.filmed.labels[row]
        if row not in self._labels:
            masks = resize_masks(read_masks(self.tracklets, row)[self.positions(row)], self.size)
            if (len(self._labels) + 1) * masks.nbytes > CACHE:
                return masks
            self._labels[row] = masks
        return self._labels[row]

    @cached_property
    def _labels(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _made(self) -> dict[tuple[int, Condition], tuple[np.ndarray, np.ndarray]]:
        return {}

    def show(self, row: int, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        """Return a clip (T, H, W, 3) uint8 under a condition, and what it covers (T, H, W) bool.

        A placebo covers what its occluder would. What was made once is kept, up to `CACHE` bytes.
        """
        key = row, condition
        if key not in self._made:
            shown = self._show(row, condition)
            if (len(self._made) + 1) * sum(array.nbytes for array in shown) > CACHE:
                return shown
            self._made[key] = shown
        return self._made[key]

    def _show(self, row: int, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        clip = self.clip(row)
        if condition.occluder == "none":
            return clip, np.zeros(clip.shape[:3], bool)
        if condition.occluder in (FILMED, FILMED_PLACEBO):
            return self._filmed(row, condition.occluder)
        g = self.generator(row, "place")
        area, hit = float(g.choice(AREAS)), int(g.integers(1, max(self.frames, 2)))
        frames = random_frames(self.frames, condition.frames or hit, g)
        box = random_box(self.size, condition.area or area, g)
        g = self.generator(row, f"paste {condition.occluder}")
        return paste(clip, self._occluder(row, condition.occluder, g), frames, box, generator=g)

    def _filmed(self, row: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        if self.filmed is None:
            raise ValueError("a filmed occluder needs a sample drawn with filmed=True")
        hides, changed = self.filmed.hides[row], self.filmed.changed[row]
        if kind == FILMED:
            return self.filmed.occluded[row], hides
        clip, source = self.filmed.clean[row].copy(), self.filmed.clean[row]
        draw = self.generator(row, FILMED_PLACEBO)
        for t in np.flatnonzero(changed.any((1, 2))):
            others = [s for s in range(len(clip)) if s != t]
            clip[t][changed[t]] = source[draw.choice(others) if others else t][changed[t]]
        return clip, hides

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


def _drawn(pids: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Return `limit` rows at random, each person's first before anybody's second."""
    rows = generator(seed, "tracklets").permutation(len(pids))
    turn = pd.Series(pids[rows]).groupby(pids[rows]).cumcount().to_numpy()
    return rows[turn.argsort(kind="stable")][:limit]


def names(tracklets: Tracklets) -> np.ndarray:
    """Return the name of each tracklet's first frame, which no other tracklet has."""
    return tracklets.names[tracklets.table["first"].to_numpy()]
