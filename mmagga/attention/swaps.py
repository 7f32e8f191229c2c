"""Replace attention weights by a rule and recompute the embedding.

If swapping GGA's weights for uniform ones changes no rank, the weights do not matter, however
their maps look. Source of the tests: Wiegreffe and Pinter 2019 (uniform), Jain and Wallace 2019
(permuted); oracle, inverted and temperature are ours.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.attention.maps import weights
from mmagga.model.head import Head
from mmagga.model.outputs import Attention, Tokens

How = Literal["uniform", "permuted", "inverted", "oracle", "soft oracle", "firm oracle",
              "temperature", "frames"]  # fmt: skip
SWAPS: tuple[How, ...] = (
    "uniform", "permuted", "inverted", "oracle", "soft oracle", "firm oracle", "temperature",
    "frames",
)  # fmt: skip
FIRM = 0.1
"""Share from which on a token counts as covered whole for the firm oracle."""
OCCLUDED = 0.5
"""Share of its cells from which on a token counts as occluded."""


def swapped(
    attention: Attention,
    how: How,
    *,
    temperature: float = 1.0,
    occluded: Mapping[str, Tensor] | None = None,
    generator: np.random.Generator | Sequence[np.random.Generator] | None = None,
    branches: Collection[str] | None = None,
) -> Attention:
    """Replace weights; every clip's still sum to 1.

    | how         | weight a becomes                                                             |
    |-------------|------------------------------------------------------------------------------|
    | uniform     | 1/N                                                                          |
    | permuted    | the weight of another token of the same clip and branch, at random           |
    | inverted    | ∝ 1/a, exp(-score) of a softmax                                              |
    | oracle      | 0 on occluded tokens (share ≥ `OCCLUDED`), as before on the others, ∝; uniform |
    |             | where all are occluded                                                       |
    | soft oracle | ∝ exp(-covered share / temperature): within GGA's bound at its temperature    |
    | firm oracle | the same, what is covered by a tenth or more counting as covered whole       |
    | temperature | ∝ a^(1/temperature): the softmax's at temperature times its own, exactly     |
    | frames      | what its frame weighs, shared evenly by the frame's parts                    |

    Args:
        attention: of B clips.
        how: see the table.
        temperature: of "temperature" and the soft and firm oracles: below 1 sharpens, above 1
            flattens.
        occluded: of the oracles: each token's occluded share, (B, T, P) for each branch that is
            swapped, "global" (B, T, 1); see `occluders.token_shares`.
        generator: of "permuted": one for all clips, or one for each.
        branches: which to swap, by name. By default all granularities, and not "global": the
            frames' weights are not GGA's.

    Raises:
        ValueError: an unknown swap or branch, a temperature that is not positive, or an argument
            that the swap needs is missing.
    """
    before = weights(attention)
    names = set(before) - {"global"} if branches is None else set(branches)
    if how not in SWAPS or names - set(before):
        raise ValueError(
            f"swap is one of {', '.join(SWAPS)} and branches are among {', '.join(before)}; "
            f"got {how!r} and {', '.join(sorted(names))}"
        )
    after = dict(before)
    for name in (name for name in before if name in names):  # in the head's order: draws follow it
        after[name] = _swap(
            before[name],
            how,
            name=name,
            temperature=temperature,
            occluded=occluded,
            generator=generator,
            attention=attention,
        )
    return Attention(after.pop("global").squeeze(2), after)


def _swap(
    w: Tensor,
    how: How,
    *,
    name: str,
    temperature: float,
    occluded: Mapping[str, Tensor] | None,
    generator: np.random.Generator | Sequence[np.random.Generator] | None,
    attention: Attention,
) -> Tensor:
    """Replace one branch's weights (B, T, P)."""
    if how == "uniform":
        return torch.full_like(w, 1 / w[0].numel())
    if how == "permuted":
        return _permuted(w, generator)
    if how == "inverted":
        return _sharpened(w, -1.0)
    if temperature <= 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    if how == "temperature":
        return _sharpened(w, 1 / temperature)
    if how == "frames":
        return (attention.frames / w.shape[2]).unsqueeze(2).expand_as(w)
    if occluded is None:
        raise ValueError(f'"{how}" needs `occluded`: the occluded share of every token')
    if how in ("soft oracle", "firm oracle"):
        covered = occluded[name].to(w)
        covered = (covered / FIRM).clamp(max=1) if how == "firm oracle" else covered
        return (-covered / temperature).flatten(1).softmax(1).view_as(w)
    kept = w * (occluded[name] < OCCLUDED)
    mass = kept.sum((1, 2), keepdim=True)
    return torch.where(mass > 0, kept / mass, 1 / w[0].numel())


def _sharpened(w: Tensor, power: float) -> Tensor:
    """Raise weights to a power and normalise, in logarithms: 0.05 is the 20th power."""
    logs = w.clamp(min=torch.finfo(w.dtype).tiny).log()
    return (power * logs).flatten(1).softmax(1).view_as(w)


def _permuted(
    w: Tensor, generator: np.random.Generator | Sequence[np.random.Generator] | None
) -> Tensor:
    if generator is None:
        raise ValueError('"permuted" needs a `generator`: see mmagga.randomness')
    one_for_all = isinstance(generator, np.random.Generator)
    generators = [generator] * len(w) if one_for_all else generator
    order = np.stack([g.permutation(w[0].numel()) for g in generators])
    return w.flatten(1).gather(1, torch.from_numpy(order).to(w.device)).view_as(w)


def embedding(head: Head, tokens: Tokens, attention: Attention) -> Tensor:
    """Return what retrieval compares, L2-normalised, for any weights: (B, branches·D)."""
    return F.normalize(head.bnneck(head.aggregate(tokens, attention)))
