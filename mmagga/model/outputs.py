"""What a forward pass gives, and work on all tensors of such a tuple as one.

Shape letters: B clips, T frames, P parts of a granularity, D width of a branch, K identities.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Attention(NamedTuple):
    """Weights by which a clip was summed; each kind is ≥ 0 and sums to 1 over a clip."""

    frames: Tensor
    """(B, T)"""
    parts: dict[str, Tensor]
    """(B, T, P) for each granularity: P is 2 for p3, 4 for p1, 8 for p2."""


class Output(NamedTuple):
    """All that one forward pass gives, in training and in evaluation."""

    embedding: Tensor
    """(B, branches·D), after the BNNeck: what retrieval compares."""
    feature: Tensor
    """(B, branches·D), before it: what the metric losses read."""
    logits: tuple[Tensor, ...]
    """(B, K) for each branch, global, p3, p1, p2: read from its slice of the BNNeck's output."""
    attention: Attention


class Tokens(NamedTuple):
    """What attention chooses from."""

    frames: Tensor
    """(B, T, D)"""
    parts: dict[str, Tensor]
    """(B, T, P, D) for each granularity."""


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply `function` place by place to the tensors of one tree, or of several that are alike."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        branches = (tree_map(function, *places) for places in zip(*trees, strict=True))
        return first._make(branches) if hasattr(first, "_make") else tuple(branches)
    return function(*trees)


def tree_cat(trees: Sequence[Any]) -> Any:
    """Put the tensors of several trees in a row, place by place, along their first axis."""
    return tree_map(lambda *tensors: torch.cat(tensors), *trees)
