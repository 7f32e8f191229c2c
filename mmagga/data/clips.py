"""Which frames make a clip, which clips make a batch, and the loaders that read them.

Order and clip starts are functions of (seed, epoch, position), see `mmagga.randomness`: any number
of workers gives the same batches, and an epoch can be entered at any step.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmagga.config import Config
from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets
from mmagga.data.workers import read_in_processes
from mmagga.errors import DataError
from mmagga.randomness import generator


class Batch(NamedTuple):
    """One training batch, still as bytes; augmentation happens on the device."""

    clips: Tensor  # (B, T, 3, H, W) uint8; of several processes, each has its share of B
    labels: Tensor  # (B,) int64, 0..K-1
    rows: Tensor  # (B,) int64, which tracklet
    frames: Tensor  # (B, T) int64, which of its frames
    epoch: int
    step: int


# --- which frames -------------------------------------------------------------------------------


def dense_clips(num_frames: int, frames: int) -> list[list[int]]:
    """Cut a tracklet into consecutive test clips of T frames; the rest is repeated cyclically.

    A clip is cut while more than T frames remain; the last 1..T frames are the last clip
    (authors' code).
    """
    if num_frames < 1:
        raise ValueError(f"a tracklet has at least one frame, not {num_frames}")
    starts = range(0, num_frames, frames)
    return [_cycle(start, min(frames, num_frames - start), frames) for start in starts]


def _cycle(start: int, available: int, frames: int) -> list[int]:
    return [start + i % available for i in range(frames)]


def training_clip(num_frames: int, frames: int, draw: float, official: bool = True) -> list[int]:
    """Choose T consecutive frames; `draw` in [0, 1) picks the start, a short tracklet is cycled.

    The authors draw the start from 0..n-T-1, so the last window never comes when n > T;
    `official=False` draws from 0..n-T.
    """
    starts = max(1, num_frames - frames + (0 if official else 1))
    return _cycle(int(draw * starts), min(frames, num_frames), frames)


def epoch_batches(
    labels: Sequence[int] | np.ndarray,
    ids_per_batch: int,
    clips_per_id: int,
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Return one epoch as (steps, P·K) tracklet rows: each identity once, K tracklets of each.

    An identity with fewer than K tracklets is drawn with replacement; the last incomplete batch
    is dropped. Raises DataError if there are fewer than P identities.
    """
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")  # (N,)
    rows_of = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)  # (n,) for each identity
    if len(rows_of) < ids_per_batch:
        raise DataError(
            f"a batch needs {ids_per_batch} identities, the training set has {len(rows_of)}: "
            f"set ids_per_batch to at most {len(rows_of)}"
        )
    g = generator(seed, "order", epoch)
    chosen = np.stack(
        [g.choice(rows, clips_per_id, replace=len(rows) < clips_per_id) for rows in rows_of]
    )
    steps = len(rows_of) // ids_per_batch
    identities = g.permutation(len(rows_of))[: steps * ids_per_batch]  # (steps·P,)
    return chosen[identities].reshape(steps, ids_per_batch * clips_per_id)  # (steps, P·K)


def training_labels(tracklets: Tracklets) -> tuple[np.ndarray, int]:
    """Return the (N,) labels 0..K-1 of the training persons, by ascending id, and K.

    Raises DataError without training tracklets, as in one's own video.
    """
    if not len(tracklets):
        raise DataError(
            f"{tracklets.dataset} in {tracklets.root} has no training tracklets. Train on a data "
            "set that has, then look at this one with that run: python -m mmagga evaluate "
            f"RUN --dataset {tracklets.dataset} --root {tracklets.root}"
        )
    ids, labels = np.unique(tracklets.pids, return_inverse=True)
    return labels, len(ids)


# --- loaders ------------------------------------------------------------------------------------


class _TrainingBatches(Dataset):
    """Batch number i of training, counted over all epochs; one item is a whole batch."""

    def __init__(self, tracklets: Tracklets, config: Config, share: slice) -> None:
        self.config, self.share = config, share
        self.lengths = tracklets.lengths
        self.labels, _ = training_labels(tracklets)
        self.frames = open_frames(tracklets, (config.height, config.width), config.packed)
        self.order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, step = key
        c = self.config
        if self.order is None or self.order[0] != epoch:
            sizes = c.ids_per_batch, c.clips_per_id
            self.order = epoch, epoch_batches(self.labels, *sizes, seed=c.seed, epoch=epoch)
        rows = self.order[1][step]  # (B,)
        draws = generator(c.seed, "clip", epoch, step).random(len(rows))  # (B,)
        positions = [
            training_clip(int(self.lengths[row]), c.frames, draw, c.official_clips)
            for row, draw in zip(rows, draws, strict=True)
        ]
        mine = list(zip(rows, positions, strict=True))[self.share]
        clips = np.stack([self.frames.read(*item) for item in mine])  # (B / processes, T, H, W, 3)
        return Batch(
            torch.from_numpy(clips).permute(0, 1, 4, 2, 3),  # (B / processes, T, 3, H, W)
            torch.from_numpy(self.labels[rows]),
            torch.from_numpy(rows),
            torch.tensor(positions),  # (B, T)
            epoch,
            step,
        )


def steps_per_epoch(tracklets: Tracklets, config: Config) -> int:
    """Count the batches of one epoch."""
    labels, _ = training_labels(tracklets)
    sizes = config.ids_per_batch, config.clips_per_id
    return len(epoch_batches(labels, *sizes, seed=config.seed, epoch=0))


def train_loader(
    tracklets: Tracklets,
    config: Config,
    *,
    start: tuple[int, int] = (0, 0),
    stop_epoch: int,
    share: slice = slice(None),
) -> Generator[Batch, None, None]:
    """Read the batches from (epoch, step) `start` up to the end of epoch `stop_epoch - 1`.

    `share` chooses the clips of a batch that are read here; its labels, rows and frames are those
    of the whole batch.
    """
    steps = steps_per_epoch(tracklets, config)
    first = start[0] * steps + start[1]
    keys = [divmod(i, steps) for i in range(first, stop_epoch * steps)]
    data = _TrainingBatches(tracklets, config, share)
    clips = len(range(config.ids_per_batch * config.clips_per_id)[share])
    size = clips * config.frames * config.height * config.width * 3
    return read_in_processes(data, keys, config.workers, size)


class _DenseClips(Dataset):
    """Batch i of the test clips of all tracklets, in order; only the last one is smaller."""

    def __init__(
        self,
        tracklets: Tracklets,
        frames: int,
        size: tuple[int, int],
        batch: int,
        *,
        packed: Path | None,
    ) -> None:
        self.t, self.batch, self.lengths = frames, batch, tracklets.lengths
        self.frames = open_frames(tracklets, size, packed)
        # ends[i]: clips of tracklets 0..i; clip number n belongs to the first i with n < ends[i].
        self.ends = np.cumsum(-(-self.lengths // frames))  # (N,)

    def __len__(self) -> int:
        return -(-int(self.ends[-1]) // self.batch) if len(self.ends) else 0

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        numbers = np.arange(i * self.batch, min((i + 1) * self.batch, int(self.ends[-1])))
        owners = np.searchsorted(self.ends, numbers, side="right")  # (B,)
        within = numbers - np.concatenate([[0], self.ends])[owners]  # (B,)
        clips = np.stack(
            [
                self.frames.read(row, self.clip(row, k))
                for row, k in zip(owners, within, strict=True)
            ]
        )
        return torch.from_numpy(clips).permute(0, 1, 4, 2, 3), torch.from_numpy(owners)

    def clip(self, row: int, k: int) -> list[int]:
        """Return the frames of test clip k: `dense_clips(...)[k]` without making the others."""
        start = int(k) * self.t
        return _cycle(start, min(self.t, int(self.lengths[row]) - start), self.t)


def dense_loader(
    tracklets: Tracklets,
    frames: int,
    size: tuple[int, int],
    batch: int,
    *,
    workers: int | None = 0,
    packed: Path | None = None,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Stream the test clips of all tracklets: (clips (B, T, 3, H, W) uint8, tracklet rows (B,)).

    A batch holds clips of several tracklets, and a long tracklet spans several batches, so memory
    depends on `batch` alone.
    """
    data = _DenseClips(tracklets, frames, size, batch, packed=packed)
    clip_bytes = frames * size[0] * size[1] * 3
    return read_in_processes(data, range(len(data)), workers, batch * clip_bytes)
