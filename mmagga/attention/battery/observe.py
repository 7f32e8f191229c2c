"""One condition, all clips: what the network weighed, and where it put them, under every swap.

Frames and tokens go by in batches; what stays is one weight a token and, for each swap, one vector
a clip.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmagga.attention.battery.clips import Condition, Sample
from mmagga.attention.battery.occluders import band_shares, token_shares
from mmagga.attention.maps import contributions, look_at_tokens, weights
from mmagga.attention.swaps import How, embedding, swapped
from mmagga.data.augment import network_input
from mmagga.data.masks import HEAD, LABELS, OCCLUDER
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Attention, Tokens, tree_cat, tree_map
from mmagga.randomness import seed_torch

Attend = Callable[[Tokens], Attention]
ByBranch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Swap:
    """Weights to try instead of the network's: see `swaps.swapped`; the default keeps them."""

    how: How | None = None
    branch: str = "parts"
    """A branch, "parts" for all granularities, or "all" for these and the frames."""
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """How result tables call it."""
        if self.how is None:
            return "gga"
        sharp = f" {self.temperature:g}" if self.how == "temperature" else ""
        return f"{self.how}{sharp}"

    def __call__(
        self,
        attention: Attention,
        hidden: Mapping[str, Tensor] | None,
        generators: Sequence[np.random.Generator],
    ) -> Attention:
        """Give the other weights; an oracle that is told nothing keeps the network's."""
        if self.how is None or (self.how == "oracle" and hidden is None):
            return attention
        names = {"parts": [*attention.parts], "all": ["global", *attention.parts]}
        return swapped(
            attention,
            self.how,
            temperature=self.temperature,
            occluded=hidden,
            generator=generators,
            branches=names.get(self.branch, [self.branch]),
        )


class Observation(NamedTuple):
    """All clips under one condition; arrays of tokens are (Q, T, P) for each branch."""

    weights: ByBranch
    others: dict[str, ByBranch]
    """Weights that other attentions give the same tokens, by name."""
    pasted: ByBranch
    """Share of a token's nominal band that was pasted over."""
    covered: ByBranch
    """The same of the cells that MMA reads for it."""
    behind: ByBranch
    """Share of its nominal band that anything hides, pasted or filmed."""
    hidden: ByBranch
    """The same of the cells that MMA reads for it."""
    labels: dict[str, ByBranch]
    """Share of each of `LABELS` that is still in sight; empty without masks."""
    contributions: ByBranch
    """To the cosine with `aims`; empty without."""
    vectors: dict[Swap, Tensor]
    """(Q, D) unit vectors."""
    area: float
    """Mean share of the frames that was pasted over."""

    @property
    def visible(self) -> ByBranch:
        """Share of a token's cells that shows the person."""
        parts = [LABELS[label] for label in LABELS if label >= HEAD]
        return {
            name: sum(self.labels[part][name] for part in parts)
            for name in (self.weights if self.labels else ())
        }


@torch.inference_mode()
def observe(
    model: ClipModel,
    sample: Sample,
    condition: Condition,
    *,
    swaps: Sequence[Swap] = (),
    others: Mapping[str, Attend] | None = None,
    aims: Tensor | None = None,
    oracle: bool = True,
    clean: Tokens | None = None,
    batch: int = 32,
) -> Observation:
    """Show the sample to a network in evaluation mode.

    Args:
        model: with an attention head.
        sample: the clips.
        condition: how they are shown.
        swaps: weights to embed the clips with.
        others: other attentions to ask for weights.
        aims: (Q, D) unit vectors that the tokens' contributions are to.
        oracle: whether the oracle swap is told what is hidden, else it keeps the weights.
        clean: the clips' tokens as they are, see `clean_tokens`: then only frames that something
            is pasted on go through the network.
        batch: clips a forward pass.
    """
    pieces = [
        _observe(model, sample, condition, rows, swaps, others or {}, aims, oracle, clean)
        for rows in _batches(len(sample), batch)
    ]
    found = tree_map(_join, *pieces)
    return found._replace(area=float(found.area.mean()))


def _batches(count: int, batch: int) -> Iterator[range]:
    return (range(start, min(start + batch, count)) for start in range(0, count, batch))


def _observe(
    model: ClipModel,
    sample: Sample,
    condition: Condition,
    rows: range,
    swaps: Sequence[Swap],
    others: Mapping[str, Attend],
    aims: Tensor | None,
    oracle: bool,
    clean: Tokens | None,
) -> Observation:
    """Show some clips; the area is still one number a clip."""
    head, device = model.head, model.head.bnneck.weight.device
    shown = [sample.show(row, condition) for row in rows]
    clips = np.stack([clip for clip, _ in shown])
    pasted = np.stack([mask for _, mask in shown])
    labels = np.stack([sample.labels(row) for row in rows]) if sample.has_masks else None
    hidden = pasted if labels is None else pasted | (labels == OCCLUDER)
    if clean is None:
        tokens = _tokens(model, clips)
    else:
        before = tree_map(lambda values: values[rows.start : rows.stop].to(device), clean)
        tokens = _replaced(model, before, clips, pasted.any((2, 3)))
    attention = head.attend(tokens)
    shares = token_shares(hidden, head)
    vectors = {}
    for swap in swaps:
        generators = [sample.generator(row, "permuted") for row in rows]
        other = swap(attention, shares if oracle else None, generators)
        vectors[swap] = embedding(head, tokens, other).cpu()
    parts: ByBranch = {}
    if aims is not None:
        seen = look_at_tokens(head, tokens, attention)
        aim = aims[rows.start : rows.stop].to(device)
        parts = _arrays(contributions(seen, aim, head).parts)
    return Observation(
        weights=_arrays(weights(attention)),
        others={name: _arrays(weights(attend(tokens))) for name, attend in others.items()},
        pasted=_arrays(band_shares(pasted, head)),
        covered=_arrays(token_shares(pasted, head)),
        behind=_arrays(band_shares(hidden, head)),
        hidden=_arrays(shares),
        labels={} if labels is None else _label_shares(labels, hidden, head),
        contributions=parts,
        vectors=vectors,
        area=pasted.mean((1, 2, 3)),
    )


@torch.inference_mode()
def clean_tokens(model: ClipModel, sample: Sample, batch: int = 32) -> Tokens:
    """Embed all clips as they are, up to the tokens, on the CPU: (Q, T, D) and (Q, T, P, D)."""
    pieces = [
        tree_map(Tensor.cpu, _tokens(model, np.stack([sample.clip(row) for row in rows])))
        for rows in _batches(len(sample), batch)
    ]
    return tree_cat(pieces)


def _tokens(model: ClipModel, clips: np.ndarray) -> Tokens:
    """Turn bytes (B, T, H, W, 3) into tokens."""
    device, dtype = model.head.bnneck.weight.device, model.head.bnneck.weight.dtype
    return model.head.tokens(model.maps(network_input(clips, device)).to(dtype))


def _replaced(model: ClipModel, tokens: Tokens, clips: np.ndarray, which: np.ndarray) -> Tokens:
    """Replace the tokens of some frames (B, T) bool: a frame's tokens depend on it alone."""
    frames = clips[which]  # (n, H, W, 3)
    if not len(frames):
        return tokens
    short = -len(frames) % model.head.frames  # the head reads T frames at once, whichever they are
    frames = np.concatenate([frames, np.repeat(frames[:1], short, axis=0)])
    new = _tokens(model, frames.reshape(-1, model.head.frames, *frames.shape[1:]))
    place = torch.from_numpy(which).to(tokens.frames.device)

    def replaced(old: Tensor, new: Tensor) -> Tensor:
        old = old.clone()
        old[place] = new.flatten(0, 1)[: int(which.sum())]
        return old

    return tree_map(replaced, tokens, new)


def _label_shares(labels: np.ndarray, hidden: np.ndarray, head: Head) -> dict[str, ByBranch]:
    """Say how much of each token still shows each of `LABELS`."""
    left = np.where(hidden, OCCLUDER, labels)
    return {name: _arrays(token_shares(left == label, head)) for label, name in LABELS.items()}


def _arrays(values: Mapping[str, Tensor]) -> ByBranch:
    return {name: value.double().cpu().numpy() for name, value in values.items()}


def _join(*pieces: np.ndarray | Tensor) -> np.ndarray | Tensor:
    return torch.cat(pieces) if isinstance(pieces[0], Tensor) else np.concatenate(pieces)


def random_layers(head: Head, seed: int) -> Attend:
    """Give the attention of a head whose scoring layers are new and random, A11's control.

    The granularities are scored by new layers with the old guide, the frames by a new layer. The
    backbone, MMA and the projections stay as they were trained.
    """
    parts, frames = copy.deepcopy(head), copy.deepcopy(head)
    with torch.random.fork_rng():
        seed_torch(seed, "random layers")
        for layers in (parts.part_score, frames.frame_score):
            for module in layers.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
    return lambda tokens: Attention(frames.attend(tokens).frames, parts.attend(tokens).parts)


def reversed_frames(head: Head, tokens: Tokens) -> Attention:
    """Weigh the tokens of the same frames in reverse order; the weights come in that order."""
    return head.attend(tree_map(lambda values: values.flip(1), tokens))
