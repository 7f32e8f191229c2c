"""One condition, all clips: what the network weighed, and where it put them, under every swap.

Frames and tokens are processed in batches; one weight per token is kept and, for each swap, one
vector per clip. Shape letters: Q clips, T frames, P parts of a granularity, D embedding.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmagga.attention.battery.clips import CLEAN, PLACEBOS, Condition, Sample
from mmagga.attention.battery.occluders import band_shares, token_shares
from mmagga.attention.maps import contributions, look_at_tokens, weights
from mmagga.attention.swaps import How, embedding, swapped
from mmagga.config import HardwareConfig
from mmagga.data.augment import network_input
from mmagga.data.masks import LABELS, OCCLUDER
from mmagga.model.fast import for_embedding
from mmagga.model.head import Head, weighted_sum
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Attention, Tokens, tree_cat, tree_map
from mmagga.randomness import seed_torch
from mmagga.system.device import autocast

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
        sharp = f" {self.temperature:g}" if self.temperature != 1 else ""
        return f"{self.how}{sharp}"

    def __call__(
        self,
        attention: Attention,
        covered: Mapping[str, Tensor],
        generators: Sequence[np.random.Generator],
    ) -> Attention:
        """Return the other weights; `covered` is what an oracle is told."""
        if self.how is None:
            return attention
        names = {"parts": [*attention.parts], "all": ["global", *attention.parts]}
        return swapped(
            attention,
            self.how,
            temperature=self.temperature,
            occluded=covered,
            generator=generators,
            branches=names.get(self.branch, [self.branch]),
        )


@dataclass(frozen=True)
class Request:
    """What to note of every clip besides the weights."""

    swaps: Sequence[Swap] = ()
    """Weights to embed the clips with."""
    attentions: Mapping[str, Attend] = field(default_factory=dict)
    """Other attentions to ask for weights, by name."""
    aims: Tensor | None = None
    """(Q, D) unit vectors that the tokens' contributions are to."""
    clean: Tokens | None = None
    """The clips' tokens as they are, see `clean_tokens`: then only frames that something is before
    go through the network, and clean weights and clean contents are tried on their own."""
    batch: int = 32
    """Clips a forward pass."""


class Observation(NamedTuple):
    """All clips under one condition; arrays of tokens are (Q, T, P) for each branch."""

    weights: ByBranch
    attentions: dict[str, ByBranch]
    """Weights that other attentions give the same tokens, by name."""
    covered: ByBranch
    """Share that an occluder covers of what a token reads through its MMA matrix."""
    bands: ByBranch
    """The same of its nominal band."""
    labels: dict[str, ByBranch]
    """Share of each of `LABELS` in what a token reads; empty without masks."""
    contributions: ByBranch
    """To the cosine with the aims; empty without."""
    vectors: dict[Swap, Tensor]
    """(Q, D) unit vectors."""
    patched: dict[str, Tensor]
    """(Q, D) unit vectors: "weights" of the clean clip on the contents of this one, and "content"
    of the clean clip under the weights of this one; empty without clean tokens."""
    area: float
    """Mean share of the frames that is covered."""


class Mixed(nn.Module):
    """A backbone that computes in the precision of `hardware` and returns float32."""

    def __init__(self, backbone: nn.Module, hardware: HardwareConfig) -> None:
        super().__init__()
        self.backbone, self.hardware = backbone, hardware

    def forward(self, frames: Tensor) -> Tensor:
        """Turn frames (N, 3, H, W) into maps (N, C, h, w)."""
        with autocast(self.hardware, frames.device):
            return self.backbone(frames).float()


def fast(model: ClipModel, hardware: HardwareConfig) -> ClipModel:
    """Copy a network into the form that evaluation embeds with, for all that asks for its maps."""
    device = model.head.bnneck.weight.device
    copied: ClipModel = for_embedding(model, hardware, device)
    copied.backbone = Mixed(copied.backbone, hardware).eval()
    return copied


@torch.inference_mode()
def observe(
    model: ClipModel, sample: Sample, condition: Condition, request: Request | None = None
) -> Observation:
    """Show the sample to a network with an attention head, in evaluation mode."""
    asked = request or Request()
    pieces = [
        _observe(model, _Shown.of(sample, condition, rows), asked)
        for rows in _batches(len(sample), asked.batch)
    ]
    found = tree_map(_join, *pieces)
    return found._replace(area=float(found.area.mean()))


class _Shown(NamedTuple):
    """Some clips of a sample under a condition."""

    rows: range
    clips: np.ndarray
    """(B, T, H, W, 3) uint8."""
    changed: np.ndarray
    """(B, T) bool: frames that are not those of the clean clip."""
    covered: np.ndarray
    """(B, T, H, W) bool: what the occluder, or the one that a placebo stands for, covers."""
    labels: np.ndarray | None
    """(B, T, H, W) uint8."""
    hides: bool
    """Whether anything is hidden: not by a placebo."""
    generators: list[np.random.Generator]

    @classmethod
    def of(cls, sample: Sample, condition: Condition, rows: range) -> "_Shown":
        shown = [sample.show(row, condition) for row in rows]
        clips, covered = (np.stack(arrays) for arrays in zip(*shown))
        labels = np.stack([sample.labels(row) for row in rows]) if sample.has_masks else None
        changed = covered.any((2, 3))  # (B, T)
        if sample.filmed is not None:  # shadows, and things behind the person, are in no mask
            clean = np.stack([sample.show(row, CLEAN)[0] for row in rows])
            changed = (clips != clean).any((2, 3, 4))  # (B, T)
        if labels is not None:
            covered = covered | (labels == OCCLUDER)
        generators = [sample.generator(row, "permuted") for row in rows]
        hides = condition.occluder not in PLACEBOS
        return cls(rows, clips, changed, covered, labels, hides, generators)


def _observe(model: ClipModel, shown: _Shown, asked: Request) -> Observation:
    """Show some clips; the area is still one number per clip."""
    head, rows = model.head, slice(shown.rows.start, shown.rows.stop)
    device = head.bnneck.weight.device
    before = None
    if asked.clean is None:
        tokens = _tokens(model, shown.clips)
    else:
        before = tree_map(lambda values: values[rows].to(device), asked.clean)
        tokens = _replaced(model, before, shown.clips, shown.changed)
    attention = head.attend(tokens)
    covered = token_shares(shown.covered, head)
    told = covered if shown.hides else tree_map(torch.zeros_like, covered)
    carried: ByBranch = {}
    if asked.aims is not None:
        seen = look_at_tokens(head, tokens, attention)
        carried = _arrays(contributions(seen, asked.aims[rows].to(device), head).parts)
    return Observation(
        weights=_arrays(weights(attention)),
        attentions={
            name: _arrays(weights(attend(tokens))) for name, attend in asked.attentions.items()
        },
        covered=_arrays(covered),
        bands=_arrays(band_shares(shown.covered, head)),
        labels={} if shown.labels is None else _label_shares(shown.labels, shown.covered, head),
        contributions=carried,
        vectors={
            swap: embedding(head, tokens, swap(attention, told, shown.generators)).cpu()
            for swap in asked.swaps
        },
        patched={} if before is None else _patched(head, before, tokens, attention),
        area=shown.covered.mean((1, 2, 3)),  # (B,)
    )


def _patched(head: Head, before: Tokens, tokens: Tokens, attention: Attention) -> dict[str, Tensor]:
    """Embed with the weights, or with the contents, of the clean clip."""
    clean = head.attend(before)
    return {
        "weights": embedding(head, tokens, clean).cpu(),
        "content": embedding(head, before, attention).cpu(),
    }


def _batches(count: int, batch: int) -> Iterator[range]:
    return (range(start, min(start + batch, count)) for start in range(0, count, batch))


def clean_tokens(model: ClipModel, sample: Sample, batch: int = 32) -> Tokens:
    """Embed all clips as they are, up to the tokens, on the CPU: (Q, T, D) and (Q, T, P, D)."""
    return tokens_of(model, lambda row: sample.show(row, CLEAN)[0], len(sample), batch)


@torch.inference_mode()
def tokens_of(
    model: ClipModel, clip: Callable[[int], np.ndarray], count: int, batch: int
) -> Tokens:
    """Embed `count` clips (T, H, W, 3) uint8 up to the tokens, on the CPU."""
    pieces = [
        tree_map(Tensor.cpu, _tokens(model, np.stack([clip(row) for row in rows])))
        for rows in _batches(count, batch)
    ]
    return tree_cat(pieces)


def _tokens(model: ClipModel, clips: np.ndarray) -> Tokens:
    """Turn bytes (B, T, H, W, 3) into tokens."""
    device, dtype = model.head.bnneck.weight.device, model.head.bnneck.weight.dtype
    return model.head.tokens(model.maps(network_input(clips, device)).to(dtype))


def one_clip(model: ClipModel, clip: np.ndarray) -> Tensor:
    """Turn bytes (T, H, W, 3) into a batch of one clip on the network's device."""
    device = model.head.bnneck.weight.device
    return network_input(clip, device).unsqueeze(0)  # (1, T, 3, H, W)


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


def _label_shares(labels: np.ndarray, covered: np.ndarray, head: Head) -> dict[str, ByBranch]:
    """Return how much of what a token reads still shows each of `LABELS`."""
    left = np.where(covered, OCCLUDER, labels)
    return {name: _arrays(token_shares(left == label, head)) for label, name in LABELS.items()}


def _arrays(values: Mapping[str, Tensor]) -> ByBranch:
    return {name: value.double().cpu().numpy() for name, value in values.items()}


def _join(*pieces: np.ndarray | Tensor) -> np.ndarray | Tensor:
    return torch.cat(pieces) if isinstance(pieces[0], Tensor) else np.concatenate(pieces)


# --- other attentions ---------------------------------------------------------------------------


def random_layers(head: Head, seed: int) -> Attend:
    """Return the attention of a head whose scoring layers are new and random.

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


@torch.inference_mode()
def exchanged_guides(head: Head, tokens: Tokens, pids: np.ndarray, batch: int = 256) -> ByBranch:
    """Weigh all clips' parts (Q, T, P, D) under the guide of another person's clip: (Q, T, P).

    Everybody gets the guide of the clip half the sample further on, or the next one of another
    person; the tokens stay. The backbone is not asked again.
    """
    device = head.bnneck.weight.device
    frames = tokens.frames.to(device)
    guides = weighted_sum(head.frame_score(frames).squeeze(-1).softmax(1), frames)  # (Q, D)
    order = torch.from_numpy(_strangers(pids)).to(device)  # (Q,)
    found: dict[str, list[Tensor]] = {name: [] for name in head.part_score}
    for rows in _batches(len(frames), batch):
        some = slice(rows.start, rows.stop)
        for name, score in head.part_score.items():
            parts = tokens.parts[name][some].to(device)  # (B, T, P, D)
            found[name].append(
                score(parts.flatten(1, 2), guides[order[some]]).view(parts.shape[:3])
            )
    return {name: torch.cat(pieces).double().cpu().numpy() for name, pieces in found.items()}


def _strangers(pids: np.ndarray) -> np.ndarray:
    """Return for each clip another one, of another person."""
    count = len(pids)
    order = (np.arange(count) + count // 2) % count
    for row in range(count):
        while pids[order[row]] == pids[row]:
            order[row] = (order[row] + 1) % count
    return order
