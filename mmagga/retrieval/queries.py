"""Which tracklets are queries, and their order by a rule."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mmagga.data.tracklets import Tracklets
from mmagga.randomness import generator

RULES = {
    "worst first": "worst",
    "nearest to the median": "median",
    "best first": "best",
    "in random order": "random",
    "most occluded first": "occluded",
    "biggest change between the runs": "change",
}
"""What the browser says -> the rule."""

FILTERS = {
    "all queries": "all",
    "missed at rank 1": "missed",
    "found at rank 1": "found",
    "without a match": "unmatched",
}
"""What the browser says -> the filter."""


def ordered(
    per_query: pd.DataFrame,
    rule: str = "worst",
    *,
    show: str = "all",
    seed: int = 0,
    occluded: np.ndarray | None = None,
    other: pd.DataFrame | None = None,
) -> np.ndarray:
    """Return the rows of the queries that a filter leaves, in the order of a rule: (n,) int64.

    Equals keep the order of the data set; queries without a match come last, except at random.

    Args:
        per_query: of `Scores`, a row for each query.
        rule: a value of `RULES`; "change" is the absolute difference of the two runs' AP.
        show: a value of `FILTERS`.
        seed: of the random order.
        occluded: (Q,) occluded share of each query, which "occluded" goes by.
        other: `per_query` of the second run, on the same queries.

    Raises:
        ValueError: an unknown rule or filter, or one whose numbers were not given.
    """
    if show not in FILTERS.values() or rule not in RULES.values():
        raise ValueError(f"unknown rule {rule!r} or filter {show!r}")
    precision = per_query["average_precision"].to_numpy(float)
    first = per_query["first_hit"].astype("Float64").to_numpy(float, na_value=np.nan)
    kept = {
        "all": np.ones(len(precision), bool),
        "missed": first > 1,
        "found": first == 1,
        "unmatched": np.isnan(precision),
    }[show]
    key = _key(precision, rule=rule, seed=seed, occluded=occluded, other=other)
    order = np.argsort(np.where(np.isnan(key), np.inf, key), kind="stable")
    return order[kept[order]]


def _key(
    precision: np.ndarray,
    *,
    rule: str,
    seed: int,
    occluded: np.ndarray | None,
    other: pd.DataFrame | None,
) -> np.ndarray:
    """What to sort by, ascending; NaN goes last."""
    if rule == "random":
        return generator(seed, "browser").permutation(len(precision)).astype(float)
    if rule == "median":
        return np.abs(precision - pd.Series(precision).median())
    if rule == "occluded":
        if occluded is None:
            raise ValueError("this data set has no masks: occlusion is unknown")
        return -occluded
    if rule == "change":
        if other is None:
            raise ValueError("there is no second run to compare with")
        return -np.abs(precision - other["average_precision"].to_numpy(float))
    return precision if rule == "worst" else -precision


def as_test(tracklets: Tracklets) -> Tracklets:
    """Return the training persons as if they were the test: a query from each of their cameras."""
    table = tracklets.split("train").table
    again = table.duplicated(["pid", "camid"])
    table = table.assign(split=np.where(again, "gallery", "query"))
    return replace(tracklets, table=table, queries_in_gallery=True)
