"""Embeddings of a whole set: kept in the run folder, and made again under other weights."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.attention.maps import Look
from mmagga.config import Config
from mmagga.data.index import fingerprints
from mmagga.data.tracklets import Tracklets
from mmagga.evaluation import embed_split
from mmagga.files import commit
from mmagga.model.head import Attention, Head, Tokens
from mmagga.runs import Run

BUDGET = 512 * 2**20
"""Bytes of tokens to hold at most. MARS at the paper's size has some 75 GB: it is never held."""

Shares = dict[str, Tensor]
"""Occluded share of each token, (n, T, P) of each branch."""


def stored_embeddings(
    run: Run, model: nn.Module, tracklets: Tracklets, config: Config, checkpoint: str
) -> Tensor:
    """Give a vector for each tracklet, (N, D), from the run folder or by embedding them once.

    The file is named after the checkpoint and the tracklets: neither can be mistaken for another.
    """
    name = f"embeddings-{checkpoint}-{fingerprints(tracklets)['split']}.npy"
    path = run.folder / "browser" / name
    if path.exists():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    vectors = embed_split(model, tracklets, config).vectors
    commit(path, lambda file: np.save(file, vectors.numpy()), need=vectors.nbytes)
    return vectors


class GalleryTokens(NamedTuple):
    """All tokens of all dense clips of a small set, so that other weights need no network."""

    tokens: Tokens
    attention: Attention
    occluded: Shares | None
    """None without masks."""
    owner: Tensor
    """(clips,) which tracklet."""

    def vectors(
        self, head: Head, reweigh: Callable[[Attention, Shares | None], Attention]
    ) -> Tensor:
        """Embed every tracklet under the weights that `reweigh` gives: (N, D), unit vectors."""
        attention = reweigh(self.attention, self.occluded)
        with torch.inference_mode():
            clips = head.bnneck(head.aggregate(self.tokens, attention))  # (clips, D)
            sums = clips.new_zeros(int(self.owner[-1]) + 1, clips.shape[1])
            return F.normalize(sums.index_add_(0, self.owner, clips))


def token_bytes(head: Head, tracklets: Tracklets) -> int:
    """Say how much memory the tokens of all dense clips take."""
    clips = int((-(-tracklets.lengths // head.frames)).sum())
    per_frame = sum(rows for rows, _ in head.grids.values())
    return clips * head.frames * per_frame * head.project["global"].out_features * 4


def to_cpu(one: Look) -> Look:
    """Move a look to the CPU."""
    return Look(
        Tokens(one.tokens.frames.cpu(), _each(one.tokens.parts, Tensor.cpu)),
        Attention(one.attention.frames.cpu(), _each(one.attention.parts, Tensor.cpu)),
        one.feature.cpu(),
        one.embedding.cpu(),
    )


def join(looks: Sequence[Look]) -> Look:
    """Put the clips of several looks in a row."""
    tokens, attention = [one.tokens for one in looks], [one.attention for one in looks]
    return Look(
        Tokens(torch.cat([x.frames for x in tokens]), _join([x.parts for x in tokens])),
        Attention(torch.cat([w.frames for w in attention]), _join([w.parts for w in attention])),
        torch.cat([one.feature for one in looks]),
        torch.cat([one.embedding for one in looks]),
    )


def pick(one: Look, clips: slice) -> Look:
    """Take some of the clips."""
    take = lambda x: x[clips]  # noqa: E731
    return Look(
        Tokens(take(one.tokens.frames), _each(one.tokens.parts, take)),
        Attention(take(one.attention.frames), _each(one.attention.parts, take)),
        take(one.feature),
        take(one.embedding),
    )


def _each(tensors: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(tensor) for name, tensor in tensors.items()}


def _join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([one[name] for one in parts]) for name in parts[0]}
