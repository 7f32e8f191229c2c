"""How sure a score is: intervals and a paired test over identities.

Queries of one person succeed or fail together, so the person is the unit that is drawn: intervals
over single queries would be too narrow.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from mmagga.errors import DataError


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


def bootstrap(
    per_query: pd.DataFrame,
    value: str = "average_precision",
    by: str = "pid",
    draws: int = 5000,
    seed: int = 0,
) -> Interval:
    """Give the mean of a column of `Scores.per_query` and its 95 % percentile interval.

    Whole clusters (`by`) are drawn with replacement, as many as there are. Queries without a value
    are left out. For Rank-1: `bootstrap(per_query.assign(hit=per_query["first_hit"] == 1), "hit")`.
    """
    sums, sizes = _clusters(_floats(per_query[value]), per_query[by])
    return Interval(float(sums.sum() / sizes.sum()), *_interval(sums, sizes, draws, seed))


def paired_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    value: str = "average_precision",
    by: str = "pid",
    draws: int = 5000,
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
    values = _floats(a[value]) - _floats(b[value])
    sums, sizes = _clusters(values, a[by])
    signs = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], (draws, len(sums)))
    as_extreme = np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-12)
    return PairedDifference(
        float(sums.sum() / sizes.sum()),
        *_interval(sums, sizes, draws, seed),
        float((1 + as_extreme.sum()) / (1 + draws)),
    )


def _floats(values: pd.Series) -> pd.Series:
    """Numbers, truth values or nullable integers as float64, NaN where unknown."""
    return values.astype("Float64").astype(np.float64)


def _clusters(values: pd.Series, by: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the known values of each cluster."""
    known = values.notna()
    if not known.any():
        raise DataError(f"there is no {values.name or 'value'} to average")
    groups = values[known].groupby(by[known])
    return groups.sum().to_numpy(), groups.size().to_numpy()


def _interval(sums: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the ratio of sums, the clusters drawn again `draws` times."""
    n = len(sums)
    if n < 2:
        return np.nan, np.nan
    times = np.random.default_rng([seed, 0]).multinomial(n, np.full(n, 1 / n), size=draws)
    low, high = np.quantile((times @ sums) / (times @ sizes), (0.025, 0.975))
    return float(low), float(high)
