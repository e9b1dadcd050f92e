"""How far distributions lie apart: Wasserstein-1 and the energy distance, of two samples and of many groups at once.

Both have the unit of the scores. W1 between samples is biased upward: positive even where nothing differs (simulated null E[W1] in
[0, 1] for 20, 200 and 1,000 samples a side: .099, .031, .014 of uniform scores; .073, .023, .010 of scores with less spread). So it
is read beside its sample size and the mean of its permutation null; it has no percentile interval, and "raw minus null" estimates
nothing. The energy distance here is unbiased: 0 on average where nothing differs, then also negative. Its means over templates can
be compared between arms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.statistics.checks import Floats, numbers

Places = NDArray[np.int32]


def wasserstein_1(x: ArrayLike, y: ArrayLike) -> float:
    """W1 = ∫|F − G| of two samples' distribution functions, exact; sizes may differ. ≥ 0, at most 1 for scores in [0, 1].

    (Vallender 1974 for the equality with the cost of transport.) Biased upward, see above.
    Raises ValueError for an empty sample or numbers that are not finite.
    """
    samples = [np.sort(numbers(name, values)) for name, values in (("x", x), ("y", y))]
    pool = np.sort(np.concatenate(samples))
    below = [np.searchsorted(sample, pool[:-1], side="right") / sample.size for sample in samples]
    return float(np.abs(below[0] - below[1]) @ np.diff(pool))


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """2E|X − Y| − E|X − X'| − E|Y − Y'| (Székely & Rizzo 2013), each mean over pairs of distinct observations (a U-statistic).

    Unbiased for 2∫(F − G)², which is 0 only for equal distributions, so it may come out negative; at most 2 for scores in
    [0, 1]. O(n log n). scipy's `energy_distance` is the root of the biased form.
    Raises ValueError for fewer than two observations in a sample or numbers that are not finite.
    """
    first, second = numbers("x", x), numbers("y", y)
    for name, sample in (("x", first), ("y", second)):
        _at_least_two(f"{name}: expected at least 2 observations", sample.size)
    within = [float(_pair_sums(sample)) for sample in (first, second)]
    between = float(_pair_sums(np.concatenate([first, second]))) - sum(within)
    means = [total / (sample.size * (sample.size - 1) / 2) for total, sample in zip(within, (first, second), strict=True)]
    return 2 * between / (first.size * second.size) - sum(means)


def mean_energy_distance(samples: ArrayLike) -> float:
    """Mean of `energy_distance` over all pairs of groups; samples [groups, N].

    From the pair sums of the pool and of each group, without forming pairs of groups: O(groups·N·log(groups·N)).
    Raises ValueError for fewer than two groups or observations a group, or numbers that are not finite.
    """
    table = numbers("samples", samples, 2)
    groups, n = table.shape
    _at_least_two("samples: expected at least 2 groups (rows)", groups)
    _at_least_two("samples: expected at least 2 observations a group", n)
    within = _pair_sums(table)
    between = float(_pair_sums(table.ravel())) - float(within.sum())
    pairs = groups * (groups - 1) / 2
    return 2 * (between / (pairs * n**2) - float(within.mean()) / (n * (n - 1) / 2))


class Pooled:
    """Samples [blocks, groups, N] as places in the sorted pool of them all.

    A permutation of group labels within blocks moves places alone, so the pool is sorted once for all permutations. `places` are
    those observed; both distances take these or any that `shuffled` gave. A place takes 4 bytes, and one permutation is held at a
    time: about 60 bytes an observation in all.
    """

    def __init__(self, samples: ArrayLike) -> None:
        """Raises ValueError for fewer than two groups, an empty array, or numbers that are not finite."""
        table = numbers("samples", samples, 3)
        self.blocks, self.groups, self.n = table.shape
        _at_least_two("samples: expected at least 2 groups in each block", self.groups)
        order = np.argsort(table, axis=None, kind="stable")
        # From the lowest score on: prefix sums of equal scores are then exactly 0, and so are their distances.
        self._pool: Floats = table.ravel()[order] - table.min()
        self._sums = np.concatenate([[0.0], np.cumsum(self._pool)])
        places = np.empty(table.size, dtype=np.int32)
        places[order] = np.arange(table.size, dtype=np.int32)
        self.places: Places = places.reshape(table.shape)

    def shuffled(self, rng: np.random.Generator) -> Places:
        """Places after group labels were permuted within each block."""
        return rng.permuted(self.places.reshape(self.blocks, -1), axis=1).reshape(self.places.shape)

    def between_groups(self, places: Places) -> float:
        """Mean over blocks and pairs of groups of W1 between the two groups of a block.

        At equal N, W1 is the mean distance of equal ranks, and the sum over pairs of groups at one rank is Σ_k (2k − groups − 1)·s_(k) over
        its sorted scores s: O(groups·N·log(groups·N)) a block, where pairs would take O(groups²·N).
        """
        ranked = np.sort(np.sort(places, axis=2), axis=1)
        pairs = self.groups * (self.groups - 1) / 2
        return float((_signs(self.groups) @ self._pool[ranked]).mean()) / pairs

    def to_pool(self, places: Places) -> float:
        """Mean over groups of W1 between a group's scores of all blocks and the pool of all groups and blocks.

        Score i of a sorted group faces scores i·groups to (i + 1)·groups − 1 of the pool, of which those before its own place are
        not above it and the others not below: prefix sums give its distance to all of them.
        """
        ranked = np.sort(places.swapaxes(0, 1).reshape(self.groups, -1), axis=1)
        start = np.arange(ranked.shape[1]) * self.groups
        before = np.clip(ranked - start, 0, self.groups)
        sums = self._sums
        distance = (
            (2 * before - self.groups) * self._pool[ranked] + sums[start] + sums[start + self.groups] - 2 * sums[start + before]
        )
        return max(0.0, float(distance.mean()) / self.groups)  # rounding of the sums may fall below 0


def _pair_sums(values: Floats) -> Floats:
    """Σ_{i<j} |v_i − v_j| along the last axis."""
    ordered = np.sort(values, axis=-1)
    ordered = ordered - ordered[..., :1]  # equal values give exactly 0
    return ordered @ _signs(ordered.shape[-1])


def _signs(n: int) -> Floats:
    """In how many more pairs each of n sorted values is the larger than the smaller one: 2k − n − 1 for k from 1 to n."""
    return np.arange(1.0 - n, n, 2.0)


def _at_least_two(expected: str, got: int) -> None:
    if got < 2:
        raise ValueError(f"{expected}, got {got}")
