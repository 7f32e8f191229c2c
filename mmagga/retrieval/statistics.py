"""How sure a measure is: persons drawn again, and many claims tested at once.

The unit of a measure is a tracklet, that of the interval an identity: tracklets of one person
succeed or fail together.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

DRAWS = 10_000


class Estimate(NamedTuple):
    """A mean over tracklets with its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the hypothesis that the mean is `null`."""
    clips: int
    """Tracklets that have a value."""


def estimate(
    values: np.ndarray, pids: np.ndarray, *, null: float = 0.0, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Average tracklets' `values` (N,) and draw their persons `pids` (N,) again `draws` times.

    Tracklets whose value is NaN are left out. The interval is the percentile one; p is twice the
    smaller share of draws on either side of `null`, the sample itself counting as one draw, so
    that it is never 0. All measures of one battery use the same draws: they are paired.
    """
    sums, sizes = clusters(values, pids)
    clips = int(sizes.sum())
    value = float(sums.sum() / clips) if clips else np.nan
    if np.count_nonzero(sizes) < 2:
        return Estimate(value, np.nan, np.nan, np.nan, clips)
    return Estimate(value, *_interval(_means(sums, sizes, draws, seed), null, draws), clips)


def estimate_ratio(
    above: np.ndarray, below: np.ndarray, pids: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Give the ratio of two means over the same tracklets, drawn together; its p tests 0."""
    above = np.where(np.isnan(below), np.nan, above)
    below = np.where(np.isnan(above), np.nan, below)
    top, sizes = clusters(above, pids)
    bottom, _ = clusters(below, pids)
    clips = int(sizes.sum())
    if np.count_nonzero(sizes) < 2 or bottom.sum() == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan, clips)
    # Where every person of a draw lies in no pair, or in those that cancel, there is no ratio.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _means(top, bottom, draws, seed)
    return Estimate(float(top.sum() / bottom.sum()), *_interval(ratios, 0.0, draws), clips)


def clusters(values: np.ndarray, pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count the known values of each person, by ascending id."""
    values = np.asarray(values, np.float64)
    persons, owner = np.unique(pids, return_inverse=True)
    known = ~np.isnan(values)
    sums = np.bincount(owner, np.where(known, values, 0.0), len(persons))
    return sums, np.bincount(owner, known, len(persons))


def _interval(drawn: np.ndarray, null: float, draws: int) -> tuple[float, float, float]:
    """Give low, high and p of the draws that have a value."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return np.nan, np.nan, np.nan
    low, high = np.quantile(drawn, (0.025, 0.975))
    side = min((drawn <= null).sum(), (drawn >= null).sum())
    return float(low), float(high), float(min(1, 2 * (1 + side) / (1 + draws)))


def _means(sums: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> np.ndarray:
    times = _times(len(sums), draws, seed)
    count = times @ sizes
    return np.divide(times @ sums, count, out=np.full(draws, np.nan), where=count != 0)


@lru_cache(maxsize=1)
def _times(persons: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw holds each person: (draws, persons)."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(persons, np.full(persons, 1 / persons), size=draws).astype(np.float64)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust the p-values of claims tested together (Holm 1979); NaN is no claim."""
    p = np.asarray(p, np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted
