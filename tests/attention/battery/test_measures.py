import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmagga.attention.battery import measures
from mmagga.retrieval.uncertainty import estimate, holm

CLIPS, TOKENS = 50, 16


def drawn(seed=0):
    """Weights, the occluded share of every token, and the visible body's."""
    rng = np.random.default_rng(seed)
    weights = rng.random((CLIPS, TOKENS)) + 0.5
    shares = rng.choice([0.0, 0.3, 0.7, 1.0], (CLIPS, TOKENS), p=[0.5, 0.1, 0.2, 0.2])
    return weights / weights.sum(1, keepdims=True), shares, (1 - shares) * rng.random(shares.shape)


UNIFORM = np.full((CLIPS, TOKENS), 1 / TOKENS)


def test_uniform_weights_give_the_random_values():
    _, shares, visible = drawn()
    groups = measures.groups(shares)
    assert measures.did(UNIFORM, UNIFORM, *groups) == pytest.approx(0)
    assert measures.corruption_removed(UNIFORM, shares) == pytest.approx(0)
    assert measures.ranking(UNIFORM, shares) == pytest.approx(0)
    assert measures.share_on(UNIFORM, shares) == pytest.approx(shares.mean(1))
    assert measures.log_ratio(UNIFORM, shares, visible) == pytest.approx(0)


@pytest.mark.parametrize("ratio", [1.02, math.e, 50.0])
def test_the_best_weights_reach_what_is_printed_and_none_exceed_it(ratio):
    weights, shares, _ = drawn()
    best = np.where(shares == 0, ratio, 1.0)
    hard = np.where(shares > 0, 1.0, 0.0)  # where shares are 0 or 1 the best weights are known
    best /= best.sum(1, keepdims=True)
    attained = measures.corruption_removed(best, hard)
    printed = 1 + measures.best_mass(-hard, ratio) / hard.mean(1)
    assert attained == pytest.approx(printed)
    bounded = weights.clip(weights.max(1, keepdims=True) / ratio)
    bounded /= bounded.sum(1, keepdims=True)
    limit = 1 + measures.best_mass(-shares, ratio) / shares.mean(1)
    assert (measures.corruption_removed(bounded, shares) <= limit + 1e-9).all()
    q = hard.mean(1)
    assert printed == pytest.approx(1 - 1 / (q + ratio * (1 - q)))


def test_an_unbounded_branch_can_put_everything_on_one_token():
    _, _, visible = drawn()
    assert np.array_equal(measures.best_mass(visible, math.inf), visible.max(1))
    assert measures.best_mass(visible, 1e9) == pytest.approx(visible.max(1), rel=1e-6)


def test_oracle_weights_are_perfect():
    _, shares, _ = drawn()
    oracle = (shares == 0) / (shares == 0).sum(1, keepdims=True)
    assert measures.ranking(oracle, (shares > 0).astype(float)) == pytest.approx(0.5)
    assert measures.corruption_removed(oracle, shares) == pytest.approx(1)


def test_did_is_the_change_on_occluded_tokens_and_forgets_a_fixed_preference():
    before, shares, _ = drawn()
    occluded, clean = measures.groups(shares)
    after = before * np.where(occluded, math.exp(-0.3), 1)
    after /= after.sum(1, keepdims=True)
    assert measures.did(before, after, occluded, clean) == pytest.approx(-0.3)
    preference = np.linspace(1, 2, TOKENS)
    one, other = (w * preference / (w * preference).sum(1, keepdims=True) for w in (before, after))
    assert measures.did(one, other, occluded, clean) == pytest.approx(-0.3)


def test_ranking_is_that_of_counting_pairs():
    weights, shares, _ = drawn()
    weights, shares = weights.round(2), shares.round()  # ties; covered or not: AUROC - 1/2
    for i, found in enumerate(measures.ranking(weights, shares)):
        covered, clear = (weights[i, shares[i] == share] for share in (1, 0))
        pairs = [(a > b) + (a == b) / 2 for a in clear for b in covered]
        assert found == pytest.approx(np.mean(pairs) - 0.5)


def test_a_clip_that_cannot_say_is_nan():
    weights = UNIFORM[:2]
    nothing = np.zeros((2, TOKENS))
    assert np.isnan(measures.did(weights, weights, *measures.groups(nothing))).all()
    assert np.isnan(measures.corruption_removed(weights, nothing)).all()
    assert np.isnan(measures.ranking(weights, nothing + 1)).all()
    assert np.isnan(measures.share_on(-weights, nothing)).all()


@pytest.mark.parametrize("side", [0, 1])
def test_a_ratio_of_almost_no_tokens_is_nan(side):
    some = np.full((2, TOKENS), 0.5)
    covered = [some, some]
    covered[side] = np.full((2, TOKENS), 1e-9 / TOKENS)
    assert np.isnan(measures.log_ratio(UNIFORM[:2], *covered)).all()


def test_whole_frames_count_as_occluded_from_a_tenth_on():
    shares = np.array([[0.0, 0.05, 0.1, 0.3, 0.5]])
    occluded, clean = measures.groups(shares, frames=True)
    assert occluded.tolist() == [[False, False, True, True, True]]
    assert clean.tolist() == [[True, True, False, False, False]]
    assert measures.groups(shares)[0].tolist() == [[False, False, False, False, True]]


def test_order_error_is_zero_for_weights_that_follow_their_frames():
    weights, order = UNIFORM * np.arange(1, TOKENS + 1), np.arange(TOKENS)[::-1]
    weights = weights / weights.sum(1, keepdims=True)
    assert measures.order_error(weights, weights[:, order], order) == pytest.approx(0)
    assert (measures.order_error(weights, weights, order) > 0.1).all()


def test_rank_correlation_is_spearmans():
    a, b, _ = drawn()
    b = b + a
    expected = [spearmanr(*pair).statistic for pair in zip(a, b, strict=True)]
    assert measures.rank_correlation(a, b) == pytest.approx(expected)


def test_mutual_information_of_independent_and_of_equal_things():
    assert measures.mutual_information(np.ones((3, 4))) == pytest.approx(0)
    assert measures.mutual_information(np.eye(4)) == pytest.approx(math.log(4))


def test_measures_do_not_depend_on_the_clips_beside():
    before, shares, _ = drawn()
    after = drawn(1)[0]
    order = np.random.default_rng(2).permutation(CLIPS)
    groups = measures.groups(shares)
    for found, again in (
        (
            measures.did(before, after, *groups),
            measures.did(before[order], after[order], *(g[order] for g in groups)),
        ),
        (measures.ranking(after, shares), measures.ranking(after[order], shares[order])),
    ):
        np.testing.assert_array_equal(found[order], again)


# --- intervals ----------------------------------------------------------------------------------


def test_persons_are_drawn_not_clips():
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(40), 5)
    values = rng.standard_normal(40)[persons]  # the five clips of a person say the same
    together = estimate(values, persons, draws=2000)
    apart = estimate(values, np.arange(200), draws=2000)
    assert together.value == pytest.approx(values.mean())
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    persons = np.arange(40)
    held = [
        found.low <= 0 <= found.high
        for found in (estimate(rng.standard_normal(40), persons, draws=500) for _ in range(300))
    ]
    assert 0.9 < np.mean(held) < 0.98


def test_p_is_small_where_the_interval_is_far_and_never_zero():
    values = np.random.default_rng(0).standard_normal(40) + 3
    found = estimate(values, np.arange(40), draws=999)
    assert found.p == pytest.approx(2 / 1000)
    assert estimate(values, np.arange(40), null=3.0, draws=999).p > 0.05


def test_unknown_values_are_left_out_and_counted():
    found = estimate(np.array([1.0, np.nan, 3.0]), np.array([1, 2, 3]), draws=100)
    assert (found.value, found.clips) == (2, 2)
    alone = estimate(np.array([1.0, np.nan]), np.array([1, 2]), draws=100)
    assert alone.value == 1
    assert math.isnan(alone.low)
    nothing = estimate(np.array([np.nan]), np.array([1]), draws=100)
    assert math.isnan(nothing.value)


def test_holm():
    assert holm([0.01, 0.04, np.nan, 0.03]).tolist() == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    assert holm([0.5, 0.9]).tolist() == [1, 1]
