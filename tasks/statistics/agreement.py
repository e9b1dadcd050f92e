"""How far two raters agree over the same completions: chance-corrected on classes, by rank on scores.

A rater is a scorer, a judge or the mean of some people. Both arguments hold one 1-D array of values a prompt, the same prompts and
completions in the same order; strata [prompts] are the prompts' categories. Strata weigh equally, prompts equally within a stratum
and completions equally within a prompt; where counts are equal these are the usual coefficients over all completions. Intervals are
jackknife-t over prompts, since completions of one prompt are not independent, and end at −1 and 1. Agreement depends on how common
each class is: it is that over these completions, and not a property of the raters alone.

Simulated coverage of the 95 % intervals (600 experiments a cell, 40 prompts of 3 or 25 completions and 160 of 3, eight strata, two
scorers that share part of a prompt effect): 92 to 96 % for kappa and rank correlation alike, also with 5 % in the rarer class; save
kappa with six rare completions in all (40 × 3 at 5 %) and little agreement, 80 %: such an interval is descriptive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import Floats, numbers
from tasks.statistics.interval import Interval
from tasks.statistics.jackknife import jackknife_t, weightings
from tasks.statistics.strata import Labels, Strata

_ROUNDING = 1e-12  # a chance disagreement or variance below this share of the largest possible is that of equal values


def kappa(first: Sequence[ArrayLike], second: Sequence[ArrayLike], strata: Labels, *, level: float = 0.95) -> Interval:
    """Cohen's (1960) kappa of two raters' classes, numbers without an order. No unit, −1 to 1.

    1 − D/E with D the share of completions that they put into different classes, and E the share that raters with the same margins
    would by chance: 1 is full agreement, 0 that of chance.
    Raises ValueError for bad input, a single prompt, a rater who uses one class only (kappa is then 0 or undefined, whatever the
    other says), or classes in which no disagreement is possible without one of the prompts.
    """
    data = _Paired.of(first, second, strata)
    margins = [data.mean((values[:, None] == data.classes).astype(np.float64)) for values in (data.first, data.second)]
    observed = data.mean((data.first != data.second).astype(np.float64))
    return data.chance_corrected(observed, 1 - np.sum(margins[0] * margins[1], axis=1), level)


def weighted_kappa(first: Sequence[ArrayLike], second: Sequence[ArrayLike], strata: Labels, *, level: float = 0.95) -> Interval:
    """Cohen's (1968) kappa of two raters' ratings on an interval scale, with quadratic weights. No unit, −1 to 1.

    As `kappa` with D and E the mean squared differences of the ratings, observed and by chance: a difference of two steps counts four
    times one of one step. Ratings may be fractions, such as means of several raters; how many steps the scale has is of no matter.
    Raises ValueError as `kappa` does.
    """
    data = _Paired.of(first, second, strata)
    span = float(np.ptp(data.classes)) or 1.0
    x, y = (data.first - data.classes[0]) / span, (data.second - data.classes[0]) / span
    means = data.mean(x), data.mean(y)
    expected = data.mean(x**2) + data.mean(y**2) - 2 * means[0] * means[1]
    return data.chance_corrected(data.mean((x - y) ** 2), expected, level)


def rank_correlation(first: Sequence[ArrayLike], second: Sequence[ArrayLike], strata: Labels, *, level: float = 0.95) -> Interval:
    """Spearman's (1904) rank correlation of two raters' scores over completions. No unit, −1 to 1.

    Pearson's correlation of the raters' mid-ranks (ties share the mean of theirs), ranked anew without each prompt.
    Raises ValueError for bad input, a single prompt, or scores without spread (also: without one of the prompts).
    """
    data = _Paired.of(first, second, strata)
    orders = [np.unique(values, return_inverse=True)[1] for values in (data.first, data.second)]
    estimates = []
    for row in data.weightings:
        weights = row[data.prompt] * data.within
        centred = [_mid_ranks(order, weights) - 0.5 for order in orders]  # the mean mid-rank is one half
        spread = [float(weights @ part**2) for part in centred]
        if min(spread) <= _ROUNDING:
            raise ValueError(
                "first, second: expected scores that vary, also without any one prompt: their correlation is undefined"
            )
        estimates.append(float(weights @ (centred[0] * centred[1])) / np.sqrt(spread[0] * spread[1]))
    return data.interval(np.array(estimates), level)


@dataclass(frozen=True)
class _Paired:
    """All completions one after another: both raters' values, the prompt each belongs to, and its weight within that prompt."""

    first: Floats
    second: Floats
    prompt: np.ndarray
    within: Floats
    design: Strata
    weightings: Floats  # [1 + prompts, prompts]

    @classmethod
    def of(cls, first: Sequence[ArrayLike], second: Sequence[ArrayLike], strata: Labels) -> _Paired:
        if len(first) != len(second):
            raise ValueError(f"second: expected as many prompts as first ({len(first)}), got {len(second)}")
        raters = [
            [numbers(f"{name}[{number}]", values) for number, values in enumerate(rater)]
            for name, rater in (("first", first), ("second", second))
        ]
        for number, (one, other) in enumerate(zip(*raters, strict=True)):
            if one.size != other.size:
                raise ValueError(f"second[{number}]: expected as many completions as first ({one.size}), got {other.size}")
        design = Strata.of(strata, len(first))
        counts = np.array([values.size for values in raters[0]])
        prompt = np.repeat(np.arange(counts.size), counts)
        values = [np.concatenate(rater) for rater in raters]
        return cls(values[0], values[1], prompt, 1.0 / counts[prompt], design, weightings(design))

    @property
    def classes(self) -> Floats:
        return np.unique(np.concatenate([self.first, self.second]))

    def mean(self, values: Floats) -> Floats:
        """Weighted means of values [completions, …]: [1 + prompts, …], over all prompts and without each."""
        starts = np.flatnonzero(np.diff(self.prompt, prepend=-1))
        weights = self.within.reshape(-1, *[1] * (values.ndim - 1))
        return self.weightings @ np.add.reduceat(weights * values, starts, axis=0)

    def chance_corrected(self, observed: Floats, expected: Floats, level: float) -> Interval:
        for name, values in (("first", self.first), ("second", self.second)):
            if np.ptp(values) == 0:
                raise ValueError(f"{name}: expected at least two classes in use, got {values[0]:g} alone: kappa is undefined")
        if expected.min() <= _ROUNDING:
            raise ValueError("first, second: expected two classes in use also without any one prompt: kappa is undefined")
        return self.interval(1 - observed / expected, level)

    def interval(self, estimates: Floats, level: float) -> Interval:
        found = jackknife_t(np.round(estimates, 12), self.design, level)  # full agreement is 1 without a spread of rounding
        return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _mid_ranks(order: np.ndarray, weights: Floats) -> Floats:
    """Share of the weight that lies below each value, with half of that on it; `order` numbers the values by size."""
    on = np.bincount(order, weights=weights)
    return (np.cumsum(on) - on / 2)[order]
