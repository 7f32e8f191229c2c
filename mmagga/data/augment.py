"""Augmentation of a whole batch on the device, from bytes to the network's input.

Two halves: `draw` decides (a pure function of seed, epoch, step), `apply` does. The order is the
authors': flip, pad and crop, normalise, erase.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmagga.config import AugmentConfig
from mmagga.data.clips import Batch
from mmagga.randomness import generator

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ERASE_VALUE = MEAN
"""What random erasing writes, after normalisation (authors' code)."""
ERASE_AREA = (0.02, 0.4)
ERASE_ASPECT = (0.3, 1 / 0.3)
ERASE_TRIES = 100


class Draws(NamedTuple):
    """What happens to each of the N = B·T frames of a batch."""

    flip: np.ndarray  # (N,) bool
    top: np.ndarray  # (N,) int64, 0..2·pad: where the crop starts in the padded frame
    left: np.ndarray  # (N,) int64, 0..2·pad
    erase: np.ndarray  # (N, 4) int64: top, left, height, width; height 0 erases nothing
    tone: np.ndarray  # (N, 3, 2) float32: of each normalised channel the factor and the shift


def draw(
    config: AugmentConfig,
    clips: int,
    frames: int,
    size: tuple[int, int],
    *,
    seed: int,
    epoch: int,
    step: int,
) -> Draws:
    """Draw for `clips` x `frames` frames of `size` (H, W), each frame or each clip on its own."""
    g = generator(seed, "augment", epoch, step)
    n = clips if config.per_clip else clips * frames
    flip = g.random(n) < config.flip  # (n,)
    top, left = g.integers(0, 2 * config.pad + 1, (2, n))  # (n,) each
    erase = _erase_boxes(g, n, size)  # (n, 4)
    erase[g.random(n) >= config.erase] = 0
    repeat = frames if config.per_clip else 1
    flip, top, left, erase = (np.repeat(v, repeat, axis=0) for v in (flip, top, left, erase))
    tone = np.repeat(_tones(config.tone, clips, seed=seed, epoch=epoch, step=step), frames, axis=0)
    return Draws(flip, top, left, erase, tone)


def _tones(spread: float, clips: int, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """Draw a change of light and colour for each clip: (clips, 3, 2) factors and shifts.

    A pixel p in [0, 1] becomes gain · (contrast · (p - 1/2) + 1/2), which is linear in the
    normalised value too. The draws are their own, so that a spread of 0 changes no other.
    """
    g = generator(seed, "tone", epoch, step)
    gain = np.exp(spread * g.uniform(-1, 1, (clips, 3)))  # (clips, 3)
    contrast = np.exp(spread / 2 * g.uniform(-1, 1, (clips, 1)))  # (clips, 1)
    mean, std = np.array(MEAN), np.array(STD)
    shift = (gain * (contrast * mean + (1 - contrast) / 2) - mean) / std  # (clips, 3)
    return np.stack([gain * contrast, shift], axis=2).astype(np.float32)


def _erase_boxes(g: np.random.Generator, n: int, size: tuple[int, int]) -> np.ndarray:
    """Return (n, 4) boxes: of up to 100 tries for each the first that fits, as the authors do."""
    h, w = size
    area = g.uniform(*ERASE_AREA, (n, ERASE_TRIES)) * h * w  # (n, tries)
    aspect = g.uniform(*ERASE_ASPECT, (n, ERASE_TRIES))
    height = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    width = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (height < h) & (width < w)
    first = fits.argmax(axis=1)  # (n,)
    every = np.arange(n)
    height, width = height[every, first], width[every, first]  # (n, tries) -> (n,)
    place = g.random((2, n))
    top = (place[0] * (h - height + 1)).astype(np.int64)
    left = (place[1] * (w - width + 1)).astype(np.int64)
    return np.stack([top, left, height, width], axis=1) * fits.any(axis=1, keepdims=True)  # (n, 4)


def augmented(
    batch: Batch,
    augment: AugmentConfig,
    seed: int,
    device: torch.device | str,
    *,
    share: slice | None = None,
) -> Tensor:
    """Move a batch's clips to the device and augment them there: (B, T, 3, H, W) float32.

    `share` says which clips of the whole batch these are: the draws are the whole batch's.
    """
    t, _, h, w = batch.clips.shape[1:]
    size = len(batch.labels), t, (h, w)
    draws = draw(augment, *size, seed=seed, epoch=batch.epoch, step=batch.step)
    if share is not None:
        draws = Draws(*(values[share.start * t : share.stop * t] for values in draws))
    return apply(batch.clips.to(device, non_blocking=True), draws, augment.pad)


def apply(clips: Tensor, draws: Draws, pad: int) -> Tensor:
    """Turn (B, T, 3, H, W) bytes into the normalised, augmented float32 input of the same shape."""
    frames = clips.flatten(0, 1)  # (N, 3, H, W)
    move = move_by_slices if frames.device.type == "cpu" else move_by_gather
    out = normalize(move(frames, draws, pad))  # (N, 3, H, W) float32
    if (draws.tone != (1, 0)).any():
        factor, shift = torch.from_numpy(draws.tone).to(out.device)[..., None, None].unbind(2)
        out.mul_(factor).add_(shift)  # (N, 3, 1, 1) each
    value = torch.tensor(ERASE_VALUE, device=out.device).view(3, 1, 1)
    for n in np.flatnonzero(draws.erase[:, 2]):
        top, left, height, width = draws.erase[n].tolist()
        out[n, :, top : top + height, left : left + width] = value
    return out.unflatten(0, clips.shape[:2])  # (B, T, 3, H, W)


def move_by_slices(frames: Tensor, draws: Draws, pad: int) -> Tensor:
    """Flip, pad with black and crop (N, 3, H, W) bytes, one frame after the other."""
    h, w = frames.shape[2:]
    out = torch.zeros_like(frames, memory_format=torch.contiguous_format)
    moves = zip(draws.flip, (draws.top - pad).tolist(), (draws.left - pad).tolist(), strict=True)
    for n, (flip, down, right) in enumerate(moves):
        source = frames[n].flip(2) if flip else frames[n]
        source = source[:, max(0, down) : h + min(0, down), max(0, right) : w + min(0, right)]
        out[n, :, max(0, -down) : h - max(0, down), max(0, -right) : w - max(0, right)] = source
    return out


def move_by_gather(frames: Tensor, draws: Draws, pad: int) -> Tensor:
    """Compute `move_by_slices` in few kernels, which suits a GPU."""
    n, c, h, w = frames.shape
    flip, top, left = (torch.from_numpy(d).to(frames.device, non_blocking=True) for d in draws[:3])
    canvas = frames.new_zeros(n, c, h + 2 * pad, w + 2 * pad)  # (N, 3, H + 2·pad, W + 2·pad)
    flipped = torch.where(flip[:, None, None, None], frames.flip(3), frames)
    canvas[:, :, pad : pad + h, pad : pad + w] = flipped
    windows = canvas.unfold(2, h, 1).unfold(3, w, 1)  # (N, 3, 2·pad+1, 2·pad+1, H, W), a view
    return windows[torch.arange(n, device=frames.device), :, top, left]  # (N, 3, H, W)


def network_input(frames: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """Turn bytes (…, H, W, 3), as frames are read, into the input (…, 3, H, W) on `device`."""
    return normalize(torch.as_tensor(frames).to(device).movedim(-1, -3))


def normalize(clips: Tensor) -> Tensor:
    """Turn (…, 3, H, W) bytes into ImageNet-normalised float32."""
    mean = torch.tensor(MEAN, device=clips.device).view(3, 1, 1)
    std = torch.tensor(STD, device=clips.device).view(3, 1, 1)
    scale, shift = 1 / (255 * std), mean / std
    if clips.device.type != "cpu":
        return clips.float().mul_(scale).sub_(shift)
    out = torch.empty_like(clips, dtype=torch.float32)
    for frame in np.ndindex(clips.shape[:-3]):  # one after the other, each stays in the cache
        out[frame].copy_(clips[frame]).mul_(scale).sub_(shift)
    return out
