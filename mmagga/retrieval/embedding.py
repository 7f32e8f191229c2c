"""Tracklets to embeddings, clip by clip: no tracklet is ever in memory as a whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.config import Config
from mmagga.data.augment import normalize
from mmagga.data.clips import dense_loader
from mmagga.data.tracklets import Tracklets
from mmagga.data.workers import reading
from mmagga.errors import DataError, NumericError, ResourceError, Stopped
from mmagga.system.device import autocast, resolve_device
from mmagga.system.distributed import collect, world
from mmagga.system.interrupt import raise_if_stopped
from mmagga.system.progress import progress as progress_bar
from mmagga.system.shortage import out_of_memory


class Embeddings(NamedTuple):
    """One vector a tracklet, on the CPU. `vectors` may also be a memory-mapped NumPy array."""

    vectors: Tensor
    """(N, D) float32, L2-normalised by `embed`."""
    pids: Tensor
    """(N,) int64 person ids."""
    camids: Tensor
    """(N,) int64 camera ids."""


@dataclass(frozen=True)
class ClipRule:
    """How the embeddings of a tracklet's dense clips become its own. The defaults: the authors'."""

    weights: Literal["equal", "frames", "first"] = "equal"
    """Clips count alike (a last clip of one real frame, repeated, weighs as much as a full one),
    by their real frames, or only the first one counts."""
    normalise_clips: bool = False
    """Scale each clip's embedding to length 1 before the mean."""
    normalise: bool = True
    """Scale the mean to length 1, so that its Euclidean distances rank as its cosines do."""


CLIP_RULES = {
    "dense": ClipRule(),
    "dense_by_frames": ClipRule(weights="frames"),
    "dense_of_unit_clips": ClipRule(normalise_clips=True),
    "dense_unnormalised": ClipRule(normalise=False),
    "first_clip": ClipRule(weights="first"),
}
"""The authors' rule, "dense", and what others do with the same clips."""


def embed(
    model: nn.Module, tracklets: Tracklets, *, clip: str = "dense", **options: Any
) -> Embeddings:
    """Embed each tracklet by one rule of `CLIP_RULES`; see `embed_by_rules`."""
    return embed_by_rules(model, tracklets, (clip,), **options)[clip]


def embed_by_rules(
    model: nn.Module,
    tracklets: Tracklets,
    rules: Sequence[str] = tuple(CLIP_RULES),
    *,
    frames: int,
    size: tuple[int, int],
    batch: int = 32,
    device: torch.device | str = "cpu",
    workers: int | None = 0,
    progress: bool = True,
    packed: Path | None = None,
) -> dict[str, Embeddings]:
    """Embed each tracklet by several rules of `CLIP_RULES`, in one pass over its dense clips.

    `model(clips).embedding` gives (B, D) for clips (B, T, 3, H, W), T being `frames`. The
    model is moved to `device` and evaluated there; its training flags come back as they were.
    Memory beside the model: `batch` clips and an (N, D) result a rule. Where the device runs out
    of memory the batch is halved and the work goes on; the embeddings are the same.

    Raises NumericError, naming the tracklet, where an embedding is not finite, and ResourceError
    where not even one clip fits in the device's memory.
    """
    if not len(tracklets):
        raise DataError(f"{tracklets.dataset} in {tracklets.root}: there are no tracklets to embed")
    weights = {name: _clip_weights(tracklets.lengths, frames, name) for name in rules}
    total = int((-(-tracklets.lengths // frames)).sum())
    loader = dense_loader(tracklets, frames, size, batch, workers=workers, packed=packed)
    splits = " and ".join(dict.fromkeys(tracklets.table["split"]))
    what = f"embed {len(tracklets):,} tracklets ({splits})"
    bar = progress_bar(enabled=progress, total=total, unit="clip", desc=what)
    sums: dict[str, Tensor] = {}
    done, limit = 0, batch
    with bar, _evaluating(model.to(device)), torch.inference_mode(), reading(loader):
        for clips, owner in loader:
            raise_if_stopped()
            embedding, limit = _forward(model, clips, limit, device)  # (B, D)
            _check_finite(embedding, owner, tracklets)
            if not sums:
                shape = len(tracklets), embedding.shape[1]
                sums = {name: torch.zeros(shape) for name in rules}
            some = slice(done, done + len(owner))
            for name in rules:
                unit = CLIP_RULES[name].normalise_clips
                share = weights[name][some, None] * (F.normalize(embedding) if unit else embedding)
                sums[name].index_add_(0, owner, share)
            done += len(owner)
            bar.update(len(owner))
    if done != total:
        raise DataError(f"{tracklets.dataset}: expected {total} clips, the loader gave {done}")
    people = torch.tensor(tracklets.pids), torch.tensor(tracklets.camids)
    found = {}
    for name in rules:
        vectors = sums.pop(name)  # one rule at a time is held twice
        vectors = F.normalize(vectors) if CLIP_RULES[name].normalise else vectors.clone()
        found[name] = Embeddings(vectors, *people)
    return found


def query_and_gallery(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True
) -> tuple[Embeddings, Embeddings]:
    """Embed the query and the gallery tracklets by their dense clips, as a run is evaluated.

    The gallery of a single camera's tracklets, which are all queries, has no rows.
    """
    query = tracklet_embeddings(model, tracklets.split("query"), config, bar=bar)["dense"]
    gallery = tracklets.split("gallery")
    if tracklets.one_camera and not len(gallery):
        return query, Embeddings(*(field[:0] for field in query))
    return query, tracklet_embeddings(model, gallery, config, bar=bar)["dense"]


def tracklet_embeddings(
    model: nn.Module,
    tracklets: Tracklets,
    config: Config,
    rules: Sequence[str] = ("dense",),
    *,
    bar: bool = True,
) -> dict[str, Embeddings]:
    """Embed tracklets by `rules` on the device, in the precision and at the size of a run.

    Of several processes each embeds every n-th tracklet, and all return the whole.
    """
    from mmagga.model.fast import for_embedding  # with torchvision, which scores do not need

    here, device = world(), resolve_device(config.device)
    mine = np.arange(here.rank, len(tracklets), here.size)
    found: dict[str, Embeddings] | Stopped | None = None
    if len(mine) or here.size == 1:
        try:
            with autocast(config.hardware, device):
                found = embed_by_rules(
                    for_embedding(model, config.hardware, device),
                    tracklets.subset(mine),
                    rules,
                    frames=config.frames,
                    size=(config.height, config.width),
                    batch=config.eval_batch,
                    device=device,
                    workers=config.workers,
                    packed=config.packed,
                    progress=bar and here.first,
                )
        except Stopped as request:  # the other processes have to know
            found = request
    shares = [share for share in collect(found) if share is not None]
    for share in shares:
        if isinstance(share, Stopped):
            raise share
    if here.size == 1:
        return shares[0]
    people = torch.tensor(tracklets.pids), torch.tensor(tracklets.camids)
    whole = {}
    for rule in rules:
        vectors = torch.empty(len(tracklets), shares[0][rule].vectors.shape[1])
        for rank, share in enumerate(shares):
            vectors[rank :: here.size] = share[rule].vectors
        whole[rule] = Embeddings(vectors, *people)
    return whole


def _clip_weights(lengths: np.ndarray, frames: int, rule: str) -> Tensor:
    """Weight of each dense clip, all tracklets in a row: (sum of ceil(length / T),) float32."""
    if rule not in CLIP_RULES:
        raise ValueError(f"clip is one of {', '.join(CLIP_RULES)}, not {rule!r}")
    counts = -(-lengths // frames)
    last = np.cumsum(counts) - 1
    kind = CLIP_RULES[rule].weights
    weights = np.full(last[-1] + 1, 0.0 if kind == "first" else 1.0)
    if kind == "first":
        weights[last - counts + 1] = 1
    elif kind == "frames":
        weights[last] = ((lengths - 1) % frames + 1) / frames
    if not CLIP_RULES[rule].normalise:  # else the norm takes the mean's divisor away again
        weights /= np.repeat(np.add.reduceat(weights, last - counts + 1), counts)
    return torch.from_numpy(weights.astype(np.float32))


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
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
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
