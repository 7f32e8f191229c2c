"""Rendered clips with a filmed occluder, and the same clips without it.

Something passes in front of every person of a rendered set, whatever its files show: the renderer
is asked again, with and without it, for the T frames around the moment of meeting.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mmagga.data.masks import OCCLUDER, resize_masks
from mmagga.data.synthetic import tracklet_counterfactual
from mmagga.data.synthetic.counterfactuals import plan_of
from mmagga.data.synthetic.film import moment
from mmagga.data.synthetic.writing import spec_of
from mmagga.data.tracklets import Tracklets
from mmagga.system.cpus import usable_cpus
from mmagga.system.progress import progress
from mmagga.system.spawn import without_main

_FEW = 200
"""Clips below which starting worker processes takes longer than rendering."""


class FilmedClip(NamedTuple):
    """A clip and its twin, at the size of the network's input."""

    occluded: np.ndarray
    """(T, H, W, 3) uint8."""
    clean: np.ndarray
    """(T, H, W, 3) uint8, the twin without the occluder."""
    hides: np.ndarray
    """(T, H, W) bool: where the occluder is in sight."""
    changed: np.ndarray
    """(T, H, W) bool: the same with its shadow, and where it stands behind the person."""
    labels: np.ndarray
    """(T, H, W) uint8, what the twin's pixels show."""


def filmed_clips(
    tracklets: Tracklets,
    frames: int,
    size: tuple[int, int],
    *,
    without: Sequence[str] = ("occluder",),
    workers: int | None = None,
) -> list[FilmedClip]:
    """Render the `frames` frames of every tracklet around the moment when something passes.

    For each of `without` in turn, all tracklets: see `filmed_clip`. `workers` processes, all cores
    by default, change the speed and nothing else.
    """
    work = partial(filmed_clip, tracklets, frames=frames, size=size)
    tasks = [(row, what) for what in without for row in range(len(tracklets))]
    workers = usable_cpus() if workers is None else workers
    if workers == 1 or len(tasks) < _FEW:
        return [work(*task) for task in progress(tasks, desc="rendering pairs")]
    spawn = multiprocessing.get_context("spawn")
    with without_main(), ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        found = pool.map(work, *zip(*tasks), chunksize=8)
        return list(progress(found, total=len(tasks), desc="rendering pairs"))


def filmed_clip(
    tracklets: Tracklets, row: int, without: str = "occluder", *, frames: int, size: tuple[int, int]
) -> FilmedClip:
    """Render one of them; `without` a part of the person leaves out that part, and no occluder."""
    occlusion = 1.0 if without == "occluder" else 0.0
    numbers = filmed_numbers(tracklets, frames, row)
    once = list(dict.fromkeys(numbers))
    pair = tracklet_counterfactual(tracklets, row, without, numbers=once, occlusion=occlusion)
    back = [once.index(number) for number in numbers]
    return FilmedClip(
        resize_frames(pair.frames, size)[back],
        resize_frames(pair.twin, size)[back],
        resize_masks(pair.masks, size)[back] == OCCLUDER,
        resize_masks(pair.changed, size)[back],
        resize_masks(pair.twin_masks, size)[back],
    )


def filmed_numbers(tracklets: Tracklets, frames: int, row: int) -> list[int]:
    """Return the numbers of the T frames around the moment; a shorter tracklet is repeated."""
    plan = plan_of(tracklets, row)
    start = round(moment(spec_of(tracklets.root), plan) - (frames - 1) / 2)
    start = min(max(start, 0), max(plan.frames - frames, 0))
    return [start + t % min(plan.frames, frames) for t in range(frames)]


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring frames (T, H, W, 3) uint8 to `size` as the decoder does."""
    if frames.shape[1:3] == size:
        return frames
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()  # (T, 3, H, W)
    small = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def stack(clips: Sequence[FilmedClip]) -> FilmedClip:
    """Put clips in a row: (Q, T, …) each."""
    return FilmedClip(*(np.stack(arrays) for arrays in zip(*clips)))
