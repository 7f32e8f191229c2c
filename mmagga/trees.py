"""Named tuples and dictionaries of tensors, such as `Tokens` or `Output`, worked on as one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


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
