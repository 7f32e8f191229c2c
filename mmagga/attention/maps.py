"""Weights to heatmaps: what GGA weighs, and what every token adds to a similarity.

A token is one part of one frame, a band across the image as far as MMA kept to its stripes; the
"global" branch has one token a frame. After the attention the head is linear (weighted sum, BNNeck,
cosine), so a similarity is exactly the sum of one number per token and a constant.

Shape letters: B clips, T frames, P parts of a granularity (1 for "global"), D width of a branch,
h w feature map. Branches come in the order of the head: global, p3, p1, p2.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.data.clips import dense_clips
from mmagga.model.head import Head, check_map
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Attention, Tokens


class Look(NamedTuple):
    """One forward pass of the head, step by step; nothing in it needs the network again."""

    tokens: Tokens
    attention: Attention
    feature: Tensor
    """(B, branches·D), before the BNNeck."""
    embedding: Tensor
    """(B, branches·D), after it; not normalised."""


@torch.inference_mode()
def look(model: ClipModel, clips: Tensor) -> Look:
    """Look at normalised clips (B, T, 3, H, W) with a network in evaluation mode.

    Raises:
        ValueError: the network has no attention (the baseline), or is in training mode.
    """
    require_attention(model)
    return look_at_maps(model.head, model.maps(clips))


@torch.inference_mode()
def look_at_maps(head: Head, maps: Tensor) -> Look:
    """Do the same, starting from the feature maps (B, T, C, h, w), which cost the most."""
    with torch.autocast(maps.device.type, enabled=False):  # as in the head's own forward
        return look_at_tokens(head, head.tokens(maps.to(head.bnneck.weight.dtype)))


@torch.inference_mode()
def look_at_tokens(head: Head, tokens: Tokens, attention: Attention | None = None) -> Look:
    """Do the same, starting from the tokens, with the head's own weights or with `attention`."""
    attention = head.attend(tokens) if attention is None else attention
    feature = head.aggregate(tokens, attention)
    return Look(tokens, attention, feature, head.bnneck(feature))


def require_attention(model: nn.Module) -> None:
    """Raise ValueError unless a network has attention and is in evaluation mode."""
    if not isinstance(getattr(model, "head", None), Head):
        raise ValueError(
            f"{type(model).__name__} has no attention: it averages all frames. "
            "Pass an MMAGGA network."
        )
    if any(module.training for module in model.modules()):
        raise ValueError("the network is in training mode: call model.eval() before looking at it")


def repeats(length: int, frames: int) -> Tensor:
    """Mark the frames of a tracklet's dense clips that only repeat others: (clips, T) bool.

    The last clip of a tracklet of `length` frames is filled up cyclically; no picture should take
    the weights of these frames for those of different ones.
    """
    clips = dense_clips(length, frames)
    return torch.tensor([[i in clip[:k] for k, i in enumerate(clip)] for clip in clips])


# --- from tokens to the image -------------------------------------------------------------------


def projection(head: Head, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return where in a feature map of `size` (h, w) each part is read from: (P, h, w), sum 1 each.

    P_g[k, c] = |M_g[k, c]| / Σ_c |M_g[k, c]| for the cells c of the MMA matrix M_g, spread evenly
    over a cell's positions: nothing here is finer than what the network resolves. "global" is
    uniform. That a part is read from a place does not mean that it saw nothing else, see
    `matrices.locality`.

    Raises:
        ValueError: the map cannot be cut into the cells.
    """
    check_map(*size, head.grids)
    shares = {"global": head.bnneck.weight.new_ones(1, 1)}
    shares |= {name: F.normalize(mma.matrix.detach().abs(), p=1) for name, mma in head.mma.items()}
    return {name: _spread(shares[name], grid, size) for name, grid in head.grids.items()}


def _spread(shares: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Spread shares (P, cells) over a map's positions: (P, h, w)."""
    down, across = size[0] // grid[0], size[1] // grid[1]
    cells = shares.unflatten(1, grid) / (down * across)  # (P, rows, columns)
    return cells.repeat_interleave(down, 1).repeat_interleave(across, 2)  # (P, h, w)


def project(values: dict[str, Tensor], head: Head, size: tuple[int, int]) -> dict[str, Tensor]:
    """Bring the tokens' values (B, T, P) to the image: (B, T, h, w), A(t, c) = Σ_k a(t, k) P[k, c].

    Mass is conserved: the sum over a frame's positions is the sum over its tokens.
    """
    places = projection(head, size)
    return {name: torch.einsum("btk,khw->bthw", v, places[name]) for name, v in values.items()}


def weights(attention: Attention) -> dict[str, Tensor]:
    """Return the weights of all branches in one form: (B, T, P), "global" (B, T, 1)."""
    return {"global": attention.frames.unsqueeze(2), **attention.parts}


def relative(attention: Attention) -> dict[str, Tensor]:
    """Return weight times number of tokens, (B, T, P) for each branch: 1 is uniform."""
    return {name: w * w[0].numel() for name, w in weights(attention).items()}


def relative_maps(attention: Attention, head: Head, size: tuple[int, int]) -> dict[str, Tensor]:
    """Draw weights relative to uniform ones: (B, T, h, w), 1 is uniform.

    The mass that the weights put on a position over the mass that uniform weights would put there,
    Σ_k r(t, k) P[k, c] / Σ_k P[k, c] with r from `relative`. Where the parts partition the image
    (stripes) this is T·h·w times the projected mass. Elsewhere a learned MMA matrix reads some
    cells more than others whatever the weights are; divided out, that cannot pass for attention:
    uniform weights are 1 everywhere, and no position leaves the range of the weights.
    A position that no part reads is NaN.
    """
    places = projection(head, size)
    mass = project(relative(attention), head, size)
    return {name: values / places[name].sum(0) for name, values in mass.items()}


# --- what carries a similarity ------------------------------------------------------------------


class Contribution(NamedTuple):
    """A similarity taken apart: `similarity` = Σ over branches, frames and parts + `constant`."""

    parts: dict[str, Tensor]
    """(B, T, P) for each branch, "global" (B, T, 1), in units of the similarity."""
    constant: Tensor
    """(B,): what the BNNeck's offset adds, whatever the clip shows."""
    similarity: Tensor
    """(B,): the cosine, computed from the embedding, not from the sum."""


@torch.inference_mode()
def contributions(
    look: Look, gallery: Tensor, head: Head, *, centred: bool = False
) -> Contribution:
    """Take the similarity of each clip to `gallery` apart, exactly.

    With f the embedding, x_i a token, a_i its weight, s and o the scale and offset that the BNNeck
    amounts to, and g the part of `gallery` that belongs to the token's branch:
    c_i = a_i·⟨s∘x_i, g⟩ / |f| and constant = ⟨o, gallery⟩ / |f|. Source: ours.

    There the constant is large and negative and makes up for what all persons share. `centred`
    takes the BNNeck's running mean μ from every token instead, c_i = a_i·⟨s∘(x_i - μ), g⟩ / |f|:
    as exact, because a branch's weights sum to 1, and an average token then adds nothing; the
    constant that is left is the BNNeck's bias, which is 0 unless it was changed.

    Args:
        look: of the clips.
        gallery: (branches·D,) or (B, branches·D), unit vectors. The difference of two, right
            person minus wrong one, takes their margin apart.
        head: the network's, in evaluation mode.
        centred: take the average out of the tokens.
    """
    dots = _dots(look, gallery.expand_as(look.embedding), head, centred)
    return _divide(*dots, look.embedding.norm(dim=1))


@torch.inference_mode()
def tracklet_contributions(
    looks: Sequence[Look], gallery: Tensor, head: Head, *, centred: bool = False
) -> Contribution:
    """Take the similarity of a whole tracklet apart, whose embedding is its clips' mean.

    Args:
        looks: of all dense clips of one tracklet, in one or more batches.
        gallery: (branches·D,) unit vector, or a difference of two.
        head: the network's, in evaluation mode.
        centred: take the average out of the tokens, see `contributions`.

    Returns:
        One similarity: parts (clips, T, P), constant and similarity of shape (1,).
    """
    batches = [_dots(look, gallery.expand_as(look.embedding), head, centred) for look in looks]
    parts = {name: torch.cat([dots[name] for dots, _, _ in batches]) for name in head.grids}
    constant = torch.cat([batch[1] for batch in batches]).sum(0, keepdim=True)  # (1,)
    similarity = torch.cat([batch[2] for batch in batches]).sum(0, keepdim=True)  # (1,)
    length = torch.cat([look.embedding for look in looks]).sum(0).norm()  # ()
    return _divide(parts, constant, similarity, length.unsqueeze(0))


def _dots(
    look: Look, gallery: Tensor, head: Head, centred: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return every token's, the constant's and the embedding's product with gallery (B, ·)."""
    neck, branches = head.bnneck, len(head.grids)
    scale = neck.weight * (neck.running_var + neck.eps).rsqrt()  # (branches·D,)
    shift = neck.running_mean if centred else torch.zeros_like(neck.running_mean)
    constant = gallery @ (neck.bias - (neck.running_mean - shift) * scale)  # (B,)
    aims = (gallery * scale).chunk(branches, 1)  # (B, D) each
    tokens = {"global": look.tokens.frames.unsqueeze(2), **look.tokens.parts}  # (B, T, P, D)
    shared = weights(look.attention)  # (B, T, P) each
    dots = {
        name: shared[name] * torch.einsum("btkd,bd->btk", tokens[name] - mean, aim)
        for name, aim, mean in zip(head.grids, aims, shift.chunk(branches), strict=True)
    }
    return dots, constant, (gallery * look.embedding).sum(1)


def _divide(
    dots: dict[str, Tensor], constant: Tensor, product: Tensor, length: Tensor
) -> Contribution:
    parts = {name: values / length.view(-1, 1, 1) for name, values in dots.items()}
    return Contribution(parts, constant / length, product / length)


def heatmaps(
    model: ClipModel,
    clips: Tensor,
    kind: Literal["weight", "contribution"] = "weight",
    gallery: Tensor | None = None,
    *,
    centred: bool = False,
) -> dict[str, Tensor]:
    """Return one map a frame and branch: (B, T, h, w), on the grid of the feature map.

    Args:
        model: in evaluation mode.
        clips: (B, T, 3, H, W), normalised.
        kind: "weight", relative to uniform weights, see `relative_maps`; or "contribution" to the
            similarity with `gallery`: the sum over all branches, frames and positions, and a
            constant, is the cosine, see `contributions`.
        gallery: (branches·D,) or (B, branches·D), unit vectors.
        centred: take the average out of the tokens before, see `contributions`.

    Raises:
        ValueError: an unknown kind, no `gallery` where one is needed, no attention, or training
            mode.
    """
    if kind not in ("weight", "contribution"):
        raise ValueError(f'kind is "weight" or "contribution", not {kind!r}')
    if kind == "contribution" and gallery is None:
        raise ValueError('a "contribution" is to a similarity with `gallery`: give `gallery`')
    with torch.inference_mode():
        require_attention(model)
        maps = model.maps(clips)
        seen, size = look_at_maps(model.head, maps), tuple(maps.shape[-2:])
        if kind == "weight":
            return relative_maps(seen.attention, model.head, size)
        found = contributions(seen, gallery, model.head, centred=centred)
        return project(found.parts, model.head, size)


# --- numbers that describe attention ------------------------------------------------------------


class Statistics(NamedTuple):
    """How uneven weights are, one value per clip."""

    entropy: Tensor
    """(B,): H / ln N; 1 is uniform."""
    effective: Tensor
    """(B,): exp(H) / N, the share of tokens that uniform weights of this entropy would use."""
    ratio: Tensor
    """(B,): R, largest over smallest weight."""
    variation: Tensor
    """(B,): total variation distance to uniform weights, 0 to 1."""


class Bounds(NamedTuple):
    """What GGA can reach at all, scores being cosines in [0, 1]."""

    low: float
    """Smallest weight times N: one token scores 0, the others 1."""
    high: float
    """Largest weight times N: one token scores 1, the others 0."""
    ratio: float
    """Largest R: e at temperature 1."""
    entropy: float
    """Smallest H / ln N."""
    effective: float
    """Smallest exp(H) / N."""


def statistics(weights: Tensor) -> Statistics:
    """Describe weights (B, T, P) or (B, N), each clip's summing to 1."""
    w = weights.flatten(1)  # (B, N)
    n = w.shape[1]
    entropy = torch.special.entr(w).sum(1)  # (B,)
    return Statistics(
        entropy / math.log(n),
        entropy.exp() / n,
        w.amax(1) / w.amin(1),
        (w - 1 / n).abs().sum(1) / 2,
    )


def map_statistics(attention: Attention) -> dict[str, Statistics]:
    """Describe the weights of each branch; `bounds` says what the parts' can reach."""
    return {name: statistics(w) for name, w in weights(attention).items()}


def bounds(tokens: int, temperature: float = 1.0) -> Bounds:
    """Bound the GGA weights of `tokens` = N = T·P tokens; the frames' weights have no bounds.

    A weight is largest or smallest, and the entropy smallest, where every score is 0 or 1, so it
    is enough to try how many are 1.
    """
    most = math.exp(1 / temperature)
    ones = torch.arange(1, tokens, dtype=torch.float64)
    total = ones * most + tokens - ones  # (N - 1,)
    # H = ln Z - mean score/τ of a softmax; the scores are 0 and 1.
    least = float((total.log() - ones * most / total / temperature).min())
    return Bounds(
        low=tokens / (1 + (tokens - 1) * most),
        high=tokens * most / (most + tokens - 1),
        ratio=most,
        entropy=least / math.log(tokens),
        effective=math.exp(least) / tokens,
    )
