"""Agreement of two raters: hand-worked coefficients, independent oracles, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from tasks.statistics import DEGENERATE, kappa, rank_correlation, weighted_kappa

SEED = 20210618


def ratings(prompts: int, completions: int, levels: int | None = None) -> tuple[list[Any], list[Any]]:
    """Two raters of the same completions, who share something; whole numbers from 1 to `levels`, or scores."""
    rng = np.random.default_rng(SEED)
    common = rng.normal(size=(prompts, 1)) + rng.normal(size=(prompts, completions))
    raters = [common + rng.normal(size=common.shape) for _ in range(2)]
    if levels:
        raters = [np.clip(np.round(levels / 2 + rater), 1, levels) for rater in raters]
    return list(raters[0]), list(raters[1])


def flat(rater: list[Any]) -> Any:
    return np.concatenate([np.asarray(values) for values in rater])


def one_stratum(prompts: int) -> list[str]:
    return ["s"] * prompts


def test_kappa_by_hand() -> None:
    """20 and 15 of 50 agreed on; margins 25/25 and 30/20: (0.7 − 0.5)/(1 − 0.5)."""
    table = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    order = np.random.default_rng(SEED).permutation(50)
    first = [[table[i][0] for i in order[p * 5 : p * 5 + 5]] for p in range(10)]
    second = [[table[i][1] for i in order[p * 5 : p * 5 + 5]] for p in range(10)]
    found = kappa(first, second, one_stratum(10))
    assert found.value == pytest.approx(0.4)
    assert (found.n, found.df) == (10, 9)
    assert found.low < 0.4 < found.high
    # of two classes, squared differences are differences
    weighted = weighted_kappa(first, second, one_stratum(10))
    assert (weighted.low, weighted.value, weighted.high) == pytest.approx((found.low, found.value, found.high))


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_both_kappas_are_those_of_scikit_learn(levels: int) -> None:
    first, second = ratings(40, 3, levels)
    x, y = flat(first), flat(second)
    assert kappa(first, second, one_stratum(40)).value == pytest.approx(cohen_kappa_score(x, y))
    assert weighted_kappa(first, second, one_stratum(40)).value == pytest.approx(cohen_kappa_score(x, y, weights="quadratic"))


@pytest.mark.parametrize("levels", [None, 5])
def test_the_rank_correlation_is_that_of_scipy_ties_included(levels: int | None) -> None:
    first, second = ratings(40, 3, levels)
    found = rank_correlation(first, second, one_stratum(40))
    assert found.value == pytest.approx(stats.spearmanr(flat(first), flat(second)).statistic)
    grown = rank_correlation([np.exp(values) for values in first], second, one_stratum(40))
    assert grown == found  # ranks do not see a rising transformation


@pytest.mark.parametrize(
    ("coefficient", "levels", "oracle"),
    [
        (kappa, 3, cohen_kappa_score),
        (weighted_kappa, 5, lambda x, y: cohen_kappa_score(x, y, weights="quadratic")),
        (rank_correlation, None, lambda x, y: stats.spearmanr(x, y).statistic),
    ],
)
def test_intervals_come_from_leaving_each_prompt_out(coefficient: Any, levels: int | None, oracle: Any) -> None:
    first, second = ratings(12, 4, levels)
    without = [
        oracle(flat(first[:i] + first[i + 1 :]), flat(second[:i] + second[i + 1 :]))
        for i in range(12)  # the textbook's loop
    ]
    error = np.sqrt(11 / 12 * np.sum((np.array(without) - np.mean(without)) ** 2))
    found = coefficient(first, second, one_stratum(12))
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 11) * error)
    assert found.value - found.low == pytest.approx(stats.t.ppf(0.975, 11) * error)


@pytest.mark.parametrize(("coefficient", "levels"), [(kappa, 3), (weighted_kappa, 5), (rank_correlation, None)])
def test_prompts_weigh_equally_within_categories_of_equal_weight(coefficient: Any, levels: int | None) -> None:
    first, second = ratings(9, 4, levels)
    strata = ["a"] * 6 + ["b"] * 3
    found = coefficient(first, second, strata)
    # the smaller category given twice has the same weight a prompt as the larger: no strata are needed for the value
    twice = [rater + rater[6:] for rater in (first, second)]
    assert found.value == pytest.approx(coefficient(*twice, one_stratum(12)).value)
    # more completions of a prompt, in the same proportions, weigh no more
    longer = [[np.tile(rater[0], 3), *rater[1:]] for rater in (first, second)]
    assert coefficient(*longer, strata).value == pytest.approx(found.value)
    assert found.df == 7
    order = np.random.default_rng(SEED).permutation(9)
    mixed = coefficient([first[i] for i in order], [second[i] for i in order], [strata[i] for i in order])
    assert (mixed.value, mixed.low, mixed.high) == pytest.approx((found.value, found.low, found.high))
    assert coefficient(second, first, strata).value == pytest.approx(found.value)


def test_fractions_of_ratings_are_accepted() -> None:
    """A judge's whole ratings against means of three people."""
    first, _ = ratings(20, 3, 5)
    people = [np.mean([values, np.minimum(values + 1, 5), values], axis=0) for values in first]
    found = weighted_kappa(first, people, one_stratum(20))
    x, y = flat(first), flat(people)
    expected = 1 - np.mean((x - y) ** 2) / np.mean((x[:, None] - y[None, :]) ** 2)
    assert found.value == pytest.approx(expected)
    assert 0.8 < found.value < 1


@pytest.mark.parametrize("coefficient", [kappa, weighted_kappa, rank_correlation])
def test_full_agreement_is_one_and_shows_no_error(coefficient: Any) -> None:
    first, _ = ratings(20, 3, 2)
    found = coefficient(first, first, one_stratum(20))
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert found.method.startswith(DEGENERATE)


def test_limits_end_at_one() -> None:
    first = [[1, 0, 1]] * 8
    second = [[1, 0, 1]] * 7 + [[0, 1, 1]]
    found = kappa(first, second, one_stratum(8))
    assert found.value < found.high == 1


@pytest.mark.parametrize("coefficient", [kappa, weighted_kappa])
def test_one_class_alone_is_refused(coefficient: Any) -> None:
    ones, both = [[1.0, 1.0]] * 6, [[1.0, 0.0]] * 6
    for first, second, name in ((ones, ones, "first"), (ones, both, "first"), (both, ones, "second")):
        with pytest.raises(ValueError, match=f"^{name}: expected at least two classes in use, got 1 alone: kappa is undefined"):
            coefficient(first, second, one_stratum(6))
    lone = [*ones[1:], [0.0, 1.0]]
    with pytest.raises(ValueError, match="two classes in use also without any one prompt"):
        coefficient(lone, lone, one_stratum(6))


def test_equal_scores_have_no_rank_correlation() -> None:
    first, _ = ratings(6, 3)
    for equal in ([[0.2] * 3] * 6, [*[[0.2] * 3] * 5, [0.2, 0.3, 0.4]]):
        with pytest.raises(ValueError, match="scores that vary, also without any one prompt: their correlation is undefined"):
            rank_correlation(first, equal, one_stratum(6))


@pytest.mark.parametrize("coefficient", [kappa, weighted_kappa, rank_correlation])
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([[0, 1], [1, 0]], [[0, 1]], r"second: expected as many prompts as first \(2\), got 1"),
        ([[0, 1], [1, 0]], [[0, 1], [1]], r"second\[1\]: expected as many completions as first \(2\), got 1"),
        ([[0, 1], [1, float("nan")]], [[0, 1], [1, 0]], r"first\[1\]: expected finite numbers"),
        ([[0, 1], []], [[0, 1], []], r"first\[1\]: expected at least one number"),
        ([[0, 1]], [[0, 1]], "expected at least 2 prompts, got 1"),
    ],
)
def test_bad_input_is_refused(coefficient: Any, first: Any, second: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        coefficient(first, second, one_stratum(len(first)))
