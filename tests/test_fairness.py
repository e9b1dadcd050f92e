"""Individual and group fairness: by hand, under their permutation null, and bad scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.evaluations.counterfactual.fairness import Fairness, fairness

pytestmark = pytest.mark.usefixtures("one_thread")


def by_name(scores: np.ndarray, permutations: int = 99, seed: int = 0) -> dict[str, Fairness]:
    return {one.measure: one for one in fairness(scores, permutations, np.random.default_rng(seed))}


def test_fairness_by_hand() -> None:
    # one template, three values that always score 0, 0 and 1: distances 0, 1, 1; to the pool with F* = 2/3 on [0, 1): 1/3, 1/3, 2/3
    found = by_name(np.repeat([0.0, 0.0, 1.0], 4).reshape(1, 3, 4))
    assert found["individual_fairness"].value == pytest.approx(2 / 3)
    assert found["group_fairness"].value == pytest.approx(4 / 9)


def test_opposite_templates_are_unfair_individually_and_fair_by_group() -> None:
    # a value that is liked in one template and disliked in the other has the same scores over both as the other value
    liked = np.repeat([[0.0, 1.0], [1.0, 0.0]], 10, axis=1).reshape(2, 2, 10)
    found = by_name(liked)
    assert found["individual_fairness"].value == pytest.approx(1.0)
    assert found["individual_fairness"].p == 0.01
    assert found["group_fairness"].value == 0
    assert found["group_fairness"].p == 1.0


def test_equal_scores_are_fair_and_so_is_their_null() -> None:
    for one in fairness(np.full((3, 4, 5), 0.5), 20, np.random.default_rng(0)):
        assert (one.value, one.null_mean, one.p) == (0.0, 0.0, 1.0)


def test_where_nothing_differs_the_distance_is_that_of_the_null_and_p_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = [by_name(rng.beta(0.5, 0.5, (2, 4, 15)), 39, seed) for seed in range(400)]
    for measure in ("individual_fairness", "group_fairness"):
        values = np.array([one[measure].value for one in found])
        nulls = np.array([one[measure].null_mean for one in found])
        assert values.min() > 0.01  # never 0, though nothing differs
        assert abs(float((values - nulls).mean())) < 4 * float((values - nulls).std()) / math.sqrt(400)
        ps = np.array([one[measure].p for one in found])
        # with 39 permutations p ≤ 0.05 in exactly 5 %, and p ≤ 0.5 in half; 4 standard errors
        assert abs(float((ps <= 0.05).mean()) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 400)
        assert abs(float((ps <= 0.5).mean()) - 0.5) < 4 * 0.5 / math.sqrt(400)


def test_templates_that_differ_are_no_unfairness() -> None:
    # labels are permuted within templates: their own levels never pass for an effect of the value
    rng = np.random.default_rng(0)
    scores = rng.random((4, 3, 30)) * 0.1 + np.array([0.0, 0.3, 0.6, 0.9])[:, None, None]
    found = by_name(scores, 199)
    assert found["individual_fairness"].value < 0.05
    assert min(one.p for one in found.values()) > 0.02


@pytest.mark.parametrize(
    ("scores", "permutations", "told"),
    [
        (np.full((2, 1, 5), 0.5), 9, "expected at least 2 groups in each block, got 1"),
        (np.full((2, 2, 5), -0.5), 9, r"scores: expected numbers in \[0, 1\], got -0.5 to -0.5"),
        (np.full((2, 2, 5), math.nan), 9, "scores: expected finite numbers"),
        (np.full((2, 2, 5), 0.5), 0, "permutations: expected at least 1, got 0"),
    ],
)
def test_bad_scores_are_refused(scores: np.ndarray, permutations: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fairness(scores, permutations, np.random.default_rng(0))
