"""Tracklets to embeddings, clip by clip: no tracklet is ever in memory as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.data.augment import normalize
from mmagga.data.clips import dense_loader
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError, NumericError, ResourceError
from mmagga.progress import progress as progress_bar


class Embeddings(NamedTuple):
    """One vector a tracklet, on the CPU. `vectors` may also be a memory-mapped NumPy array."""

    vectors: Tensor
    """(N, D) float32, L2-normalised by `embed`."""
    pids: Tensor
    """(N,) int64 person ids."""
    camids: Tensor
    """(N,) int64 camera ids."""


def embed(
    model: nn.Module,
    tracklets: Tracklets,
    *,
    frames: int,
    size: tuple[int, int],
    batch: int = 32,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: bool = True,
    clip: Literal["dense", "dense_by_frames"] = "dense",
    normalise_clips: bool = False,
    packed: Path | None = None,
) -> Embeddings:
    """Embed each tracklet as the L2-normalised mean of its dense clips' embeddings.

    `model(clips).embedding` gives (B, D) for clips (B, T, 3, H, W), T being `frames`. The
    model is moved to `device` and evaluated there; its training flags come back as they were.
    Memory beside the model: `batch` clips and the (N, D) result. Where the device runs out of
    memory the batch is halved and the work goes on; the embeddings are the same.

    `clip="dense"` is the authors' rule: clips count alike, so a last clip made of one real frame,
    repeated, weighs as much as a full one. "dense_by_frames" (ours) weighs clips by their real
    frames. `normalise_clips` gives every clip's embedding length 1 before the mean (ours).

    Raises NumericError, naming the tracklet, where an embedding is not finite, and ResourceError
    where not even one clip fits in the device's memory.
    """
    if not len(tracklets):
        raise DataError(f"{tracklets.dataset} in {tracklets.root}: there are no tracklets to embed")
    weights = _clip_weights(tracklets.lengths, frames, clip)
    loader = dense_loader(tracklets, frames, size, batch, workers, packed=packed)
    bar = progress_bar(enabled=progress, total=len(weights), unit="clip", desc="embed")
    sums, done, limit = None, 0, batch
    with bar, _evaluating(model.to(device)), torch.inference_mode():
        for clips, owner in loader:
            embedding, limit = _forward(model, clips, limit, device)  # (B, D)
            _check_finite(embedding, owner, tracklets)
            if normalise_clips:
                embedding = F.normalize(embedding)
            if sums is None:
                sums = torch.zeros(len(tracklets), embedding.shape[1])
            weight = weights[done : done + len(owner), None]
            sums.index_add_(0, owner, weight * embedding)
            done += len(owner)
            bar.update(len(owner))
    if done != len(weights):
        raise DataError(
            f"{tracklets.dataset}: expected {len(weights)} clips, the loader gave {done}"
        )
    # The mean's divisor is left out: the norm takes it away again.
    vectors = F.normalize(sums)
    return Embeddings(vectors, torch.tensor(tracklets.pids), torch.tensor(tracklets.camids))


def _clip_weights(lengths: np.ndarray, frames: int, clip: str) -> Tensor:
    """Weight of each dense clip, all tracklets in a row: (sum of ceil(length / T),) float32."""
    if clip not in ("dense", "dense_by_frames"):
        raise ValueError(f'clip is "dense" or "dense_by_frames", not {clip!r}')
    last = np.cumsum(-(-lengths // frames)) - 1
    weights = np.ones(last[-1] + 1, np.float32)
    if clip == "dense_by_frames":
        weights[last] = ((lengths - 1) % frames + 1) / frames
    return torch.from_numpy(weights)


def _forward(
    model: nn.Module, clips: Tensor, limit: int, device: torch.device | str
) -> tuple[Tensor, int]:
    """Embed (B, T, 3, H, W) uint8 clips, at most `limit` at once; give (B, D) and the new limit."""
    parts: list[Tensor] = []
    start = 0
    while start < len(clips):
        embedding = _try_forward(model, clips[start : start + limit], device)
        if embedding is not None:
            parts.append(embedding)
            start += limit
        elif limit == 1:
            raise ResourceError(
                f"One clip of shape {tuple(clips.shape[1:])} does not fit in the memory "
                f"of {device}: free some of it, or evaluate on the CPU."
            )
        else:
            limit = max(1, min(limit, len(clips) - start) // 2)
            torch.cuda.empty_cache()  # nothing happens where CUDA was never used
    return torch.cat(parts), limit


def _try_forward(model: nn.Module, clips: Tensor, device: torch.device | str) -> Tensor | None:
    """Embed clips, or give None where memory ran out: with the return its tensors are freed."""
    try:
        clips = clips.to(device, non_blocking=True)
        return model(normalize(clips)).embedding.float().cpu()
    except torch.OutOfMemoryError:
        return None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while. Flags are kept module by module: a part may be frozen."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag


def _check_finite(embedding: Tensor, owner: Tensor, tracklets: Tracklets) -> None:
    bad = ~embedding.isfinite().all(dim=1)
    if bad.any():
        row = int(owner[bad][0])
        raise NumericError(
            f"{tracklets.dataset}: the embedding of tracklet {row} (person {tracklets.pids[row]}, "
            f"camera {tracklets.camids[row]}, from {tracklets.frames(row)[0]}) is not finite. "
            "Look at the checkpoint's weights for NaN, then at these frames."
        )
