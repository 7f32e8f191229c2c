"""Tracklets to embeddings, clip by clip: no tracklet is ever in memory as a whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.config import Config
from mmagga.data.clips import dense_loader
from mmagga.data.tracklets import Tracklets
from mmagga.data.workers import reading
from mmagga.errors import DataError, NumericError, Stopped
from mmagga.retrieval.clip_rules import CLIP_RULES, clip_weights
from mmagga.retrieval.forward import evaluating, forward_within_memory
from mmagga.system.device import autocast, resolve_device
from mmagga.system.distributed import collect, world
from mmagga.system.interrupt import raise_if_stopped
from mmagga.system.progress import progress as progress_bar


class Embeddings(NamedTuple):
    """One vector per tracklet, on the CPU. `vectors` may also be a memory-mapped NumPy array."""

    vectors: Tensor
    """(N, D) float32, L2-normalised by `embed`."""
    pids: Tensor
    """(N,) int64 person ids."""
    camids: Tensor
    """(N,) int64 camera ids."""


def joined(*parts: Embeddings) -> Embeddings:
    """Put the rows of several embeddings below one another."""
    vectors = torch.cat([torch.tensor(np.asarray(part.vectors)) for part in parts])
    return Embeddings(vectors, *(torch.cat(ids) for ids in zip(*(part[1:] for part in parts))))


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
    weights = {name: clip_weights(tracklets.lengths, frames, name) for name in rules}
    total = int((-(-tracklets.lengths // frames)).sum())
    loader = dense_loader(tracklets, frames, size, batch, workers=workers, packed=packed)
    splits = " and ".join(dict.fromkeys(tracklets.table["split"]))
    what = f"embed {len(tracklets):,} tracklets ({splits})"
    bar = progress_bar(enabled=progress, total=total, unit="clip", desc=what)
    sums: dict[str, Tensor] = {}
    done, limit = 0, batch
    with bar, evaluating(model.to(device)), torch.inference_mode(), reading(loader):
        for clips, owner in loader:
            raise_if_stopped()
            embedding, limit = forward_within_memory(model, clips, limit, device)  # (B, D)
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


def _check_finite(embedding: Tensor, owner: Tensor, tracklets: Tracklets) -> None:
    bad = ~embedding.isfinite().all(dim=1)
    if bad.any():
        row = int(owner[bad][0])
        raise NumericError(
            f"{tracklets.dataset}: the embedding of tracklet {row} (person {tracklets.pids[row]}, "
            f"camera {tracklets.camids[row]}, from {tracklets.frames(row)[0]}) is not finite. "
            "Look at the checkpoint's weights for NaN, then at these frames."
        )
