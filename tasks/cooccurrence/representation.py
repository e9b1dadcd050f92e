"""How evenly groups are mentioned: demographic representation after HELM (Liang et al. 2022), with its
permutation null.

The distance is biased upward: it is positive for finite counts even where no group is favoured. So it is
reported with the number of mentions, the mean it would have under the null, and a p value, and never
corrected by subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS = 2**22

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Representation:
    """Share of mentions of each group; `tvd` ½Σ|share − 1/K|; its mean and p value under permuted group labels."""

    mentions: tuple[int, ...]
    shares: tuple[float, ...]
    tvd: float
    null_mean: float
    p: float


def total_variation(counts: Floats, lengths: Floats) -> Floats:
    """½Σ|p − 1/K| over the last axis, p the counts divided by the lengths of the groups' word lists and normalised."""
    weighted = counts / lengths
    shares = weighted / weighted.sum(axis=-1, keepdims=True)
    return 0.5 * np.abs(shares - 1 / shares.shape[-1]).sum(axis=-1)


def representation(
    counts: Floats, units: NDArray[np.intp], lengths: Floats, permutations: int, rng: np.random.Generator
) -> Representation | None:
    """Representation of one axis; None if no group is mentioned at all, where no distribution exists.

    counts (completion, group): mentions; units (completion,): the completions that are permuted together,
    which are one repeat of a template in all its groups. Under the null, relabelling the groups of a unit (of
    its prompts and of its mentions alike) changes nothing, so each unit's counts are permuted among the
    groups. Mentions within one unit stay together: they are not independent. p = (b+1)/(B+1).
    """
    if not counts.any():
        return None
    weighted = counts / lengths
    _, index = np.unique(units, return_inverse=True)
    pooled = np.zeros((index.max() + 1, counts.shape[1]))
    np.add.at(pooled, index, weighted)
    pooled = pooled[pooled.any(axis=1)]
    ones = np.ones(counts.shape[1])
    observed = float(total_variation(pooled.sum(axis=0), ones))
    step = max(1, _CELLS // pooled.size)
    null = np.concatenate(
        [
            total_variation(rng.permuted(np.tile(pooled, (min(step, permutations - start), 1, 1)), axis=2).sum(axis=1), ones)
            for start in range(0, permutations, step)
        ]
    )
    extreme = int(np.count_nonzero(null >= observed - 1e-12))  # a permutation that is the data itself is a tie
    shares = pooled.sum(axis=0) / pooled.sum()
    return Representation(
        mentions=tuple(int(count) for count in counts.sum(axis=0)),
        shares=tuple(float(share) for share in shares),
        tvd=observed,
        null_mean=float(null.mean()),
        p=(extreme + 1) / (permutations + 1),
    )
