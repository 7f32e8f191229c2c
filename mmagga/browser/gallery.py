"""What is searched: embedded again under other weights, and ranked."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.data.tracklets import DISTRACTOR, Tracklets
from mmagga.model.head import Head
from mmagga.model.outputs import Attention, Tokens
from mmagga.retrieval.metrics import average_precision

BUDGET = 512 * 2**20
"""Bytes of tokens to hold at most. MARS at the paper's size has some 75 GB: it is never held."""

Shares = dict[str, Tensor]
"""Occluded share of each token, (n, T, P) of each branch."""


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
    """Describe the memory that the tokens of all dense clips take."""
    clips = int((-(-tracklets.lengths // head.frames)).sum())
    per_frame = sum(rows for rows, _ in head.grids.values())
    return clips * head.frames * per_frame * head.project["global"].out_features * 4


# --- ranks ---------------------------------------------------------------------------------------


class Found(NamedTuple):
    """A rank list, and where the matches are in it."""

    rows: np.ndarray
    """(top,) of the tracklets found first."""
    distances: np.ndarray
    """(top,) squared Euclidean, 2 - 2·cosine."""
    matches: np.ndarray
    """(top,) bool."""
    hits: np.ndarray
    """Ranks, from 1, of all matches, ascending."""
    first_row: int | None = None
    """Row of the first match, whatever its rank; None where there is none."""
    first_distance: float = float("nan")

    @property
    def first(self) -> int | None:
        """Rank of the first match, None where there is none to find."""
        return int(self.hits[0]) if len(self.hits) else None

    @property
    def average_precision(self) -> float:
        """AP of the ranks of the matches; NaN without a match."""
        return average_precision(self.hits)


def find(
    vectors: Tensor, query: Tensor, *, pids: np.ndarray, views: np.ndarray, who: tuple[int, int],
    top: int = 10,
) -> Found:  # fmt: skip
    """Rank (N, D) unit vectors by their cosine to `query` (D,), nearest first.

    Tracklets of the query's person *and* view, `who`, are left out, as in `retrieval.evaluate`
    (see `Tracklets.views`: the camera, or of a single camera the tracklet itself);
    equal distances keep their order. In float32, so that a step of a slider is quick; the scores
    of the run are `evaluate`'s, which are exact.
    """
    pid, view = who
    counts = np.flatnonzero((pids != pid) | (views != view))
    distances = (2 - 2 * (vectors @ query)).clamp(min=0).numpy()[counts]
    order = np.argsort(distances, kind="stable")
    matches = (pids[counts] == pid) & (pid != DISTRACTOR)
    hits = np.flatnonzero(matches[order]) + 1
    first = order[:top]
    found = Found(counts[first], distances[first], matches[first], hits)
    if not len(hits):
        return found
    match = order[hits[0] - 1]
    return found._replace(first_row=int(counts[match]), first_distance=float(distances[match]))
