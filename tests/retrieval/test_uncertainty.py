"""Intervals must cover, and the test must find what is there and nothing else."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmagga.errors import DataError
from mmagga.retrieval import bootstrap, crossed_difference, crossed_interval, paired_difference


def made(g: np.random.Generator, ids: int = 40, mean: float = 0.6) -> pd.DataFrame:
    """Queries of one person share most of their luck, and persons have 1 to 6 queries."""
    sizes = g.integers(1, 7, ids)
    pids = np.repeat(np.arange(1, ids + 1), sizes)
    luck = g.normal(mean, 0.2, ids)[pids - 1]
    return pd.DataFrame(
        {
            "query": np.arange(len(pids)),
            "pid": pids,
            "average_precision": luck + g.normal(0, 0.05, len(pids)),
        }
    )


def test_the_interval_covers_the_truth_and_single_queries_would_not():
    g = np.random.default_rng(0)
    by_person = by_query = 0
    for _ in range(200):
        table = made(g)
        _, low, high = bootstrap(table, draws=300)
        by_person += low <= 0.6 <= high
        _, low, high = bootstrap(table, by="query", draws=300)
        by_query += low <= 0.6 <= high
    assert 0.88 <= by_person / 200 <= 0.985
    assert by_query / 200 < 0.80


def test_the_seed_decides():
    table = made(np.random.default_rng(1))
    assert bootstrap(table, seed=3) == bootstrap(table, seed=3)
    assert bootstrap(table, seed=3) != bootstrap(table, seed=4)
    assert bootstrap(table).mean == pytest.approx(table["average_precision"].mean())


def test_queries_without_a_value_are_left_out():
    table = made(np.random.default_rng(1))
    more = pd.concat([table, table.assign(average_precision=np.nan, pid=99)])
    assert bootstrap(more) == bootstrap(table)
    with pytest.raises(DataError, match="no average_precision"):
        bootstrap(table.assign(average_precision=np.nan))


def test_rank_1_as_the_docstring_says():
    table = made(np.random.default_rng(1)).iloc[:4].assign(pid=[1, 1, 2, 3])
    table["first_hit"] = pd.array([1, 2, 1, None], "Int64")
    assert bootstrap(table.assign(hit=table["first_hit"] == 1), "hit").mean == pytest.approx(2 / 3)


def test_one_person_has_no_interval():
    mean, low, high = bootstrap(made(np.random.default_rng(1)).assign(pid=1))
    assert math.isfinite(mean)
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_planted_difference_is_found():
    g = np.random.default_rng(2)
    a = made(g)
    b = a.assign(average_precision=a["average_precision"] - 0.03 + g.normal(0, 0.02, len(a)))
    found = paired_difference(a, b.sample(frac=1, random_state=0))  # rows in any order
    assert found.low < 0.03 < found.high
    assert found.difference == pytest.approx(0.03, abs=0.01)
    assert found.p == pytest.approx(1 / 5001)
    assert paired_difference(b, a).difference == pytest.approx(-found.difference)


def test_where_there_is_none_p_is_uniform():
    g = np.random.default_rng(3)
    ps = []
    for _ in range(200):
        a = made(g)
        per_person = g.normal(0, 0.05, 41)[a["pid"]]  # a difference that a person's queries share
        b = a.assign(average_precision=a["average_precision"] + per_person)
        ps.append(paired_difference(a, b, draws=200).p)
    assert 0.005 <= np.mean(np.array(ps) <= 0.05) <= 0.1
    assert 0.4 <= np.mean(ps) <= 0.6


def test_two_persons_are_too_few_for_a_small_p():
    """Of the four flips of two signs, two are as extreme as what was observed: p is one half."""
    a = pd.DataFrame({"query": [0, 1], "pid": [1, 2], "average_precision": [0.7, 0.9]})
    b = a.assign(average_precision=[0.4, 0.8])
    assert paired_difference(a, b).p == pytest.approx(0.5, abs=0.03)


def test_a_model_against_itself():
    table = made(np.random.default_rng(4))
    assert paired_difference(table, table) == (0, 0, 0, 1)


def test_different_queries_are_refused():
    table = made(np.random.default_rng(4))
    with pytest.raises(DataError, match="different queries"):
        paired_difference(table, table.iloc[1:])
    with pytest.raises(DataError, match="different queries"):
        paired_difference(table, table.assign(pid=table["pid"] + 1))


def crossed(g, seeds, persons=60, person=0.1, seed=0.0, mean=0.0) -> pd.DataFrame:
    """Queries × seeds: persons, seeds and each person under each seed have luck of their own."""
    pids = np.repeat(np.arange(persons), g.integers(1, 6, persons))
    luck = g.normal(mean, person, persons)[:, None] + g.normal(0, 0.1, (persons, len(seeds)))
    values = luck[pids] + g.normal(0, seed, len(seeds)) + g.normal(0, 0.1, (len(pids), len(seeds)))
    index = pd.MultiIndex.from_arrays([np.arange(len(pids)), pids], names=["query", "pid"])
    return pd.DataFrame(values, index, list(seeds))


@pytest.mark.parametrize("seed", [0.0, 0.01, 0.05])
def test_intervals_over_persons_and_seeds_cover_the_truth(seed):
    g = np.random.default_rng(0)
    covered = over_persons_alone = 0
    for _ in range(300):
        values = crossed(g, range(3), seed=seed, mean=0.3)
        _, low, high = crossed_interval(values)
        covered += low <= 0.3 <= high
        mean = values.mean(axis=1).rename("average_precision").reset_index()
        _, low, high = bootstrap(mean, draws=200)
        over_persons_alone += low <= 0.3 <= high
    assert 0.92 <= covered / 300 <= 0.99
    assert over_persons_alone / 300 < 0.70 or seed < 0.05


@pytest.mark.parametrize(("ours", "theirs"), [((0, 1), (2, 3)), ((0, 1, 2), (3, 4, 5))])
@pytest.mark.parametrize("seed", [0.0, 0.03])
def test_a_row_against_itself_under_other_seeds(ours, theirs, seed):
    g = np.random.default_rng(1)
    ps = []
    for _ in range(300):
        values = crossed(g, range(6), seed=seed)
        ps.append(crossed_difference(values[list(ours)], values[list(theirs)]).p)
    assert np.mean(np.array(ps) <= 0.05) <= 0.08
    assert 0.42 <= np.mean(ps) <= 0.62
    assert np.mean(np.array(ps) <= 0.5) > 0.35


def test_common_seeds_are_paired():
    """What a seed does to both rows is no difference between them; unpaired, it would be."""
    g = np.random.default_rng(2)
    a = crossed(g, range(3), seed=0.2)
    b = a + g.normal(0.05, 0.02, a.shape)
    paired = crossed_difference(a, b)
    assert paired.low < -0.05 < paired.high
    assert paired.p < 0.01
    apart = crossed_difference(a, b.set_axis([3, 4, 5], axis=1))
    assert apart.difference == pytest.approx(paired.difference)
    assert apart.high - apart.low > 5 * (paired.high - paired.low)
    assert crossed_difference(a[[0, 1]], b[[1, 0, 2]]) == crossed_difference(a[[0, 1]], b[[0, 1]])


def test_a_variance_by_hand():
    """Two persons of one query, two seeds: every part of the variance is a short sum."""
    index = pd.MultiIndex.from_arrays([[0, 1], [7, 8]], names=["query", "pid"])
    found = crossed_interval(pd.DataFrame([[1.0, 2.0], [3.0, 6.0]], index))
    # Means of persons 1.5, 4.5 and of seeds 2, 4; the rest of a cell is ±0.5.
    persons, seeds, rest = 4.5 / 2, 2 / 2, 1 / 4
    variance = persons + seeds - rest
    freedom = variance**2 / (persons**2 + seeds**2)
    assert found.mean == 3
    assert found.high - 3 == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)


def test_what_cannot_be_crossed():
    values = crossed(np.random.default_rng(3), range(3))
    for some in (values[[0]], values[values.index.get_level_values("pid") == 5]):
        mean, low, high = crossed_interval(some)
        assert math.isfinite(mean)
        assert math.isnan(low)
        assert math.isnan(high)
    assert crossed_difference(values, values) == (0, 0, 0, 1)
    gaps = values.copy()
    gaps.iloc[::2, 1] = np.nan
    assert crossed_interval(gaps) == crossed_interval(values.iloc[1::2])
    with pytest.raises(DataError, match="different queries"):
        crossed_difference(values, values.iloc[1:])
    with pytest.raises(DataError, match="no query has a value"):
        crossed_interval(values * np.nan)
