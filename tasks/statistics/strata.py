"""Prompts in fixed strata of equal weight: the weights, and the variance of a stratified mean.

With H strata and n_h prompts in stratum h, a prompt weighs w = 1/(H·n_h): every category counts the same, however many prompts
it has. The variance of Σ w·x is Σ_h s²_h Σ w² with prompts − H degrees of freedom (Cochran 1977, chapter 5).

A stratum of one prompt shows no spread of its own. Such strata keep their weight in the mean, and are collapsed with one another
for the variance (a lone one with the smallest other stratum): what lies between the collapsed strata then counts as
error, so the variance errs upward (Cochran 1977, section 5A.12). Collapsed strata count as one in the degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.checks import Floats

_ROUNDING = 1e-12  # spread below this share of the values themselves is the rounding of equal numbers

Labels = Sequence[object] | NDArray[Any]


@dataclass(frozen=True)
class Strata:
    """`weights` [prompts] sum to 1; `groups` hold the indices of the prompts whose spread is estimated together."""

    weights: Floats
    groups: tuple[NDArray[np.intp], ...]
    collapsed: bool

    @classmethod
    def of(cls, labels: Labels, prompts: int) -> Strata:
        """From each prompt's category. Raises ValueError for one prompt in all, missing labels or another length."""
        names = list(labels)
        if len(names) != prompts:
            raise ValueError(f"strata: expected one label a prompt, got {len(names)} labels for {prompts} prompts")
        if any(name is None or (isinstance(name, float) and math.isnan(name)) for name in names):
            raise ValueError("strata: expected a label for every prompt, got None or NaN among them")
        if prompts < 2:
            raise ValueError("strata: expected at least 2 prompts, got 1: one prompt shows no spread between prompts")
        return _of(tuple(map(str, names)))

    @property
    def prompts(self) -> int:
        return self.weights.size

    @property
    def df(self) -> int:
        return self.prompts - len(self.groups)

    def mean(self, values: Floats) -> float:
        """Equal-weight strata mean of values [prompts]."""
        return float(self.weights @ values)

    def variance(self, values: Floats) -> float:
        """Variance of `mean(values)`, values [prompts]; exactly 0 where no group has spread beyond rounding."""
        return sum(self.squares(group) * _sample_variance(values[group]) for group in self.groups)

    def squares(self, group: NDArray[np.intp]) -> float:
        """Σ w² over a group: what its prompt variance is multiplied by."""
        return float(np.sum(self.weights[group] ** 2))

    def name(self, method: str) -> str:
        """The method's name, with what these strata add to it."""
        prefix = "stratified " if len(self.groups) > 1 or self.collapsed else ""
        return f"{prefix}{method}" + (", single-prompt strata collapsed" if self.collapsed else "")


@lru_cache(maxsize=1024)  # one comparison asks 10,000 times, of some dozens of sets of prompts
def _of(names: tuple[str, ...]) -> Strata:
    _, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    merged = np.where(counts == 1, -1, np.arange(counts.size))
    if np.count_nonzero(counts == 1) == 1:
        others = np.where(counts > 1, counts, len(names) + 1)
        merged[np.argmin(others)] = -1
    groups = tuple(np.flatnonzero(merged[codes] == group) for group in np.unique(merged))
    weights = 1.0 / (counts.size * counts[codes])
    for shared in (weights, *groups):
        shared.flags.writeable = False
    return Strata(weights, groups, bool(np.any(counts == 1)))


def _sample_variance(values: Floats) -> float:
    if np.ptp(values) <= _ROUNDING * np.max(np.abs(values)):
        return 0.0
    return float(np.var(values, ddof=1))
