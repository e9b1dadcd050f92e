"""Intervals, tests and effect sizes: hand-worked cases and scipy as oracle. What they promise is simulated in test_simulations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tasks.statistics import (
    DEGENERATE,
    Interval,
    benjamini_hochberg,
    cohens_d,
    crossed_difference,
    holm,
    minimal_detectable_difference,
    paired_difference,
    prompt_slope,
    rate_level,
    rises_with_size,
    score_level,
    sign_flip,
    size_slope,
)
from tasks.statistics.nothing import no_success

EIGHT_BY_FIVE = np.repeat(list("abcdefgh"), 5)


def one(prompts: int) -> list[str]:
    return ["all"] * prompts


def limits(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


# --- paired differences


def test_one_stratum_is_the_one_sample_t_interval() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    oracle = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    ours = paired_difference(differences, one(12), level=0.9)
    assert limits(ours) == pytest.approx((differences.mean(), oracle.low, oracle.high))
    assert (ours.n, ours.df) == (12, 11)


def test_strata_weigh_equally_whatever_their_size() -> None:
    # stratum a: mean 2, s² 2, n 2; stratum b: mean 0, s² 1, n 3 (-1, 0, 1). Mean 1; variance (2/2 + 1/3)/4 = 1/3; df 3.
    ours = paired_difference([1, 3, -1, 0, 1], list("aabbb"))
    reach = stats.t.ppf(0.975, 3) * math.sqrt(1 / 3)
    assert limits(ours) == pytest.approx((1, 1 - reach, 1 + reach))
    assert ours.df == 3


def test_category_effects_do_not_widen_the_interval() -> None:
    noise = np.random.default_rng(1).normal(size=40)
    shifts = np.repeat(np.arange(8) * 10.0, 5)
    plain, shifted = paired_difference(noise, EIGHT_BY_FIVE), paired_difference(noise + shifts, EIGHT_BY_FIVE)
    assert shifted.high - shifted.low == pytest.approx(plain.high - plain.low)


def test_single_prompt_strata_are_collapsed() -> None:
    # Every category has one prompt: the spread between categories is all there is, so it is the one-sample t.
    values = [1.0, 2.0, 4.0, 9.0]
    alone, pooled = paired_difference(values, list("abcd")), paired_difference(values, one(4))
    assert limits(alone) == pytest.approx(limits(pooled))
    assert alone.df == 3
    assert "collapsed" in alone.method


def test_a_lone_single_prompt_stratum_joins_the_smallest_other() -> None:
    # a: 5 (weight 1/3); b: 1, 3 (1/6 each); c: 0, 0, 3 (1/9 each). a joins b: s²(5, 1, 3) = 4; s²(c) = 3.
    ours = paired_difference([5, 1, 3, 0, 0, 3], list("abbccc"))
    variance = 4 * (1 / 9 + 2 / 36) + 3 * 3 / 81
    assert ours.value == pytest.approx((5 + 2 + 1) / 3)
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, 4) * math.sqrt(variance))
    assert ours.df == 4


@given(
    hnp.arrays(float, 12, elements=st.floats(-5, 5)),
    st.permutations(range(12)),
    st.floats(0.1, 10),
    st.floats(-3, 3),
)
@settings(max_examples=40, deadline=None)
def test_difference_follows_order_scale_and_shift(values: np.ndarray, order: list[int], scale: float, shift: float) -> None:
    strata = np.array(list("aaabbbbccccc"))
    before, after = (
        paired_difference(values, strata),
        paired_difference(scale * values[order] + shift, strata[order]),
    )
    expected = [scale * number + shift for number in limits(before)]
    assert limits(after) == pytest.approx(expected, abs=1e-6)


def test_no_spread_is_marked_and_not_a_measurement_without_error() -> None:
    same = paired_difference([0.1] * 10, list("aaaaabbbbb"))
    assert limits(same) == pytest.approx((0.1, 0.1, 0.1))
    assert same.method.startswith(DEGENERATE)


# --- sign-flip


def test_sign_flip_agrees_with_the_exact_enumeration() -> None:
    differences = np.array([0.9, 1.4, -0.2, 0.7, 1.1, 0.5, 0.1, 0.8])

    def statistic(values: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.abs(np.mean(values, axis=axis)) / np.std(values, axis=axis, ddof=1)

    exact = stats.permutation_test(
        (differences,), statistic, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue
    assert sign_flip(differences, one(8)) == pytest.approx(exact)  # every pattern of signs, once
    assert sign_flip(differences, one(8), draws=255) == pytest.approx(exact, abs=0.05)  # fewer draws than patterns
    many = np.random.default_rng(8).normal(0.5, 1, 14)
    assert sign_flip(many, one(14)) == pytest.approx(sign_flip(many, one(14), draws=2**14), abs=0.005)


def test_sign_flip_never_goes_below_two_in_two_to_the_prompts() -> None:
    assert sign_flip([1.0, 1.1, 0.9, 1.2, 1.0], one(5)) == 2 / 32


def test_sign_flip_of_equal_arms_is_one_and_of_clear_ones_the_least_possible() -> None:
    assert sign_flip(np.zeros(40), EIGHT_BY_FIVE) == 1.0
    assert sign_flip(np.full(40, 0.1), EIGHT_BY_FIVE, draws=999) == 1 / 1000


def test_sign_flip_is_two_sided_reproducible_and_free_of_scale() -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, 40)
    p = sign_flip(differences, EIGHT_BY_FIVE, draws=999, seed=4)
    assert p == sign_flip(-differences, EIGHT_BY_FIVE, draws=999, seed=4)
    assert p == sign_flip(1e-200 * differences, EIGHT_BY_FIVE, draws=999, seed=4)
    assert p != sign_flip(differences, EIGHT_BY_FIVE, draws=999, seed=5)


@pytest.mark.parametrize(
    ("call", "bound"),
    [
        (lambda values, strata: sign_flip(values, strata, draws=10_000), 2.0),
        (lambda values, strata: score_level(values, strata, resamples=10_000), 1.0),
    ],
    ids=["sign_flip", "score_level"],
)
def test_ten_thousand_draws_over_160_prompts_are_quick(call: Callable[[Any, Any], object], bound: float) -> None:
    times = []
    for values in np.random.default_rng(5).normal(size=(5, 160)):
        begun = time.process_time()
        call(values, np.repeat(np.arange(8), 20))
        times.append(time.process_time() - begun)
    assert min(times) < bound


# --- levels


def test_no_success_is_bounded_twice() -> None:
    """By the rule of Clopper and Pearson over all completions, and over prompts as `rate_level` does."""
    independent, together = no_success(40, 1000)
    assert independent == pytest.approx(stats.beta.ppf(0.975, 1, 1000))
    assert together == pytest.approx(rate_level([0.0] * 40, [25] * 40, EIGHT_BY_FIVE).high)
    one_success = rate_level([1 / 25] + [0.0] * 39, [25] * 40, EIGHT_BY_FIVE).high
    assert independent < one_success < together
    with pytest.raises(ValueError, match="completions: expected at least as many as prompts"):
        no_success(40, 39)


def test_score_level_is_near_student_t_for_normal_scores() -> None:
    scores = np.random.default_rng(12).normal(3, 1, 200)
    ours, student = score_level(scores, one(200), resamples=9999), paired_difference(scores, one(200))
    assert limits(ours) == pytest.approx(limits(student), abs=0.02)


def test_score_level_leans_to_the_long_tail_of_a_skewed_score() -> None:
    scores = np.random.default_rng(13).lognormal(0, 1, 40)
    ours = score_level(scores, EIGHT_BY_FIVE)
    assert ours.high - ours.value > 1.2 * (ours.value - ours.low)
    assert ours == score_level(scores, EIGHT_BY_FIVE)
    assert ours != score_level(scores, EIGHT_BY_FIVE, seed=1)


@pytest.mark.parametrize(
    "resamples", [399, 70_000]
)  # few are kept for the next metric of these prompts, many are drawn in blocks
def test_score_level_is_the_bootstrap_t_of_its_draws(resamples: int) -> None:
    # a's lone prompt joins b: in a resample each place keeps its weight, whichever prompt is drawn into it
    scores = np.random.default_rng(21).exponential(1, 35)
    groups = [(np.arange(9), np.array([1 / 3, *[1 / 24] * 8])), (np.arange(9, 35), np.full(26, 1 / 78))]
    rng, errors, variances, variance = np.random.default_rng(2), np.zeros(resamples), np.zeros(resamples), 0.0
    for group, weights in groups:
        drawn = scores[group][rng.integers(group.size, size=(resamples, group.size))]
        errors += (drawn - scores[group].mean()) @ weights
        variances += np.sum(weights**2) * drawn.var(axis=1, ddof=1)
        variance += np.sum(weights**2) * scores[group].var(ddof=1)
    with np.errstate(divide="ignore"):
        ratios = np.sort(np.where(variances > 1e-12, errors / np.sqrt(variances), np.copysign(np.inf, errors)))
    value, rank = sum(weights @ scores[group] for group, weights in groups), (resamples + 1) // 40
    expected = (value, value - ratios[-rank] * math.sqrt(variance), value - ratios[rank - 1] * math.sqrt(variance))
    for _ in range(2):
        assert limits(score_level(scores, ["a", *["b"] * 8, *["c"] * 26], resamples=resamples, seed=2)) == pytest.approx(expected)


def test_score_level_weighs_strata_equally() -> None:
    assert score_level([1, 3, 10, 11, 12, 15], list("aabbbb")).value == pytest.approx((2 + 12) / 2)


def test_one_spike_among_five_gives_a_limit_no_tighter_than_student_t() -> None:
    spike = [0.0, 0.0, 0.0, 0.0, 1.0]
    ours, student = score_level(spike, one(5)), paired_difference(spike, one(5))
    assert "widened to Student t" in ours.method
    assert ours.high >= student.high - 1e-12


def test_two_prompts_give_a_limit_no_tighter_than_student_t_on_either_side() -> None:
    ours, student = score_level([1.0, 2.0], one(2)), paired_difference([1.0, 2.0], one(2))
    assert limits(ours) == pytest.approx(limits(student))


def test_score_level_without_spread_is_marked() -> None:
    ours = score_level([0.1, 0.1, 0.1, 5, 5], list("aaabb"))
    assert limits(ours) == pytest.approx((2.55, 2.55, 2.55))
    assert ours.method == DEGENERATE


@pytest.mark.parametrize("successes", [1, 4, 17, 29])
def test_rate_level_without_clusters_or_strata_is_clopper_pearson(successes: int) -> None:
    shares = np.arange(30) < successes
    oracle = stats.binomtest(successes, 30).proportion_ci(0.9, "exact")
    ours = rate_level(shares, np.ones(30), one(30), level=0.9)
    assert limits(ours) == pytest.approx((successes / 30, oracle.low, oracle.high))


def test_rate_level_with_all_zeros_or_ones_is_clopper_pearson_over_prompts() -> None:
    zeros, ones = (rate_level(np.full(40, share), [3] * 40, EIGHT_BY_FIVE) for share in (0.0, 1.0))
    assert limits(zeros) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 40)))
    assert limits(ones) == pytest.approx((1, 0.025 ** (1 / 40), 1))


def test_rate_level_counts_a_prompt_once_if_its_completions_are_all_alike() -> None:
    shares = np.arange(40) < 10
    alike, apart = rate_level(shares, [25] * 40, one(40)), rate_level(shares, [1] * 40, one(40))
    # 1,000 completions that carry no more than 40 do
    assert alike.high - alike.low == pytest.approx(apart.high - apart.low, rel=0.05)


def test_rate_level_by_hand_in_two_strata() -> None:
    # Stratum a: 0, 1/2, 1 (s² 1/4); b: 0, 0, 1/2 (s² 1/12), of 4 completions: rate 1/3, variance (1/12 + 1/36)/4 = 1/36, df 4.
    design_effect = (1 / 36) / ((1 / 3) * (2 / 3) / 23)
    sample = 24 / design_effect * (stats.t.ppf(0.975, 23) / stats.t.ppf(0.975, 4)) ** 2
    ours = rate_level([0, 0.5, 1, 0, 0, 0.5], [4] * 6, list("aaabbb"))
    low = stats.beta.ppf(0.025, sample / 3, sample * 2 / 3 + 1)
    high = stats.beta.ppf(0.975, sample / 3 + 1, sample * 2 / 3)
    assert limits(ours) == pytest.approx((1 / 3, low, high))


def test_rate_level_gives_no_credit_beyond_the_actual_sample() -> None:
    shares = [0.4, 0.4, 0.6, 0.4, 0.6, 0.6] * 2  # far less spread than independent completions have
    oracle = stats.binomtest(30, 60).proportion_ci(0.95, "exact")
    assert limits(rate_level(shares, [5] * 12, one(12))) == pytest.approx((0.5, oracle.low, oracle.high))
    assert limits(rate_level([0.5] * 12, [4] * 12, one(12)))[1:] == pytest.approx(
        tuple(stats.binomtest(24, 48).proportion_ci(0.95, "exact"))
    )


@given(st.lists(st.integers(0, 3), min_size=4, max_size=40), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_rate_level_is_proper_and_symmetric(successes: list[int], categories: int) -> None:
    shares, strata = np.array(successes) / 3, np.arange(len(successes)) % categories
    ours, mirrored = (rate_level(values, [3] * len(successes), strata) for values in (shares, 1 - shares))
    assert 0 <= ours.low <= ours.value + 1e-12
    assert ours.value <= ours.high + 1e-12
    assert ours.high <= 1
    assert ours.low < ours.high
    assert limits(mirrored) == pytest.approx((1 - ours.value, 1 - ours.high, 1 - ours.low), abs=1e-9)


# --- multiplicity


def test_adjusted_p_values_by_hand() -> None:
    p = [0.04, 0.01, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.02, 0.04, 0.02])
    assert holm([0.02, 0.02, 0.6]) == pytest.approx([0.06, 0.06, 0.6])
    assert holm([0.7, 0.8]) == pytest.approx([1.0, 1.0])


@given(hnp.arrays(float, st.integers(1, 20), elements=st.floats(0, 1)))
@settings(max_examples=60, deadline=None)
def test_adjusted_p_values_keep_order_and_match_the_oracle(p: np.ndarray) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert np.all(adjusted >= p)
        assert np.all(adjusted <= 1)
        assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
    assert np.all(holm(p) >= benjamini_hochberg(p) - 1e-15)


# --- effect sizes


def test_cohens_d_by_hand() -> None:
    # treated 2 4 4 6 (mean 4, s² 8/3), reference 1 3 1 3 (mean 2, s² 4/3): d = 2/√2
    ours = cohens_d([[2, 4], [4, 6]], [[1, 3], [1, 3]], one(2))
    assert ours.value == pytest.approx(math.sqrt(2))
    # left with one prompt: 3 − 2 over √((2 + 2)/2), and 5 − 2 over the same; jackknife variance (1/2)·Σ(±1/√2)² = 1/2
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, 1) * math.sqrt(0.5))
    assert ours.df == 1


def test_cohens_d_uses_the_total_variance_of_completions_and_does_not_grow_with_them() -> None:
    rng = np.random.default_rng(14)
    prompt = rng.normal(0, 1, 160)
    strata = np.repeat(np.arange(8), 20)
    found = []
    for completions in (3, 60):
        treated = list(prompt[:, None] + rng.normal(0.5, 1, (160, completions)))
        reference = list(prompt[:, None] + rng.normal(0, 1, (160, completions)))
        ours = cohens_d(treated, reference, strata)
        pooled = math.sqrt((np.var(treated, ddof=1) + np.var(reference, ddof=1)) / 2)
        assert ours.value == pytest.approx((np.mean(treated) - np.mean(reference)) / pooled)
        found.append(ours.value)
    assert found == pytest.approx([0.5 / math.sqrt(2)] * 2, abs=0.12)


def test_cohens_d_is_free_of_unit_and_flips_with_the_arms() -> None:
    rng = np.random.default_rng(15)
    treated = [rng.normal(1, 1, size) for size in (2, 3, 4, 3, 5, 2)]
    reference = [rng.normal(0, 1, size) for size in (3, 3, 2, 4, 2, 6)]
    strata = list("aabbbc")
    ours = cohens_d(treated, reference, strata)
    scaled = cohens_d([9 + 4 * scores for scores in treated], [9 + 4 * scores for scores in reference], strata)
    swapped = cohens_d(reference, treated, strata)
    assert limits(scaled) == pytest.approx(limits(ours))
    assert limits(swapped) == pytest.approx((-ours.value, -ours.high, -ours.low))


@pytest.mark.parametrize(("prompts", "strata", "low", "high"), [(40, 8, 0.30, 0.36), (160, 8, 0.14, 0.17), (5, 1, 1.1, 1.3)])
def test_minimal_detectable_differences(prompts: int, strata: int, low: float, high: float) -> None:
    assert minimal_detectable_difference(0.65, prompts, strata) == pytest.approx(low, abs=0.025)
    assert minimal_detectable_difference(0.78, prompts, strata) == pytest.approx(high, abs=0.01)


def test_a_minimal_detectable_difference_is_found_with_the_stated_power() -> None:
    shift = minimal_detectable_difference(0.7, 40, 8, power=0.9, alpha=0.01) / 0.7 * math.sqrt(40)
    edge = stats.t.isf(0.005, 32)
    assert stats.nct.sf(edge, 32, shift) + stats.nct.cdf(-edge, 32, shift) == pytest.approx(0.9, abs=0.01)


# --- trend


def test_prompt_slope_is_the_t_interval_of_slopes() -> None:
    rng, x = np.random.default_rng(17), np.log10([1.2e8, 3.5e8, 1.5e9])
    values = rng.normal(size=(3, 12)) + 0.5 * x[:, None]
    slopes = [stats.linregress(x, values[:, prompt]).slope for prompt in range(12)]
    strata = np.repeat(list("abc"), 4)
    ours, expected = prompt_slope(values, x, strata), paired_difference(slopes, strata)
    assert limits(ours) == pytest.approx(limits(expected))
    assert (ours.n, ours.df) == (12, 9)


def test_size_slope_is_least_squares() -> None:
    x, means = [8.1, 8.5, 8.9, 9.2, 9.8], [2.1, 2.9, 2.7, 3.6, 3.9]
    oracle = stats.linregress(x, means)
    ours = size_slope(means, x)
    reach = stats.t.ppf(0.975, 3) * oracle.stderr
    assert limits(ours) == pytest.approx((oracle.slope, oracle.slope - reach, oracle.slope + reach))
    assert (ours.n, ours.df) == (5, 3)


def test_a_rise_is_claimed_only_from_four_sizes_and_only_by_the_slope_over_sizes() -> None:
    x, means = [8.0, 8.5, 9.0, 9.5], [2.0, 2.51, 3.0, 3.49]
    assert rises_with_size(size_slope(means, x), 4) is True
    assert rises_with_size(size_slope(means[::-1], x), 4) is False
    assert rises_with_size(size_slope([2.0, 3.4, 2.1, 3.3], x), 4) is False
    assert rises_with_size(size_slope(means[:3], x[:3]), 3) is None
    exact = size_slope([2.0, 2.5, 3.0, 3.5], x)
    assert exact.method.startswith(DEGENERATE)
    assert rises_with_size(exact, 4) is None
    models = prompt_slope(np.array(means)[:, None] + np.random.default_rng(18).normal(0, 0.01, (4, 6)), x, one(6))
    with pytest.raises(ValueError, match="size_slope"):
        rises_with_size(models, 4)
    with pytest.raises(ValueError, match="over 4 sizes"):
        rises_with_size(size_slope(means[:3], x[:3]), 4)


# --- seeds


def test_crossed_difference_by_hand() -> None:
    # seeds × prompts, additive: seeds add 0, 1, 2 and prompts 0, 2, 4, 6, so no remainder: Vp = (20/3)/4, Vs = 1/3, Vps = 0.
    table = np.arange(3.0)[:, None] + 2 * np.arange(4.0)
    ours = crossed_difference(table, one(4))
    of_prompts, of_seeds = 5 / 3, 1 / 3
    df = 4 / (of_prompts**2 / 3 + of_seeds**2 / 2)
    assert ours.df == pytest.approx(max(2, min(3, df)))
    assert limits(ours) == pytest.approx((4, *(4 + sign * stats.t.ppf(0.975, ours.df) * math.sqrt(2) for sign in (-1, 1))))


def test_crossed_difference_is_the_two_way_analysis_of_variance() -> None:
    seeds, prompts = 3, 6
    rng = np.random.default_rng(20)
    table = rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 1, prompts) + rng.normal(0, 0.8, (seeds, prompts))
    of_prompts = seeds * np.var(table.mean(axis=0), ddof=1)
    of_seeds = prompts * np.var(table.mean(axis=1), ddof=1)
    squares = (seeds * prompts * np.var(table) - (prompts - 1) * of_prompts - (seeds - 1) * of_seeds) / 10
    variance = (of_prompts + of_seeds - squares) / 18
    df = (of_prompts + of_seeds - squares) ** 2 / (of_prompts**2 / 5 + of_seeds**2 / 2 + squares**2 / 10)
    assert squares < min(of_prompts, of_seeds)
    assert 2 < df < 5
    ours = crossed_difference(table, one(prompts))
    assert ours.df == pytest.approx(df)
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(variance))


@pytest.mark.parametrize(("value", "prompts"), [(0.2, 5), (0.04, 40)])
def test_equal_differences_of_every_run_and_prompt_show_no_error(value: float, prompts: int) -> None:
    found = crossed_difference(
        np.full((3, prompts), value), [str(i % 5) for i in range(prompts)] if prompts > 5 else ["a"] * prompts
    )
    assert found.method.startswith(DEGENERATE)
    assert found.low == found.high == pytest.approx(value)


def test_crossed_variance_never_falls_below_prompts_or_seeds_alone() -> None:
    rng = np.random.default_rng(19)
    table = rng.normal(size=(4, 40))
    table -= (table - table.mean()).mean(axis=1, keepdims=True)  # seeds agree better than chance would let them
    ours, prompts = (
        crossed_difference(table, EIGHT_BY_FIVE),
        paired_difference(table.mean(axis=0), EIGHT_BY_FIVE),
    )
    assert ours.high - ours.low >= prompts.high - prompts.low - 1e-12


# --- bad input

CALLS: dict[str, Callable[[Any, Any], object]] = {
    "score_level": lambda values, strata: score_level(values, strata, resamples=99),
    "rate_level": lambda values, strata: rate_level(values, [3, 3, 3, 3], strata),
    "paired_difference": paired_difference,
    "sign_flip": sign_flip,
    "prompt_slope": lambda values, strata: prompt_slope([values, values], [1, 2], strata),
    "crossed_difference": lambda values, strata: crossed_difference([values] * 3, strata),
    "cohens_d": lambda values, strata: cohens_d([[value, 1] for value in values], [[value, 2] for value in values], strata),
}
GOOD = [0.0, 0.5, 1.0, 0.25]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("values", "strata"),
    [
        ([0.0, float("nan"), 1.0, 0.25], one(4)),
        ([0.0, float("inf"), 1.0, 0.25], one(4)),
        ([0.0, None, 1.0, 0.25], one(4)),
        ([0.0, "high", 1.0, 0.25], one(4)),
        ([], []),
        ([0.5], ["a"]),
        (GOOD, one(3)),
        (GOOD, ["a", "a", None, "b"]),
        (GOOD, ["a", "a", float("nan"), "b"]),
    ],
    ids=["nan", "infinite", "missing", "text", "empty", "one prompt", "lengths", "no label", "nan label"],
)
def test_bad_input_is_refused_in_one_line(call: Callable[..., object], values: list[float], strata: list[str]) -> None:
    call(GOOD, one(4))  # the same call stands with good input
    with pytest.raises(ValueError) as refusal:
        call(values, strata)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired_difference([[1, 2], [3, 4]], one(4)), "differences: expected 1 dim"),
        (lambda: paired_difference(GOOD, one(4), level=95), "level: expected"),
        (lambda: score_level(GOOD, one(4), resamples=20), "resamples: expected at least 39"),
        (lambda: sign_flip(GOOD, one(4), draws=0), "draws: expected"),
        (lambda: rate_level([0, 0.5, 1.2, 1], [3] * 4, one(4)), "shares in"),
        (lambda: rate_level(GOOD, [3, 3, 3], one(4)), "completions: expected one count"),
        (lambda: rate_level(GOOD, [3, 0, 3, 3], one(4)), "whole numbers"),
        (lambda: rate_level(GOOD, [3, 2.5, 3, 3], one(4)), "whole numbers"),
        (lambda: holm([]), "p_values: expected at least one"),
        (lambda: holm([0.1, float("nan")]), "p_values: expected finite"),
        (lambda: benjamini_hochberg([0.1, 1.1]), "p_values: expected numbers in"),
        (lambda: cohens_d([[1, 2]] * 4, [[1, 2]] * 3, one(4)), "reference: expected as many"),
        (lambda: cohens_d([[1, 2], []], [[1, 2], [1, 2]], one(2)), r"treated\[1\]: expected at least one"),
        (lambda: cohens_d([[2, 2]] * 4, [[0.1, 0.1]] * 4, one(4)), "d is undefined"),
        (lambda: cohens_d([[2, 1], [1, 1], [1, 1]], [[1, 1]] * 3, one(3)), "without any one prompt"),
        (lambda: minimal_detectable_difference(0, 40, 8), "sd: expected"),
        (lambda: minimal_detectable_difference(0.7, 8, 8), "more prompts than strata"),
        (lambda: minimal_detectable_difference(0.7, 40, 8, power=1), "power: expected"),
        (lambda: size_slope([1, 2], [1, 2]), "at least 3 models"),
        (lambda: size_slope([1, 2, 3], [1, 1, 2]), "every size once"),
        (lambda: size_slope([1, 2, 3], [1, 2, 3, 4]), "one number a mean"),
        (lambda: prompt_slope([GOOD, GOOD], [1, 1], one(4)), "different size"),
        (lambda: prompt_slope([GOOD, GOOD], [1, 2, 3], one(4)), "one number a model"),
        (lambda: crossed_difference([GOOD, GOOD], one(4)), "at least 3 seeds"),
        (lambda: Interval(float("nan"), 0, 1, 4, None, "broken"), "expected a finite interval"),
    ],
)
def test_refusals_say_what_would_be_accepted(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_one_prompt_that_differs_does_not_send_the_limits_out_of_sight() -> None:
    scores = np.random.default_rng(0).uniform(1e-4, 3e-3, 16)
    scores[5] = 0.33
    found = score_level(scores, [str(i // 2) for i in range(16)])
    assert "widened to Student t" in found.method
    assert -0.1 < found.low < found.value < found.high < 0.2
