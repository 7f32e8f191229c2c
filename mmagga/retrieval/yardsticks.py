"""Non-learned baselines that a network must beat, and the removal of camera means."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.retrieval.embedding import Embeddings

Pair = tuple[Embeddings, Embeddings]


def yardsticks(
    tracklets: Tracklets, size: tuple[int, int], packed: Path | None = None
) -> dict[str, Pair]:
    """Return query and gallery of each non-learned baseline, by name.

    "colour histogram", "thumbnail" and "camera-centred thumbnail", whose camera means come from
    the training people; a data set whose training split lacks a test camera has no third one.
    """
    query, gallery = tracklets.split("query"), tracklets.split("gallery")
    thumbnail = thumbnails(query, size, packed=packed), thumbnails(gallery, size, packed=packed)
    found = {
        "colour histogram": colour_histograms(tracklets, size, packed=packed),
        "thumbnail": thumbnail,
    }
    train = tracklets.split("train")
    if covers(train, *thumbnail):
        reference = thumbnails(train, size, packed=packed)
        centred = [camera_centred(side, reference) for side in thumbnail]
        found["camera-centred thumbnail"] = centred[0], centred[1]
    return found


def thumbnails(
    tracklets: Tracklets, size: tuple[int, int], *, packed: Path | None = None
) -> Embeddings:
    """Embed each tracklet by the mean of its frames' thumbnails: (N, 3 · 16 · 8).

    Each frame of `size` (H, W) is averaged over 16 rows of 8 boxes and scaled to length 1; so is
    the mean over the frames.
    """

    def thumbnail(frame: np.ndarray) -> Tensor:  # (H, W, 3)
        boxes = F.adaptive_avg_pool2d(torch.from_numpy(frame).permute(2, 0, 1).float(), (16, 8))
        return F.normalize(boxes.flatten(), dim=0)  # (3 · 16 · 8,)

    return _embeddings(F.normalize(_sums(tracklets, size, packed, thumbnail)), tracklets)


def colour_histograms(
    tracklets: Tracklets,
    size: tuple[int, int],
    *,
    packed: Path | None = None,
) -> Pair:
    """Embed query and gallery tracklets by colour histograms of horizontal stripes.

    Of each frame of `size` (H, W) the middle half of the width counts, where the person is, after
    each channel is scaled to the same mean (grey world), which takes out most of a camera's cast.
    Each of six stripes has a joint RGB histogram of 8³ bins. Histograms are averaged over the
    frames, and their root has length 1, so that distances are Hellinger's. Source: ours, a plain
    form of what re-identification used before networks.
    """
    stripes, levels = 6, 8
    bins, (h, w) = levels**3, size
    stripe = np.arange(h)[:, None] * stripes // h * bins  # (H, 1) where its stripe's bins begin

    def histogram(frame: np.ndarray) -> Tensor:  # (H, W, 3)
        frame = frame * (110 / frame.mean((0, 1), dtype=np.float32).clip(1))  # 110: a usual mean
        level = frame[:, w // 4 : -(w // 4)].clip(0, 255).astype(np.int64) * levels // 256
        index = stripe + (level @ [levels**2, levels, 1])  # (H, W/2)
        return torch.from_numpy(np.bincount(index.ravel(), minlength=stripes * bins)).float()

    def side(name: str) -> Embeddings:
        some = tracklets.split(name)
        return _embeddings(F.normalize(_sums(some, size, packed, histogram).sqrt()), some)

    return side("query"), side("gallery")


def camera_centred(embeddings: Embeddings, reference: Embeddings) -> Embeddings:
    """Subtract from each vector the mean of its camera in `reference`; scale it to length 1.

    `reference` holds the same model's vectors of other people, those of the training split. Passing
    the test set itself makes the result transductive: say so beside the score.

    Raises DataError where `reference` has no tracklet of a camera.
    """
    missing = np.setdiff1d(embeddings.camids, reference.camids)
    if len(missing):
        raise DataError(
            f"camera {missing[0]} has embeddings to centre, but no tracklet in the reference, "
            f"which has cameras {reference.camids.unique().tolist()}: use a reference of all "
            "cameras, or the test set itself, which makes the result transductive"
        )
    vectors = torch.tensor(np.asarray(embeddings.vectors))  # a copy
    others = torch.tensor(np.asarray(reference.vectors))
    for camera in embeddings.camids.unique():
        vectors[embeddings.camids == camera] -= others[reference.camids == camera].mean(0)
    return embeddings._replace(vectors=F.normalize(vectors))


def covers(train: Tracklets | Embeddings, *sides: Embeddings) -> bool:
    """Return whether training tracklets, or their embeddings, show every camera of the `sides`."""
    return all(np.isin(side.camids, train.camids).all() for side in sides)


def _sums(
    tracklets: Tracklets,
    size: tuple[int, int],
    packed: Path | None,
    describe: Callable[[np.ndarray], Tensor],
) -> Tensor:
    """Sum a description (D,) of each frame (H, W, 3) over the frames of each tracklet: (N, D)."""
    frames = open_frames(tracklets, size, packed)
    rows = []
    for row, length in enumerate(tracklets.lengths):
        total = describe(frames.read(row, [0])[0])
        for position in range(1, length):
            total += describe(frames.read(row, [position])[0])
        rows.append(total)
    if not rows:  # the gallery of a single camera's tracklets, which are all queries
        return torch.zeros(0, len(describe(np.zeros((*size, 3), np.uint8))))
    return torch.stack(rows)


def _embeddings(vectors: Tensor, tracklets: Tracklets) -> Embeddings:
    return Embeddings(vectors, torch.tensor(tracklets.pids), torch.tensor(tracklets.camids))
