"""Measures of weights and masks, one number per clip; NaN where a measure is undefined.

Weights `a` and shares `o`, `v` (of each token's cells that an occluder, the visible person, covers)
are (B, N) with all tokens of a clip in one row, each row of weights summing to 1. Source of the
formulas: ours after Arras (energy), Fawcett (AUROC) and Serrano and Smith (erasure).
"""

import numpy as np

from mmagga.attention.swaps import OCCLUDED

CLEAN = 0.1
"""Share up to which a token counts as clean: learned MMA matrices leak a little of every cell."""


def groups(shares: np.ndarray, *, frames: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Separate occluded from clean tokens (B, N); those in between are neither.

    A whole frame is rarely half covered, so with `frames` all that is not clean is occluded.
    """
    clean = shares < CLEAN
    return (~clean if frames else shares >= OCCLUDED), clean


def response(
    before: np.ndarray, after: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the response to an occluder, in nats for a token that is covered as a whole.

    The slope of the change of log attention on the covered share, over the tokens of a clip: no
    token is too little or too much covered to count, and a preference that does not change, or
    whatever changes all tokens alike, cancels out. Where shares are 0 or 1 it is the difference in
    differences, see `did`; weights ∝ exp(-share) give exactly -1.

    Returns:
        The slopes (B,), NaN where all tokens are covered alike, and what each is worth (B,): the
        variance of the shares, by which a mean of clips is weighted.
    """
    change = _log(after) - _log(before)
    centred = shares - shares.mean(1, keepdims=True)
    worth = (centred * centred).mean(1)  # (B,)
    return _divide((change * centred).mean(1), worth, floor=1e-9), worth


def variation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the spread of a change of log attention over the spread of log attention: (B,)."""
    before, after = _log(before), _log(after)
    return _divide((after - before).std(1), before.std(1), floor=1e-7)


def did(
    before: np.ndarray, after: np.ndarray, occluded: np.ndarray, clean: np.ndarray
) -> np.ndarray:
    """Measure the response to an occluder in nats: (B,).

    The change of log attention on the occluded tokens minus that on the clean tokens of the same
    clip (difference in differences). Negative: the occluder lost weight. A position that is always
    attended cancels out.
    """
    change = _log(after) - _log(before)
    return _mean(change, occluded) - _mean(change, clean)


def corruption_removed(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the share of the occluder's uniform mass that the weights took off: (B,)."""
    mean = shares.mean(1)
    return 1 - _divide((weights * shares).sum(1), mean)


def best_mass(values: np.ndarray, ratio: float) -> np.ndarray:
    """Return the largest Σ a·values that weights can reach whose largest is `ratio` x the least.

    The best weights are `ratio` on the k tokens of largest value and 1 on the others, for some k.
    An infinite ratio reaches the largest value. (B, N) -> (B,).
    """
    if np.isinf(ratio):
        return values.max(1)
    ordered = -np.sort(-values, axis=1)
    top = np.cumsum(ordered, axis=1)  # (B, N)
    k = np.arange(1, values.shape[1] + 1)
    return (((ratio - 1) * top + top[:, -1:]) / ((ratio - 1) * k + k[-1])).max(1)


def ranking(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return P(the less covered of two tokens weighs more) - 1/2 within a clip, ties 1/2: (B,).

    Pairs count by how much more the one is covered; where shares are 0 or 1 it is AUROC - 1/2.
    """
    less = np.maximum(shares[:, None, :] - shares[:, :, None], 0)  # pair (i, j): j is covered more
    more = np.sign(weights[:, :, None] - weights[:, None, :]) / 2  # (B, N, N)
    return _divide((more * less).sum((1, 2)), less.sum((1, 2)), floor=1e-9)


def order_error(weights: np.ndarray, reordered: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the total variation between the frames' weights and those of reordered frames: (B,).

    `reordered` (B, T) are the weights of the clip whose frame t is frame `order[t]` of the other;
    0 where the order does not matter.
    """
    return np.abs(reordered - weights[:, order]).sum(1) / 2


def share_on(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the share of the positive part of `values` that lies on `shares`: (B,)."""
    positive = np.maximum(values, 0)
    return _divide((positive * shares).sum(1), positive.sum(1))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two rows of numbers, ties averaged: (B,)."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) for values in (a, b))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return _divide((a * b).sum(1), np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def log_ratio(weights: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return ln of the mean weight of what `some` covers over that of `others`: (B,)."""
    means = [
        _divide((weights * shares).sum(1), shares.sum(1), floor=1e-6) for shares in (some, others)
    ]
    return np.log(_divide(*means))


def mutual_information(joint: np.ndarray) -> float:
    """Mutual information in nats of a table of masses, such as token x body part."""
    joint = joint / joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / product[some])).sum())


def _log(weights: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(weights, np.finfo(np.float32).tiny))


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return _divide((values * where).sum(1), where.sum(1))


def _divide(above: np.ndarray, below: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Divide, NaN where the divisor is at most `floor` in size."""
    out = np.full(np.shape(above), np.nan)
    return np.divide(above, below, out=out, where=np.abs(below) > floor)
