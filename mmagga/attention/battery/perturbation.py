"""Erasure of tokens and deletion of pixels, scored by the change of the margin.

The score is a margin, the cosine to the right person's mean vector minus the largest cosine to
another's, because a similarity alone may fall although the rank does not.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from scipy.stats import kendalltau
from torch import Tensor

from mmagga.attention.battery.observe import one_clip
from mmagga.attention.maps import contributions, look, project, relative_maps, weights
from mmagga.attention.swaps import swapped
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel

RANDOM_ORDERS = 20
ERASED = np.arange(1, 8) / 8
"""Shares of a clip's tokens that are erased."""
GRID = (8, 4)
"""Blocks of a frame that pixels are deleted by: 32 x 32 pixels at 256 x 128."""
DELETED = (0.25, 0.5, 0.75)
"""Shares of a clip's blocks that are deleted."""


class Aim(NamedTuple):
    """What a clip should match."""

    right: Tensor
    """(D,) unit: the mean of the same person's vectors."""
    gallery: Tensor
    """(G, D) units."""
    rivals: Tensor | slice = slice(None)
    """Rows of the gallery: other persons'."""

    def to(self, device: torch.device) -> "Aim":
        """Return the same, with no more of the gallery than the rivals, on a device."""
        return Aim(self.right.to(device), self.gallery[self.rivals].to(device))

    def margin(self, embeddings: Tensor) -> Tensor:
        """Return the margin of embeddings (K, D): (K,)."""
        units = F.normalize(embeddings)
        return units @ self.right - (units @ self.gallery[self.rivals].T).amax(1)


# --- tokens -------------------------------------------------------------------------------------


@torch.inference_mode()
def erasure(
    model: ClipModel, clip: np.ndarray, aim: Aim, generator: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Erase the heaviest tokens of each branch and renormalise (Serrano and Smith 2019).

    Args:
        model: in evaluation mode.
        clip: (T, H, W, 3) uint8.
        aim: what the margin is measured by.
        generator: for the random orders.

    Returns:
        For each branch the mean loss of margin over `ERASED` minus that of random orders, where
        tokens go by weight ("weight"), contribution ("contribution"), or by the loss that each
        alone causes ("alone", about the ceiling); and "tau", Kendall's correlation of weight and
        that loss.
    """
    seen = look(model, one_clip(model, clip))
    tokens = {"global": seen.tokens.frames.unsqueeze(2), **seen.tokens.parts}
    by_branch = weights(seen.attention)
    parts = contributions(seen, aim.right, model.head).parts
    found = {}
    for i, name in enumerate(model.head.grids):
        weight = by_branch[name].flatten()  # (N,)
        loss = _loss_of_margin(model.head, seen.feature, i, tokens[name][0].flatten(0, 1), aim=aim)
        found[name] = _erase(weight, parts[name].flatten(), loss, generator)
    return found


def _loss_of_margin(
    head: Head, feature: Tensor, branch: int, tokens: Tensor, *, aim: Aim
) -> Callable[[Tensor], np.ndarray]:
    """Return the function from one branch's weights (K, N) to the losses of margin (K,)."""
    width = tokens.shape[1]
    place = slice(branch * width, (branch + 1) * width)
    whole = aim.margin(head.bnneck(feature))

    def loss(weights: Tensor) -> np.ndarray:
        features = feature.repeat(len(weights), 1)  # (K, branches·D)
        features[:, place] = weights @ tokens  # (K, D)
        return (whole - aim.margin(head.bnneck(features))).double().cpu().numpy()

    return loss


def _erase(
    weight: Tensor,
    contribution: Tensor,
    loss: Callable[[Tensor], np.ndarray],
    generator: np.random.Generator,
) -> dict[str, float]:
    n = len(weight)
    alone = loss(_kept(weight, np.arange(n)[:, None]))  # (N,)
    ways = {
        "weight": weight.double().cpu().numpy(),
        "contribution": contribution.double().cpu().numpy(),
        "alone": alone,
    }
    orders = [np.argsort(-value, kind="stable") for value in ways.values()]
    orders += [generator.permutation(n) for _ in range(RANDOM_ORDERS)]
    counts = np.unique((ERASED * n).round().astype(int).clip(1, n - 1))
    curves = np.stack(
        [loss(_kept(weight, np.stack([order[:m] for order in orders]))) for m in counts]
    )
    area = curves.mean(0)  # (orders,)
    random = area[len(ways) :].mean()
    # Equal weights, or equal losses, have no order to agree on.
    ordered = np.ptp(ways["weight"]) and np.ptp(alone)
    tau = kendalltau(ways["weight"], alone).statistic if ordered else 0.0
    return {name: float(a - random) for name, a in zip(ways, area)} | {"tau": float(tau)}


def _kept(weight: Tensor, erased: np.ndarray) -> Tensor:
    """Set the `erased` (K, m) tokens of weights (N,) to 0 and renormalise: (K, N)."""
    weights = weight.repeat(len(erased), 1)  # (K, N)
    weights.scatter_(1, torch.from_numpy(erased).to(weight.device), 0)
    return weights / weights.sum(1, keepdim=True)


# --- pixels -------------------------------------------------------------------------------------


@torch.inference_mode()
def deletion(
    model: ClipModel,
    clip: np.ndarray,
    aim: Aim,
    *,
    generator: np.random.Generator,
    fills: tuple[str, ...] = ("neighbour", "mean", "road"),
    batch: int = 32,
) -> dict[tuple[str, str], float]:
    """Delete a clip's blocks by map, most and least relevant first; (LeRF - MoRF) / 2 of margins.

    A block is filled with the same block of the nearest frame that still has it ("neighbour",
    which looks natural in a video), with the mean colour ("mean"), or by noisy linear imputation
    from around it ("road", Rong 2022). Maps of bands score well for being blocky, so each branch
    is compared with its own weights shuffled among its tokens.

    Returns:
        For (branch, fill) what the branch's weights score more than the shuffled ones; for
        ("contribution", fill) the score of the sum of all contributions, as it is.
    """
    clips = one_clip(model, clip)
    maps = _block_maps(model, clips, aim, generator)
    covers = [cover for values in maps.values() for cover in _covers(values, generator)]
    found = {}
    for fill in fills:
        filled = (_fill(clips[0], cover, fill, generator) for cover in covers)
        margins = _margins(model, filled, aim, batch).reshape(len(maps), 2, len(DELETED))
        combined = dict(zip(maps, (margins[:, 1] - margins[:, 0]).mean(1) / 2))
        for name in model.head.grids:
            found[name, fill] = float(combined[name] - combined[f"{name} shuffled"])
        found["contribution", fill] = float(combined["contribution"])
    return found


def _block_maps(
    model: ClipModel, clips: Tensor, aim: Aim, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the maps to delete by: (T, rows, columns) each."""
    seen = look(model, clips)
    size = tuple(model.maps(clips).shape[-2:])
    shuffled = swapped(
        seen.attention, "permuted", generator=generator, branches=list(model.head.grids)
    )
    maps = relative_maps(seen.attention, model.head, size)
    control = relative_maps(shuffled, model.head, size)
    maps |= {f"{name} shuffled": values for name, values in control.items()}
    parts = contributions(seen, aim.right, model.head).parts
    maps["contribution"] = sum(project(parts, model.head, size).values())
    return {
        name: F.adaptive_avg_pool2d(values[0], GRID).double().cpu().numpy()
        for name, values in maps.items()
    }


def _covers(values: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Mark the most relevant blocks, then the least relevant ones, for each of `DELETED`."""
    ties = generator.permutation(values.size)
    covers = []
    for sign in (-1, 1):
        order = np.lexsort((ties, sign * values.ravel()))
        for share in DELETED:
            cover = np.zeros(values.size, bool)
            cover[order[: round(share * values.size)]] = True
            covers.append(cover.reshape(values.shape))
    return covers


def _fill(frames: Tensor, cover: np.ndarray, fill: str, generator: np.random.Generator) -> Tensor:
    """Fill covered blocks (T, rows, columns) of normalised frames (T, 3, H, W)."""
    rows, columns = (np.arange(n) * k // n for n, k in zip(frames.shape[2:], GRID))
    pixels = torch.from_numpy(cover[:, rows][:, :, columns]).to(frames.device)
    pixels = pixels.unsqueeze(1)  # (T, 1, H, W)
    if fill == "mean":
        return frames.masked_fill(pixels, 0)  # normalised, the mean colour is 0
    if fill == "road":
        return torch.stack([_impute(f, p[0], generator) for f, p in zip(frames, pixels)])
    if fill != "neighbour":
        raise ValueError(f'fill is "neighbour", "mean" or "road", not {fill!r}')
    out = frames.masked_fill(pixels, 0)
    for t in range(len(frames)):
        left = pixels[t]
        for s in sorted(range(len(frames)), key=lambda s: (abs(s - t), s)):
            out[t] = torch.where(left & ~pixels[s], frames[s], out[t])
            left = left & pixels[s]
    return out


def _impute(frame: Tensor, covered: Tensor, generator: np.random.Generator) -> Tensor:
    """Set covered pixels (H, W) to the mean of their eight neighbours, solved at once, and noise.

    Direct neighbours count 1/6, diagonal ones 1/12, as in ROAD's code; the noise has sd 0.01.
    """
    hole = covered.cpu().numpy()
    if not hole.any():
        return frame
    values = frame.double().cpu().numpy()
    (h, w), n = hole.shape, int(hole.sum())
    number = np.full((h + 2, w + 2), -1)
    number[1:-1, 1:-1][hole] = np.arange(n)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))  # (3, H + 2, W + 2)
    inside = np.pad(np.ones((h, w)), 1)
    y, x = np.nonzero(hole)  # (n,) each
    total, right, entries = np.zeros(n), np.zeros((n, 3)), []
    for dy, dx in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
        at = y + 1 + dy, x + 1 + dx
        weight = inside[at] / (12 if dy and dx else 6)
        other = number[at]
        total += weight
        right += np.where(other < 0, weight, 0)[:, None] * padded[:, at[0], at[1]].T
        linked = other >= 0
        entries.append((np.flatnonzero(linked), other[linked], -weight[linked]))
    entries.append((np.arange(n), np.arange(n), total))
    rows, columns, data = (np.concatenate(part) for part in zip(*entries))
    # A frame that is covered as a whole has nothing to go by: the mean colour, then.
    solution = splu(coo_array((data, (rows, columns))).tocsc()).solve(right) if n < h * w else right
    values[:, hole] = (solution + 0.01 * generator.standard_normal((n, 3))).T
    return torch.from_numpy(values).to(frame)


def _margins(model: ClipModel, clips: Iterator[Tensor], aim: Aim, batch: int) -> np.ndarray:
    margins = []
    while some := list(islice(clips, batch)):
        margins.append(aim.margin(model(torch.stack(some)).embedding))  # (batch,) at most
    return torch.cat(margins).double().cpu().numpy()
