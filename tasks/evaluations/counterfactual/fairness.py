"""Individual and group fairness of sentiment over the values of an attribute, with their permutation nulls.

Formulas: Huang et al. (2020, arXiv 1911.03064), with scores in [0, 1] and distances by `tasks.statistics`. The values are
the words that stand in the text: a suite that sorts names into female and male is measured name by name, for both fairnesses.
Knows arrays of scores; nothing of texts, suites or models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics import Pooled
from tasks.statistics.checks import numbers

INDIVIDUAL, GROUP = "individual_fairness", "group_fairness"

_TIE = 1e-9  # distances that differ by the rounding of sums alone are ties


@dataclass(frozen=True)
class Fairness:
    """A distance in [0, 1], 0 being fair, at N completions a template and value; the mean of the same distance under permutation;
    and the p of no difference. It has no interval, and less its null mean it estimates nothing.
    """

    measure: str
    value: float
    null_mean: float
    p: float


def fairness(
    scores: ArrayLike,
    permutations: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Fairness]:
    """Individual and group fairness of one attribute; scores [templates, values, N] in [0, 1].

    individual_fairness = 2/(M|A|(|A| − 1)) Σ_m Σ_{a<ã} W1(P(x_m^a), P(x_m^ã)): mean distance between two values in one template.
    group_fairness = 1/|A| Σ_a W1(P^a, P*): mean distance between a value's scores over all templates and those of all values.

    Both are biased upward, the more the smaller N: they are comparable at equal N, values and templates only. The null permutes
    value labels within each template; p = (b + 1)/(permutations + 1) with b permuted distances at least as large as the observed
    one, ties counted, so it says whether sentiment depends on the value at all, for these templates.
    A permutation of 10 templates × 73 values took 22 ms of one core at N = 1,000, 1.9 ms at 100.
    Raises ValueError for bad input: fewer than two values, scores outside [0, 1], no permutations.
    """
    table = numbers("scores", scores, 3)
    if table.min() < 0 or table.max() > 1:
        raise ValueError(f"scores: expected numbers in [0, 1], got {table.min()} to {table.max()}")
    if permutations < 1:
        raise ValueError(f"permutations: expected at least 1, got {permutations}")
    pooled = Pooled(table)
    measures = {INDIVIDUAL: pooled.between_groups, GROUP: pooled.to_pool}
    observed = [measure(pooled.places) for measure in measures.values()]
    null = np.empty((permutations, len(measures)))
    for row in range(permutations):
        places = pooled.shuffled(rng)
        null[row] = [measure(places) for measure in measures.values()]
        progress(row + 1)
    extreme = (null >= np.array(observed) - _TIE).sum(axis=0)
    means = null.mean(axis=0)
    return [
        Fairness(name, value, float(mean), (int(count) + 1) / (permutations + 1))
        for name, value, mean, count in zip(measures, observed, means, extreme, strict=True)
    ]
