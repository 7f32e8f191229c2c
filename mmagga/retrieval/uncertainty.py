"""Bootstrap intervals over persons, variance over seeds, and Holm correction.

A measure has a value for each query or tracklet, but the person is what is drawn: queries of one
person succeed or fail together, so intervals over single queries would be too narrow.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from mmagga.errors import DataError

DRAWS = 5000
"""Of persons, for an interval, or of signs, for a p-value."""
FINE_DRAWS = 2 * DRAWS
"""For p-values that `holm` multiplies by the number of claims."""


class Interval(NamedTuple):
    """A mean with its 95 % interval; the ends are NaN where there is only one cluster."""

    mean: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """Mean of a - b over the queries, its 95 % interval, and the p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


class Estimate(NamedTuple):
    """A mean over tracklets with its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the hypothesis that the mean is `null`."""
    clips: int
    """Tracklets that have a value."""


# --- persons resampled --------------------------------------------------------------------------


def bootstrap(
    per_query: pd.DataFrame,
    value: str = "average_precision",
    *,
    by: str = "pid",
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the mean of a column of `Scores.per_query` and its 95 % percentile interval.

    Whole clusters (`by`) are drawn with replacement, as many as there are. Queries without a value
    are left out; DataError if none has one. For Rank-1:
    `bootstrap(per_query.assign(hit=per_query["first_hit"] == 1), "hit")`.
    """
    known = _known(_floats(per_query[value]), per_query[by])
    return Interval(*estimate(*known, draws=draws, seed=seed)[:3])


def paired_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    value: str = "average_precision",
    *,
    by: str = "pid",
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same queries: `Scores.per_query` of each, matched by query row.

    The interval is that of `bootstrap`. The two-sided p-value comes from `draws` random flips of
    the sign of each cluster's differences; the observed signs count as one of them, so that
    p is never 0. Raises DataError where the two tables do not hold the same queries.
    """
    a, b = (table.set_index("query").sort_index() for table in (a, b))
    if not (a.index.is_unique and a[by].equals(b[by])):
        raise DataError("a and b hold different queries: compare two evaluations of the same set")
    known = _known(_floats(a[value]) - _floats(b[value]), a[by])
    found = estimate(*known, draws=draws, seed=seed)
    sums, _ = clusters(*known)
    signs = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], (draws, len(sums)))
    as_extreme = np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-12)
    return PairedDifference(*found[:3], float((1 + as_extreme.sum()) / (1 + draws)))


def estimate(
    values: Any, pids: Any, *, null: float = 0.0, draws: int = FINE_DRAWS, seed: int = 0
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
    return Estimate(value, *_interval(_ratios(sums, sizes, draws, seed), null, draws), clips)


def clusters(values: Any, pids: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count the known values of each person, by ascending id."""
    values = np.asarray(values, np.float64)
    persons, owner = np.unique(pids, return_inverse=True)
    known = ~np.isnan(values)
    sums = np.bincount(owner, np.where(known, values, 0.0), len(persons))
    return sums, np.bincount(owner, known, len(persons))


def _floats(values: pd.Series) -> pd.Series:
    """Numbers, truth values or nullable integers as float64, NaN where unknown."""
    return values.astype("Float64").astype(np.float64)


def _known(values: pd.Series, by: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that are known, and their clusters."""
    known = values.notna()
    if not known.any():
        raise DataError(f"there is no {values.name or 'value'} to average")
    return values[known].to_numpy(), by[known].to_numpy()


def _interval(drawn: np.ndarray, null: float, draws: int) -> tuple[float, float, float]:
    """Return low, high and p of the draws that have a value."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return np.nan, np.nan, np.nan
    low, high = np.quantile(drawn, (0.025, 0.975))
    side = min((drawn <= null).sum(), (drawn >= null).sum())
    return float(low), float(high), float(min(1, 2 * (1 + side) / (1 + draws)))


def _ratios(top: np.ndarray, bottom: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draw the persons again: (draws,) sums of `top` over sums of `bottom`, NaN where that is 0."""
    times = resampled(len(top), draws, seed)
    below = times @ bottom
    return np.divide(times @ top, below, out=np.full(draws, np.nan), where=below != 0)


@lru_cache(maxsize=8)
def resampled(count: int, draws: int, seed: int) -> np.ndarray:
    """Count how often each draw holds each of `count` persons or networks: (draws, count)."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust the p-values of claims tested together (Holm 1979); NaN is no claim."""
    p = np.asarray(p, np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


# --- persons and seeds --------------------------------------------------------------------------


def crossed_interval(values: pd.DataFrame, by: str = "pid") -> Interval:
    """Return the mean over queries and seeds, with a 95 % interval over persons and seeds.

    `values` has a row for each query, `by` being a level of its index, and a column for each seed.
    See `crossed_difference`.
    """
    mean, low, high, _ = _crossed(values, np.zeros(values.shape[1], int), by)
    return Interval(mean, low, high)


def crossed_difference(a: pd.DataFrame, b: pd.DataFrame, by: str = "pid") -> PairedDifference:
    """Compare two rows of a study whose persons and seeds are both samples: a - b.

    Each table has a row for each query, `by` being a level of its index, and a column for each
    seed. Seeds that both have are paired and the others left out; two tables without a common seed
    are compared unpaired, as in a row against itself under other seeds. Queries without a value in
    a column are left out.

    Interval and p come from Student's t. Its variance is that of the mean over persons plus that
    over seeds, minus that of a person under a seed, which both hold; its degrees of freedom are
    Satterthwaite's. Seeds are too few to be resampled: with three, intervals from draws of
    persons and seeds together cover 90 to 99 % of true differences, these 93 to 98 %. With one
    seed against two, p is below 0.05 in up to 13 % of comparisons of a row with itself. All are
    NaN where each row has one seed, which tells nothing of how seeds vary.

    Raises DataError where the tables hold different queries, or none with a value.
    """
    if not a.index.equals(b.index):
        raise DataError("a and b hold different queries: compare two evaluations of the same set")
    seeds = a.columns.intersection(b.columns)
    if len(seeds):
        return _crossed(a[seeds] - b[seeds], np.zeros(len(seeds), int), by)
    group = np.repeat([0, 1], (a.shape[1], b.shape[1]))
    return _crossed(pd.concat([a, b], axis=1), group, by)


def _crossed(values: pd.DataFrame, group: np.ndarray, by: str) -> PairedDifference:
    """Compare the mean of group 0 with that of group 1, or with 0, over persons × seeds.

    `group` (R,) says which columns, one a seed, are of which group.
    """
    values = values.dropna()
    if values.empty:
        raise DataError("no query has a value under every seed: there is nothing to average")
    x = values.to_numpy(np.float64)  # (N, R)
    persons, owner = np.unique(values.index.get_level_values(by), return_inverse=True)
    p, within = len(persons), np.equal.outer(group, group) / np.bincount(group)[group]  # (R, R)
    weight = np.where(group == 0, 1.0, -1.0) * within.diagonal()  # (R,)
    mean = x.mean(0)  # (R,)
    difference = float(mean @ weight)
    spare = len(group) - len(np.unique(group))  # degrees of freedom of the seeds
    if p < 2 or not spare:
        return PairedDifference(difference, np.nan, np.nan, np.nan)
    # What each person adds to the error of each mean, which is a ratio of sums: (P, R).
    parts = [np.bincount(owner, column) for column in (x - mean).T]
    part = np.stack(parts, 1) * np.sqrt(p / (p - 1)) / len(x)
    scale = (weight**2).sum() / spare
    of_persons = ((part @ weight) ** 2).sum()
    of_seeds = ((mean - within @ mean) ** 2).sum() * scale
    of_both = ((part - part @ within) ** 2).sum() * scale
    # The first two both hold the third, and an estimate may exceed the sum that it is part of.
    variance = max(of_persons, of_seeds, of_persons + of_seeds - of_both)
    if not variance:
        return PairedDifference(difference, difference, difference, float(difference == 0))
    freedom = variance**2 / (of_persons**2 / (p - 1) + of_seeds**2 / spare)
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    chance = float(2 * stats.t.sf(abs(difference) / np.sqrt(variance), freedom))
    return PairedDifference(difference, difference - half, difference + half, chance)
