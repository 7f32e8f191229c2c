"""Which tracklets a data set has: presets, and one small plan for each tracklet, as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mmagga.data.synthetic.cameras import CAMERAS
from mmagga.data.synthetic.dice import Dice

OCCLUDER_PART = "occluder"
PARTS = ("bag", "hair", "upper", "lower")
"""What a person can be rendered without, see `people.without`."""
LONELY_EVERY = 10
"""Every tenth test person has two tracklets only, in two cameras. Both are queries, so that
without the queries in the gallery they have no match, as with 140 queries of MARS."""


@dataclass(frozen=True)
class SyntheticSpec:
    """Everything that decides about the pixels; raises ValueError for what cannot be rendered."""

    train_ids: int
    """Training identities."""
    test_ids: int
    """Test identities, all different from those."""
    cameras: int = 4
    """How many of the six cameras are used."""
    tracklets: tuple[int, int] = (4, 6)
    """Fewest and most tracklets of an identity."""
    frames: tuple[int, int] = (8, 24)
    """Fewest and most frames of a tracklet."""
    distractors: int = 0
    """Gallery tracklets of nobody who is searched for (person 0)."""
    junk: int = 0
    """Bad detections, which the protocol ignores (person -1)."""
    occlusion: float = 0.3
    """Share of the tracklets in which something passes in front; 0 leaves all else the same."""
    height: int = 128
    """Pixels of a frame."""
    width: int = 64
    """Pixels of a frame."""
    seed: int = 0
    """Everything random follows from it."""
    without: str = ""
    """"occluder", or one of `PARTS`: what is left out while all else stays as it was."""

    def __post_init__(self) -> None:
        people = self.train_ids, self.test_ids
        strays = self.distractors, self.junk
        rules = {
            f"cameras must be 2 to {len(CAMERAS)}": 2 <= self.cameras <= len(CAMERAS),
            "tracklets must be (fewest, most), at least 2": 2
            <= self.tracklets[0]
            <= self.tracklets[1],
            "frames must be (fewest, most), 1 to 999": 1 <= self.frames[0] <= self.frames[1] <= 999,
            "frames must have at least 32 x 16 pixels": self.height >= 32 and self.width >= 16,
            "identities must be 0 to 9999 in all": min(people) >= 0 and sum(people) <= 9999,
            "distractors and junk must be 0 to 9999": min(strays) >= 0 and max(strays) <= 9999,
            "occlusion must be a share, 0 to 1": 0 <= self.occlusion <= 1,
            f"without must be {OCCLUDER_PART}, {', '.join(PARTS)} or nothing": self.without
            in ("", OCCLUDER_PART, *PARTS),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"{rule}: {self}")


PRESETS: dict[str, SyntheticSpec] = {
    "tiny": SyntheticSpec(5, 4, cameras=2, tracklets=(2, 4), frames=(3, 6), distractors=2, junk=1),
    "demo": SyntheticSpec(24, 20, distractors=12, junk=4),
    "world": SyntheticSpec(300, 160, frames=(8, 16), distractors=40, junk=8),
    "world-clear": SyntheticSpec(300, 160, frames=(8, 16), distractors=40, junk=8, occlusion=0),
    "tuning": SyntheticSpec(300, 60, frames=(8, 12), seed=7),
    "start": SyntheticSpec(1200, 60, cameras=6, tracklets=(5, 6), frames=(4, 6), seed=20),
    "medium": SyntheticSpec(
        110, 90, cameras=6, tracklets=(5, 9), frames=(8, 32), distractors=120, junk=40
    ),
    "large": SyntheticSpec(
        1000, 1000, cameras=6, tracklets=(8, 12), frames=(8, 40), distractors=700, junk=300
    ),
}
"""Sizes by name: `tiny` for tests, `demo` for the notebooks, `world` for the committed module and
attention studies, `world-clear` the same without occluders, `tuning` other people, to choose
settings on, `start` the people that the weights RENDERED_V1 come from (the last two of seeds of
their own, so that nobody is in two sets); `large` has 20,000 tracklets."""


class TrackletPlan(NamedTuple):
    """One tracklet; with the spec it decides about every pixel."""

    split: str
    """"train", "test", or "all" where the persons of both are left to ten splits."""
    index: int
    """Which person of the split, which distractor or which junk tracklet, from 0."""
    pid: int
    """Person id as the files have it; in MARS 0 is a distractor, -1 junk."""
    camid: int
    """From 1."""
    number: int
    """Counts the tracklets of this person in this camera, from 1."""
    frames: int
    query: bool

    @property
    def folder(self) -> str:
        """MARS's name of the person's folder: 0001, 0000 or 00-1."""
        return "00-1" if self.pid < 0 else f"{self.pid:04d}"

    def stem(self, frame: int) -> str:
        """Return MARS's name of a frame, counted from 0, without its extension."""
        return f"{self.folder}C{self.camid}T{self.number:04d}F{frame + 1:03d}"


def plans(spec: SyntheticSpec) -> Iterator[TrackletPlan]:
    """Return the tracklets in the order of the tables: training, then junk, distractors, test."""
    for index in range(spec.train_ids):
        yield from _person(spec, "train", index, index + 1)
    yield from _strays(spec, "junk", spec.junk, -1)
    yield from _strays(spec, "distractor", spec.distractors, 0)
    for index in range(spec.test_ids):
        yield from _person(spec, "test", index, spec.train_ids + index + 1)


def _person(spec: SyntheticSpec, split: str, index: int, pid: int) -> Iterator[TrackletPlan]:
    dice = Dice(spec.seed, "plan", split, index)
    fewest, most = spec.tracklets
    count = fewest + index % (most - fewest + 1)  # in turn, so that totals are exact
    if split == "test" and index % LONELY_EVERY == LONELY_EVERY - 1:
        count = 2
    # one camera fewer than tracklets, where possible: then the gallery keeps something to find
    cameras = dice.integer(2, max(2, min(spec.cameras, count - 1)))
    seen_by = dice.sample(range(1, spec.cameras + 1), cameras)
    placed = seen_by + [dice.pick(seen_by) for _ in range(count - cameras)]
    for camid in sorted(seen_by):
        here = placed.count(camid)
        query = dice.integer(1, here)
        for number in range(1, here + 1):
            frames = dice.integer(*spec.frames)
            asked = split == "test" and number == query
            yield TrackletPlan(split, index, pid, camid, number, frames, asked)


def _strays(spec: SyntheticSpec, what: str, count: int, pid: int) -> Iterator[TrackletPlan]:
    numbers = [0] * (spec.cameras + 1)
    dice = Dice(spec.seed, "plan", what)
    for index, camid in enumerate(sorted(dice.integer(1, spec.cameras) for _ in range(count))):
        numbers[camid] += 1
        frames = dice.integer(*spec.frames)
        yield TrackletPlan("test", index, pid, camid, numbers[camid], frames, False)
