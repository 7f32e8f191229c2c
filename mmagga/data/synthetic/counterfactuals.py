"""The same tracklet with and without one thing: exact pairs, which no camera can film.

    pair = counterfactual(PRESETS["demo"], plan, "occluder")
    pair.frames, pair.twin      # the same but for what stood in the way, and its shadow
    pair.changed                # where

The renderer draws every random number by a key, so that leaving a thing out moves no other pixel.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmagga.data.files.decoding import decode
from mmagga.data.synthetic.film import Shot, shots
from mmagga.data.synthetic.layouts import LAYOUTS
from mmagga.data.synthetic.plan import OCCLUDER_PART, SyntheticSpec, TrackletPlan
from mmagga.data.synthetic.writing import encoded, layout_of, read_about, spec_of
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError


class Counterfactual(NamedTuple):
    """A tracklet and its twin, which differ in one thing."""

    frames: np.ndarray
    """(T, H, W, 3) uint8, with the thing."""
    twin: np.ndarray
    """(T, H, W, 3) uint8, without it."""
    masks: np.ndarray
    """(T, H, W) uint8 of `LABELS`, with the thing."""
    twin_masks: np.ndarray
    """(T, H, W) uint8, without it."""
    changed: np.ndarray
    """(T, H, W) bool: the thing, its shadow and edges, also where it stands behind the person.

    Outside of it raw frames are equal; of encoded ones, all but the blocks of the file format that
    it touches."""


def counterfactual(
    source: SyntheticSpec | str | Path,
    plan: TrackletPlan,
    without: str = OCCLUDER_PART,
    *,
    numbers: Sequence[int] | None = None,
    as_files: bool = False,
) -> Counterfactual:
    """Render a tracklet with and without one thing.

    Args:
        source: spec of a data set, or the folder of a rendered one.
        plan: of the tracklet, see `plans`.
        without: "occluder", or a part of the person: "bag", "hair", "upper" (the garments' colour
            and pattern) or "lower".
        numbers: of the frames to render, counted from 0; all by default.
        as_files: pass both through the file format of the data set, whose losses then are there.

    Raises:
        ValueError: nothing is called `without`.
        DataError: there is no rendered data set in the folder.
    """
    spec = source if isinstance(source, SyntheticSpec) else spec_of(source)
    layout = "mars" if isinstance(source, SyntheticSpec) else layout_of(read_about(source))
    wanted = range(plan.frames) if numbers is None else numbers
    pairs = list(
        zip(shots(spec, plan, wanted), shots(replace(spec, without=without), plan, wanted))
    )
    frames, twin = (
        np.stack([_pixels(pair[i], plan, layout, as_files) for pair in pairs]) for i in (0, 1)
    )
    masks, twin_masks = (np.stack([pair[i].labels for pair in pairs]) for i in (0, 1))
    changed = np.stack([_blurred((a.scene != b.scene).any(0)) for a, b in pairs])
    return Counterfactual(frames, twin, masks, twin_masks, changed)


def tracklet_counterfactual(
    tracklets: Tracklets,
    row: int,
    without: str = OCCLUDER_PART,
    *,
    numbers: Sequence[int] | None = None,
    occlusion: float | None = None,
) -> Counterfactual:
    """Return a tracklet of a rendered data set as its files have it, and its twin.

    `occlusion` 1 lets something pass in front of every tracklet, also of those that nothing passes
    in the files; None leaves it at what was rendered. See `counterfactual` for the rest.
    """
    spec = spec_of(tracklets.root)
    spec = spec if occlusion is None else replace(spec, occlusion=occlusion, without="")
    layout = layout_of(read_about(tracklets.root))
    plan = plan_of(tracklets, row)
    if layout != "mars":  # files of the other layouts are made from their own plans, losslessly
        spec = replace(spec, **LAYOUTS[layout].fixed)
    return counterfactual(spec, plan, without, numbers=numbers, as_files=layout == "mars")


def plan_of(tracklets: Tracklets, row: int) -> TrackletPlan:
    """Return the plan that tracklet `row` of a rendered data set was made from."""
    first = str(tracklets.names[int(tracklets.table["first"].iloc[row])])
    known = _plans(Path(tracklets.root))
    if first not in known:
        raise DataError(f"{tracklets.root}: {first} is not the first frame of a rendered tracklet")
    return known[first]


@lru_cache(maxsize=2)
def _plans(root: Path) -> dict[str, TrackletPlan]:
    """Return the plans of a rendered set by the name of their first frame's file."""
    layout = LAYOUTS[layout_of(read_about(root))]
    return {f"{layout.place(p, 0)}{layout.suffix}": p for p in layout.plans(spec_of(root))}


def _pixels(shot: Shot, plan: TrackletPlan, layout: str, as_files: bool) -> np.ndarray:
    return decode(encoded(shot.pixels, plan, layout)) if as_files else shot.pixels


def _blurred(changed: np.ndarray) -> np.ndarray:
    """Widen a mask (H, W) by the one pixel that the sensor's blur reaches."""
    wide = np.pad(changed, 1)
    return wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
