"""Equivalence to within a margin: by hand, at its error rate, and for what cannot be decided."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tasks.statistics import equivalence

FOUR = [0.01, 0.02, -0.01, 0.0]  # mean 0.005, sd 0.012909944, standard error 0.006454972, t(0.95; 3) 2.353363


def test_the_interval_is_that_of_two_one_sided_tests() -> None:
    found = equivalence(FOUR, ["a"] * 4, 0.03)
    reach = 2.353363 * 0.006454972
    assert (found.interval.low, found.interval.high) == pytest.approx((0.005 - reach, 0.005 + reach), abs=1e-7)
    assert found.interval.high == pytest.approx(0.020191, abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "margin", "verdict"),
    [
        (0.0, 0.0202, "equivalent"),  # just above the upper limit, 0.020191
        (0.0, 0.0201, "not shown"),
        (0.0, 0.001, "not shown"),  # mean beyond the margin, interval across it
        (0.1, 0.03, "different"),
        (-0.1, 0.03, "different"),
    ],
)
def test_verdicts(shift: float, margin: float, verdict: str) -> None:
    assert equivalence(np.array(FOUR) + shift, ["a"] * 4, margin).verdict == verdict


def test_both_one_sided_tests_of_scipy_reject_exactly_where_it_says_equivalent() -> None:
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(200):
        values = rng.normal(rng.uniform(-0.04, 0.04), 0.05, 30)
        above = stats.ttest_1samp(values, -0.03, alternative="greater").pvalue
        below = stats.ttest_1samp(values, 0.03, alternative="less").pvalue
        found = equivalence(values, ["a"] * 30, 0.03).verdict
        assert (found == "equivalent") == (max(above, below) < 0.05)
        verdicts.append(found)
    assert set(verdicts) == {"equivalent", "not shown", "different"}


def test_at_the_margin_equivalence_is_claimed_in_at_most_one_of_twenty() -> None:
    """2,000 experiments of 40 prompts in eight strata whose true difference is the margin: 5 % and its 99.9 % Monte-Carlo reach."""
    rng = np.random.default_rng(2)
    strata = np.repeat(np.arange(8), 5)
    effects = np.linspace(-0.05, 0.05, 8)[strata]  # categories differ, and average to nothing
    draws = 0.03 + effects + rng.normal(0, 0.02, (2000, 40))
    claimed = sum(equivalence(values, strata, 0.03).verdict == "equivalent" for values in draws)
    assert stats.binom.ppf(0.001, 2000, 0.05) <= claimed <= stats.binom.ppf(0.999, 2000, 0.05)


def test_differences_without_spread_decide_nothing() -> None:
    assert equivalence([0.0] * 10, ["a"] * 10, 0.03).verdict == "not shown"
    assert equivalence([0.5] * 10, ["a"] * 10, 0.03).verdict == "not shown"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"margin": 0.0}, "margin: expected a finite number above 0, got 0.0"),
        ({"margin": float("nan")}, "margin: expected a finite number above 0, got nan"),
        ({"alpha": 0.5}, "alpha: expected a number below 0.5, got 0.5"),
        ({"alpha": 0.0}, "alpha: expected a number between 0 and 1"),
        ({"differences": [0.1, float("nan")], "strata": ["a", "a"]}, "differences: expected finite numbers"),
        ({"differences": [0.1], "strata": ["a"]}, "at least 2 prompts"),
    ],
)
def test_bad_input_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equivalence(**{"differences": FOUR, "strata": ["a"] * 4, "margin": 0.03} | changed)  # type: ignore[arg-type]
