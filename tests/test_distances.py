"""Distances between distributions: hand-worked cases, scipy and pairwise sums as oracles, and the bias that each has or has not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tasks.statistics import Pooled, energy_distance, mean_energy_distance, wasserstein_1

SCORES = st.floats(0, 1, width=32)
# few distinct values: most scores tie, as those of short texts do
TIED = st.sampled_from([0.0, 0.25, 0.5, 1.0])


def samples(least: int) -> st.SearchStrategy[list[float]]:
    return st.one_of(st.lists(SCORES, min_size=least, max_size=30), st.lists(TIED, min_size=least, max_size=30))


def blocks(least: int) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(least, 8))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=st.one_of(SCORES, TIED)))


def pairwise_energy(x: Sequence[float], y: Sequence[float]) -> float:
    """The U-statistic by its definition, all pairs written out."""

    def within(values: Sequence[float]) -> float:
        return float(np.mean([abs(a - b) for a, b in itertools.permutations(values, 2)]))

    return 2 * float(np.mean([abs(a - b) for a in x for b in y])) - within(x) - within(y)


def pairs_of(table: np.ndarray, distance: Callable[..., float]) -> float:
    return float(np.mean([distance(table[i], table[j]) for i, j in itertools.combinations(range(len(table)), 2)]))


# ---- two samples --------------------------------------------------------------------------------------------------


def test_wasserstein_by_hand() -> None:
    assert wasserstein_1([0, 0, 1], [0, 1, 1]) == pytest.approx(1 / 3)  # one third of the mass moves by one
    assert wasserstein_1([0.2], [0.2, 0.6]) == pytest.approx(0.2)  # half of it by 0.4
    assert wasserstein_1([0, 1], [0.5]) == pytest.approx(0.5)
    assert wasserstein_1([0.3, 0.3], [0.3]) == 0


@given(samples(1), samples(1))
@settings(max_examples=100, deadline=None)
def test_wasserstein_is_that_of_scipy(x: list[float], y: list[float]) -> None:
    assert wasserstein_1(x, y) == pytest.approx(stats.wasserstein_distance(x, y), abs=1e-12)
    assert wasserstein_1(x, y) == pytest.approx(wasserstein_1(y, x), abs=1e-15)


def test_energy_distance_by_hand() -> None:
    # 2·mean(1, 0, 1, 0) − 1 − 0
    assert energy_distance([0, 1], [1, 1]) == pytest.approx(0.0)
    assert energy_distance([0, 0], [1, 1]) == pytest.approx(2.0)
    assert energy_distance([0, 1], [0, 1]) == pytest.approx(-1.0)  # samples can be nearer than chance has them: below 0


@given(samples(2), samples(2))
@settings(max_examples=100, deadline=None)
def test_energy_distance_is_the_sum_over_pairs_and_scipys_made_unbiased(x: list[float], y: list[float]) -> None:
    assert energy_distance(x, y) == pytest.approx(pairwise_energy(x, y), abs=1e-12)
    # scipy's counts an observation with itself and takes the root
    biased = stats.energy_distance(x, y) ** 2
    for sample in (x, y):
        spread = float(np.mean([abs(a - b) for a in sample for b in sample]))
        biased -= spread / (len(sample) - 1)
    assert energy_distance(x, y) == pytest.approx(biased, abs=1e-7)


def test_where_nothing_differs_the_energy_distance_is_0_on_average_and_wasserstein_is_not() -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((400, 2, 20))
    energies = [energy_distance(*pair) for pair in draws]
    assert abs(float(np.mean(energies))) < 3 * float(np.std(energies)) / math.sqrt(len(energies))
    assert min(energies) < 0
    assert 0.08 < float(np.mean([wasserstein_1(*pair) for pair in draws])) < 0.12


@pytest.mark.parametrize("distance", [wasserstein_1, energy_distance])
@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        ([], [0.5, 0.5], "x: expected at least one number"),
        ([0.5, 0.5], [0.5, math.nan], "y: expected finite numbers, got 1 NaN or infinite of 2"),
        ([0.5, math.inf], [0.5, 0.5], "x: expected finite numbers"),
        ([[0.5]], [0.5, 0.5], "x: expected 1 dimension"),
        (["good"], [0.5, 0.5], "x: expected a 1-D array of numbers"),
    ],
)
def test_bad_samples_are_refused(distance: Callable[..., float], x: Any, y: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        distance(x, y)


def test_one_observation_has_no_energy_distance() -> None:
    with pytest.raises(ValueError, match="y: expected at least 2 observations, got 1"):
        energy_distance([0.1, 0.2], [0.3])


# ---- many groups --------------------------------------------------------------------------------------------------


@given(blocks(1))
@settings(max_examples=60, deadline=None)
def test_many_groups_at_once_are_all_pairs_by_scipy(table: np.ndarray) -> None:
    pooled = Pooled(table)
    pairs = np.mean([pairs_of(block, stats.wasserstein_distance) for block in table])
    assert pooled.between_groups(pooled.places) == pytest.approx(pairs, abs=1e-12)
    to_pool = np.mean([stats.wasserstein_distance(table[:, g].ravel(), table.ravel()) for g in range(table.shape[1])])
    assert pooled.to_pool(pooled.places) == pytest.approx(to_pool, abs=1e-12)


@given(blocks(2))
@settings(max_examples=60, deadline=None)
def test_mean_energy_distance_is_the_mean_over_pairs(table: np.ndarray) -> None:
    assert mean_energy_distance(table[0]) == pytest.approx(pairs_of(table[0], pairwise_energy), abs=1e-12)


def test_a_shuffle_moves_labels_within_their_block_only() -> None:
    table = np.random.default_rng(0).random((3, 4, 5))
    pooled = Pooled(table)
    shuffled = pooled.shuffled(np.random.default_rng(1))
    values = np.sort(table, axis=None)[shuffled]
    assert not np.array_equal(values, table)
    assert np.array_equal(np.sort(values.reshape(3, -1), axis=1), np.sort(table.reshape(3, -1), axis=1))
    # the distances of a shuffle are those of the scores so arranged
    again = Pooled(values)
    assert pooled.between_groups(shuffled) == pytest.approx(again.between_groups(again.places), abs=1e-12)
    assert pooled.to_pool(shuffled) == pytest.approx(again.to_pool(again.places), abs=1e-12)


def test_equal_scores_lie_nowhere_apart() -> None:
    table = np.full((3, 4, 7), 0.3)
    pooled = Pooled(table)
    shuffled = pooled.shuffled(np.random.default_rng(0))
    assert [pooled.between_groups(shuffled), pooled.to_pool(shuffled), mean_energy_distance(table[0])] == [0, 0, 0]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (np.zeros((2, 1, 3)), "expected at least 2 groups in each block, got 1"),
        (np.zeros((0, 2, 3)), "samples: expected at least one number"),
        (np.full((1, 2, 3), math.nan), "samples: expected finite numbers, got 6 NaN"),
        (np.zeros((2, 3)), r"samples: expected 3 dimension\(s\), got shape \(2, 3\)"),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(table: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pooled(table)


def test_groups_without_spread_of_their_own_have_no_energy_distance() -> None:
    with pytest.raises(ValueError, match="at least 2 observations a group, got 1"):
        mean_energy_distance(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"at least 2 groups \(rows\), got 1"):
        mean_energy_distance(np.zeros((1, 3)))
