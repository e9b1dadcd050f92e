"""What is said of raters: published and hand-worked figures, independent oracles, promises simulated, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from tasks.statistics import (
    DEGENERATE,
    checks_passed,
    consistency,
    crossed_difference,
    crossed_interval,
    drift,
    group_means,
    krippendorff_alpha,
    paired_difference,
    severity,
)

SEED = 20210618
NAN = math.nan
EIGHT_BY_FIVE = np.repeat(list("abcdefgh"), 5)

# Krippendorff (2011), section D: four observers, twelve units, values missing; section A: two observers, binary; section B: five classes.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T
MEG_AND_OWEN = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]).T
BEN_AND_GERRY = np.array([[ord(value) for value in row] for row in ("aabbdcccedda", "babbbccceddd")]).T


def rated(prompts: int, items: int = 3, raters: int = 6, asked: int = 3) -> tuple[Any, Any]:
    """Whole ratings from 1 to 5 [prompts · items, raters] by `asked` raters a prompt, and each item's prompt."""
    rng = np.random.default_rng(SEED)
    of_prompt = rng.normal(0, 0.6, (prompts, 1, 1)) + rng.normal(0, 0.5, (prompts, items, 1))
    scores = np.clip(np.rint(3 + of_prompt + rng.normal(0, 0.7, (prompts, items, raters))), 1, 5)
    absent = rng.random((prompts, 1, raters)).argsort(axis=2) >= asked
    return np.where(absent, NAN, scores).reshape(-1, raters), np.repeat([f"{p:03}" for p in range(prompts)], items)


# --- agreement


@pytest.mark.parametrize(
    ("ratings", "metric", "published"),
    [
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "ordinal", 0.815),
        (FOUR_OBSERVERS, "interval", 0.849),
        (MEG_AND_OWEN, "nominal", 0.095),
        (MEG_AND_OWEN, "ordinal", 0.095),  # of two classes all metrics are the same
        (BEN_AND_GERRY, "nominal", 0.692),
    ],
)
def test_alpha_is_that_of_krippendorffs_examples(ratings: Any, metric: Any, published: float) -> None:
    assert krippendorff_alpha(ratings, range(len(ratings)), metric=metric).value == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
def test_alpha_is_its_definition_pair_by_pair(metric: Any) -> None:
    ratings, prompts = rated(25)
    units = [row[~np.isnan(row)] for row in ratings]
    values = np.concatenate(units)
    counts = {value: int(np.sum(values == value)) for value in values}

    def apart(c: float, k: float) -> float:
        if metric == "ordinal":
            between = sum(count for value, count in counts.items() if min(c, k) <= value <= max(c, k))
            return float((between - (counts[c] + counts[k]) / 2) ** 2)
        return float(c != k) if metric == "nominal" else float((c - k) ** 2)

    observed = sum(apart(c, k) / (len(unit) - 1) for unit in units for c, k in permutations(unit, 2)) / values.size
    expected = sum(apart(c, k) for c, k in permutations(values, 2)) / (values.size * (values.size - 1))
    assert krippendorff_alpha(ratings, prompts, metric=metric).value == pytest.approx(1 - observed / expected)


def test_alphas_limits_come_from_drawing_whole_prompts() -> None:
    ratings, prompts = rated(20)
    found = krippendorff_alpha(ratings, prompts, resamples=199, seed=3)
    drawn = []
    for times in np.random.default_rng(3).multinomial(20, np.full(20, 1 / 20), size=199):
        rows = np.concatenate(
            [np.repeat(np.flatnonzero(prompts == p), n) for p, n in zip(np.unique(prompts), times, strict=True)]
        )
        drawn.append(krippendorff_alpha(ratings[rows], range(rows.size), resamples=99).value)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert found.low < found.value < found.high
    assert (found.n, found.df) == (20, None)
    assert found == krippendorff_alpha(ratings, [f"p{p}" for p in prompts], resamples=199, seed=3)


def test_below_twenty_prompts_alpha_has_a_value_and_no_interval() -> None:
    ratings, prompts = rated(19)
    found = krippendorff_alpha(ratings, prompts)
    assert found.low == found.value == found.high
    assert found.method == f"{DEGENERATE} that an interval could rest on: 19 prompts of at least 20"
    lone = np.full((5, 6), NAN)
    lone[:, 0] = 4  # five more prompts in which no two raters meet are none
    more = krippendorff_alpha(np.vstack([ratings, lone]), [*prompts, *range(100, 105)])
    assert more == found


def test_full_agreement_is_one_and_shows_no_error() -> None:
    ratings, prompts = rated(30, raters=1, asked=1)
    found = krippendorff_alpha(np.repeat(ratings, 3, axis=1), prompts)
    assert (found.low, found.value, found.high) == (1, 1, 1)
    assert found.method.startswith(DEGENERATE)


def test_draws_without_variation_are_left_out_of_alphas_interval() -> None:
    ratings = np.full((20, 2), 3.0)
    ratings[0] = 4  # a third of the draws lack it
    found = krippendorff_alpha(ratings, range(20))
    assert (found.low, found.value, found.high) == (1, 1, 1)


# --- how each rater rates


def test_severity_by_hand_leaves_the_raters_own_part_out() -> None:
    # deviations of the first from the mean of the others: 5 − 3, 4 − 3, 3 − 2; the last item is nobody else's
    ratings = [[5, 3, 3], [4, 2, 4], [3, 2, NAN], [1, NAN, NAN]]
    first, second, third = severity(ratings, ["p", "p", "q", "r"])
    assert first.items == 3
    assert first.interval is not None
    assert first.interval.value == pytest.approx((1.5 + 1) / 2)  # prompts weigh equally
    assert first.interval.high - first.interval.value == pytest.approx(stats.t.ppf(0.975, 1) * 0.25)
    assert second.interval is not None
    assert second.interval.value == pytest.approx(((-1 - 2) / 2 - 1) / 2)
    assert (third.items, third.interval) == (2, None)  # of one prompt


def test_severity_is_the_t_interval_of_prompt_means() -> None:
    ratings, prompts = rated(40)
    for number, found in enumerate(severity(ratings, prompts)):
        others = np.delete(ratings, number, axis=1)
        held = ~np.isnan(ratings[:, number])
        apart = ratings[held, number] - np.nanmean(others[held], axis=1)
        means = [apart[prompts[held] == p].mean() for p in np.unique(prompts[held])]
        oracle = paired_difference(means, ["all"] * len(means))
        assert found.interval is not None
        assert found.items == held.sum()
        assert (found.interval.value, found.interval.low, found.interval.high) == pytest.approx(
            (oracle.value, oracle.low, oracle.high)
        )


def test_who_adds_a_point_to_everything_is_a_point_more_lenient_and_does_not_drift() -> None:
    ratings, prompts = rated(40)
    places = np.random.default_rng(0).random(ratings.shape)
    raised = ratings + np.array([1, 0, 0, 0, 0, 0])
    before, after = severity(ratings, prompts)[0].interval, severity(raised, prompts)[0].interval
    assert before is not None
    assert after is not None
    assert (after.value, after.low, after.high) == pytest.approx((before.value + 1, before.low + 1, before.high + 1))
    assert drift(raised, places, prompts)[0] == drift(ratings, places, prompts)[0]


def test_drift_is_the_least_squares_slope_without_each_prompt() -> None:
    ratings, prompts = rated(12, asked=6)
    places = np.random.default_rng(1).permuted(np.tile(np.linspace(0, 1, 36)[:, None], 6), axis=0)
    apart = ratings[:, 2] - np.delete(ratings, 2, axis=1).mean(axis=1)
    without = [stats.linregress(places[prompts != p, 2], apart[prompts != p]).slope for p in np.unique(prompts)]
    error = math.sqrt(11 / 12 * np.sum((np.array(without) - np.mean(without)) ** 2))
    found = drift(ratings, places, prompts)[2]
    assert found.items == 36
    assert found.interval is not None
    assert found.interval.value == pytest.approx(stats.linregress(places[:, 2], apart).slope)
    assert found.interval.high - found.interval.value == pytest.approx(stats.t.ppf(0.975, 11) * error)


def test_a_rater_who_grows_lenient_is_found_out() -> None:
    ratings, prompts = rated(160, asked=6)
    places = np.random.default_rng(2).random(ratings.shape)
    ratings[:, 4] += 0.8 * places[:, 4]
    intervals = [one.interval for one in drift(ratings, places, prompts)]
    assert intervals[4] is not None
    assert intervals[4].low < 0.8 < intervals[4].high
    assert [number for number, one in enumerate(intervals) if one is not None and one.low > 0] == [4]


def test_places_all_alike_show_no_drift() -> None:
    ratings, prompts = rated(10)
    assert {one.interval for one in drift(ratings, np.full(ratings.shape, 0.3), prompts)} == {None}


def test_consistency_by_hand() -> None:
    first, again = [1, 2, 3, 4, 5, 3], [1, 2, 4, 2, 5, 3]
    found = consistency(first, again, range(6))
    assert (found.n, found.same, found.apart) == (6, pytest.approx(4 / 6), pytest.approx(0.5))
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first, again, weights="quadratic"))


@pytest.mark.parametrize(("first", "again", "prompts"), [([3, 3], [3, 3], "pq"), ([3, 4], [3, 4], "pp"), ([2], [4], "p")])
def test_kappa_of_repetitions_is_left_out_where_it_is_undefined(first: Any, again: Any, prompts: Any) -> None:
    found = consistency(first, again, list(prompts))
    assert found.kappa is None
    assert found.apart == np.mean(np.abs(np.subtract(first, again)))


def test_checks_passed_are_counted() -> None:
    assert checks_passed([5, 1, 4, 1], [5, 1, 5, 1]) == (3, 4)


# --- raters as a source of error


def test_a_complete_table_gives_what_seeds_crossed_with_prompts_give() -> None:
    rng = np.random.default_rng(SEED)
    table = rng.normal(size=(40, 7)) + rng.normal(size=(40, 1)) + rng.normal(0, 0.4, 7)
    one = ["all"] * 40
    ours, theirs = crossed_interval(table, one), crossed_difference(table.T, one)
    assert (ours.value, ours.low, ours.high, ours.df) == pytest.approx((theirs.value, theirs.low, theirs.high, theirs.df))
    strata = crossed_interval(table, EIGHT_BY_FIVE)  # the remainder is then that of all categories together
    theirs = crossed_difference(table.T, EIGHT_BY_FIVE)
    assert (strata.value, strata.low, strata.high) == pytest.approx((theirs.value, theirs.low, theirs.high), abs=0.01)


def test_raters_and_prompts_are_fitted_together_where_each_rated_some() -> None:
    ratings, prompts = rated(24, items=1)
    there = ~np.isnan(ratings)
    rows, columns = np.nonzero(there)
    dummies = np.hstack([np.eye(24)[rows], np.eye(6)[columns]])
    fitted, _, rank, _ = np.linalg.lstsq(dummies, ratings[there], rcond=None)
    residual = np.sum((ratings[there] - dummies @ fitted) ** 2) / (there.sum() - rank)
    raters = fitted[24:] - fitted[24:].mean()
    of_prompts = fitted[:24] + fitted[24:].mean()
    noise = np.linalg.pinv(dummies.T @ dummies)[24:, 24:]
    centring = np.eye(6) - 1 / 6
    weight = np.sum((there / there.sum(axis=1, keepdims=True)).mean(axis=0) ** 2)
    of_raters, of_both = np.var(raters, ddof=1) * weight, residual * np.trace(centring @ noise @ centring) / 5 * weight
    within = np.var(of_prompts, ddof=1) / 24
    variance = max(within + of_raters - of_both, within, of_raters)
    df = variance**2 / (within**2 / 23 + of_raters**2 / 5 + of_both**2 / (there.sum() - rank))
    found = crossed_interval(ratings, ["all"] * 24)
    assert found.value == pytest.approx(np.nanmean(ratings, axis=1).mean())
    assert found.df == pytest.approx(min(max(df, 5), 23))
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, found.df) * math.sqrt(variance))
    assert found.n == prompts.size


def test_the_crossed_interval_never_falls_below_that_of_prompts_alone() -> None:
    table = np.random.default_rng(19).normal(size=(40, 6))
    table -= (table - table.mean()).mean(axis=0)  # raters agree better than chance would let them
    ours, prompts = crossed_interval(table, EIGHT_BY_FIVE), paired_difference(table.mean(axis=1), EIGHT_BY_FIVE)
    assert ours.value == pytest.approx(prompts.value)
    assert ours.high - ours.low >= prompts.high - prompts.low - 1e-12


def test_who_rated_nothing_is_no_rater() -> None:
    table = np.random.default_rng(4).normal(size=(10, 6))
    empty = np.full((10, 1), NAN)
    assert crossed_interval(np.hstack([table, empty]), ["a"] * 10) == crossed_interval(table, ["a"] * 10)
    with pytest.raises(ValueError, match=r"expected at least 6 raters \(columns\), got 5: use paired_difference"):
        crossed_interval(np.hstack([table[:, :5], empty]), ["a"] * 10)


def test_equal_differences_show_no_error() -> None:
    found = crossed_interval(np.full((40, 6), 0.04), EIGHT_BY_FIVE)
    assert found.method.startswith(DEGENERATE)
    assert found.low == found.high == pytest.approx(0.04)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [6, 3])
@pytest.mark.parametrize("favour", [0.1, 0.3])
def test_the_crossed_interval_covers_where_raters_favour_an_arm(asked: int, favour: float) -> None:
    """40 prompts × 6 raters, 400 experiments; by prompts alone three of four intervals or fewer would cover at .3."""
    rng = np.random.default_rng(SEED)
    hits = alone = 0
    for _ in range(400):
        table = 0.3 + rng.normal(0, 0.5, (40, 1)) + rng.normal(0, favour, 6) + rng.normal(0, 0.7, (40, 6))
        table += np.repeat(np.linspace(-0.3, 0.3, 8), 5)[:, None]
        table[rng.random((40, 6)).argsort(axis=1) >= asked] = NAN
        found, narrow = crossed_interval(table, EIGHT_BY_FIVE), paired_difference(np.nanmean(table, axis=1), EIGHT_BY_FIVE)
        hits += found.low <= 0.3 <= found.high
        alone += narrow.low <= 0.3 <= narrow.high
    assert 0.92 <= hits / 400 <= 0.98
    assert alone / 400 < (0.87 if favour == 0.3 else 0.95)


# --- groups of raters


def test_groups_of_three_are_shown_and_the_rest_is_counted() -> None:
    ratings = [
        # three nurses, the third of whom rated fewer; two teachers; one who says nothing; one who rated nothing
        [1, 2, 3, 5, 5, 4, NAN],
        [3, 4, NAN, 5, 5, 4, NAN],
        [5, 5, 5, 1, 1, 2, NAN],
    ]
    found = group_means(ratings, ["base", "base", "values"], ["nurse"] * 3 + ["teacher"] * 2 + ["", "teacher"])
    assert found.means == {("nurse", "base"): pytest.approx((2 + 3 + 3) / 3), ("nurse", "values"): 5}
    assert (found.raters, found.hidden, found.silent) == ({"nurse": 3}, 2, 1)


def test_a_group_of_which_two_rated_an_arm_is_hidden_in_every_arm() -> None:
    found = group_means([[1, 2, 3], [1, 2, NAN]], ["base", "values"], ["nurse"] * 3)
    assert (found.means, found.raters, found.hidden, found.silent) == ({}, {}, 3, 0)


# --- bad input

CALLS: dict[str, Callable[[Any, Any], object]] = {
    "krippendorff_alpha": krippendorff_alpha,
    "severity": severity,
    "drift": lambda ratings, prompts: drift(ratings, np.full(np.shape(ratings), 0.5), prompts),
    "crossed_interval": lambda ratings, prompts: crossed_interval(np.repeat(ratings, 6, axis=1), prompts),
    "group_means": lambda ratings, prompts: group_means(ratings, prompts, ["a", "b"]),
}
GOOD = [[1.0, 2.0], [2.0, 2.0], [4.0, 5.0]]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("ratings", "prompts"),
    [
        ([[1.0, math.inf], [2.0, 2.0], [4.0, 5.0]], "ppq"),
        ([[1.0, "high"], [2.0, 2.0], [4.0, 5.0]], "ppq"),
        (np.full((3, 2), NAN), "ppq"),
        (np.zeros((0, 2)), ""),
        (np.zeros((3, 2, 1)), "ppq"),
        (GOOD, "pq"),
        (GOOD, ["p", None, "q"]),
        (GOOD, ["p", NAN, "q"]),
    ],
    ids=["infinite", "text", "all missing", "empty", "dimensions", "lengths", "no label", "nan label"],
)
def test_bad_input_is_refused_in_one_line(call: Callable[..., object], ratings: Any, prompts: Any) -> None:
    call(GOOD, list("ppq"))  # the same call stands with good input
    with pytest.raises(ValueError) as refusal:
        call(ratings, list(prompts))
    assert "\n" not in str(refusal.value)


def linked(pairs: str, raters: int = 6) -> Any:
    """A prompt for each pair of raters, rated by these two alone."""
    table = np.full((len(pairs.split()), raters), NAN)
    for row, pair in zip(table, pairs.split(), strict=True):
        row[[int(digit) for digit in pair]] = (0.5, 1.0)
    return table


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: krippendorff_alpha([[1, NAN], [NAN, 2]], "pq"), "expected an item with at least 2 ratings"),
        (
            lambda: krippendorff_alpha([[3, 3], [3, 3], [NAN, 2]], "pqr"),
            "at least two values in use, got 3 alone: alpha is undefined",
        ),
        (lambda: krippendorff_alpha(GOOD, "pqr", metric="ratio"), "metric: expected nominal, ordinal or interval, got 'ratio'"),  # type: ignore[arg-type]
        (lambda: krippendorff_alpha(GOOD, "pqr", level=95), "level: expected a number between 0 and 1"),
        (lambda: krippendorff_alpha(GOOD, "pqr", resamples=30), "resamples: expected at least 40 at level 0.95, got 30"),
        (lambda: drift(GOOD, [[0, 1]], "pqr"), r"places: expected the shape of ratings \(3, 2\), got \(1, 2\)"),
        (lambda: drift(GOOD, [[0, 1], [1, 2], [0, 0]], "pqr"), "places: expected a number from 0 to 1"),
        (lambda: drift(GOOD, [[0, 1], [1, NAN], [0, 0]], "pqr"), "places: expected a number from 0 to 1"),
        (lambda: consistency([1, 2], [1], "pq"), r"again: expected as many ratings as first \(2\), got 1"),
        (lambda: consistency([1, 2], [1, NAN], "pq"), "again: expected finite numbers"),
        (lambda: consistency([], [], ""), "first: expected at least one number"),
        (lambda: checks_passed([1, 2], [1]), r"expected: expected as many ratings as given \(2\), got 1"),
        (lambda: crossed_interval(np.zeros((1, 6)), ["a"]), "expected at least 2 prompts, got 1"),
        (lambda: crossed_interval([[1.0] * 6, [NAN] * 6, [1.0] * 6], "aab"), "in every prompt, got a prompt without any"),
        (lambda: crossed_interval(linked("01 12 02 34 45 35"), "aaabbb"), "raters linked by prompts that they share"),
        (lambda: crossed_interval(linked("01 12 23 34 45"), "aaaab"), "raters linked by prompts that they share"),
        (lambda: group_means(GOOD, "pqr", ["a"]), "groups: expected one label a rater, got 1 labels for 2 raters"),
    ],
)
def test_refusals_say_what_would_be_accepted(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
