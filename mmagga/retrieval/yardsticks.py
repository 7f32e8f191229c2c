"""What a network must beat: an embedding that learns nothing."""

import numpy as np
import torch

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets
from mmagga.retrieval import Embeddings


def colour_histograms(
    tracklets: Tracklets, size: tuple[int, int], *, stripes: int = 6, levels: int = 8
) -> tuple[Embeddings, Embeddings]:
    """Embed query and gallery tracklets by colour histograms of horizontal stripes.

    Of each frame of `size` (H, W) the middle half of the width counts, where the person is, after
    each channel is scaled to the same mean (grey world), which takes out most of a camera's cast.
    Each stripe has a joint RGB histogram of levels³ bins. Histograms are averaged over the frames,
    and their root has length 1, so that distances are Hellinger's. Source: ours, a plain form of
    what re-identification used before networks.
    """
    return tuple(  # type: ignore[return-value]
        _embed(tracklets.split(name), size, stripes, levels) for name in ("query", "gallery")
    )


def _embed(tracklets: Tracklets, size: tuple[int, int], stripes: int, levels: int) -> Embeddings:
    store, bins, (h, w) = open_frames(tracklets, size), levels**3, size
    stripe = np.arange(h)[:, None] * stripes // h * bins  # (H, 1) where its stripe's bins begin
    vectors = np.zeros((len(tracklets), stripes * bins), np.float32)
    for row, length in enumerate(tracklets.lengths):
        for position in range(length):
            frame = store.read(row, [position])[0].astype(np.float32)  # (H, W, 3)
            frame *= 110 / frame.mean((0, 1)).clip(1)  # 110: a usual mean of photographs
            level = frame[:, w // 4 : -(w // 4)].clip(0, 255).astype(np.int64) * levels // 256
            index = stripe + (level @ [levels**2, levels, 1])  # (H, W/2)
            vectors[row] += np.bincount(index.ravel(), minlength=stripes * bins)
    roots = torch.nn.functional.normalize(torch.from_numpy(vectors).sqrt())
    return Embeddings(roots, torch.tensor(tracklets.pids), torch.tensor(tracklets.camids))
