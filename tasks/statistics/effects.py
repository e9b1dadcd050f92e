"""How large a difference is in standard deviations, and which differences an experiment could have seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import Floats, numbers, share
from tasks.statistics.interval import Interval, t_above, t_below, t_interval
from tasks.statistics.jackknife import jackknife_t, weightings
from tasks.statistics.strata import Labels, Strata

_ROUNDING = 1e-24  # a variance below this share of the scores' squares is the rounding of equal numbers


def cohens_d(treated: Sequence[ArrayLike], reference: Sequence[ArrayLike], strata: Labels, *, level: float = 0.95) -> Interval:
    """Cohen's d of two arms over completions, with a stratified jackknife-t interval over prompts. No unit.

    treated, reference: one 1-D array of completion scores a prompt (a completion's score is the mean over its raters), the same
    prompts in the same order; strata [prompts]. d = (mean treated − mean reference) / √((V treated + V reference)/2), V an
    arm's total variance over completions, between prompts and categories included (Cohen 1988). Means and variances
    weigh strata equally, prompts equally within a stratum and completions equally within a prompt; where counts are equal, V is the
    usual sample variance. It is not d_z, the mean over the spread of paired differences, which grows with the number of completions.

    Interval: d ± t(prompts − strata)·√(Σ_h (n_h−1)/n_h Σ_i (d without prompt i − their mean)²) (Efron & Tibshirani 1993, ch. 11).
    Raises ValueError for bad input, a single prompt, or scores without spread (also: without one of the prompts), where d
    is undefined.
    """
    if len(treated) != len(reference):
        raise ValueError(f"reference: expected as many prompts as treated ({len(treated)}), got {len(reference)}")
    arms = [
        [numbers(f"{name}[{number}]", scores) for number, scores in enumerate(arm)]
        for name, arm in (("treated", treated), ("reference", reference))
    ]
    design = Strata.of(strata, len(treated))
    blocks = [_alike(arm) for arm in arms]
    centre = float(np.mean(np.concatenate([block.mean(axis=1) for arm in blocks for block in arm])))
    moments = [_PromptMoments(arm, centre) for arm in blocks]
    weights = weightings(design)
    means = [arm.mean(weights) for arm in moments]
    pooled = (moments[0].variance(weights) + moments[1].variance(weights)) / 2
    largest = max(float(np.max(np.abs(block))) for arm in blocks for block in arm)
    if pooled.min() <= _ROUNDING * largest**2:
        raise ValueError("treated, reference: expected scores that vary, also without any one prompt: d is undefined")
    effects = (means[0] - means[1]) / np.sqrt(pooled)
    return jackknife_t(effects, design, level)


def independent_d(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Cohen's d of two independent groups of numbers, with a jackknife-t interval over both. No unit.

    first [n], second [m]: d = (mean first − mean second) / √((V first + V second)/2), V the sample variances (Cohen 1988). Interval:
    d ± t(n + m − 2)·√(Σ_g (n_g−1)/n_g Σ_i (d without i of group g − their mean)²), the stratified jackknife with the groups
    as strata (Efron & Tibshirani 1993, ch. 11). Raises ValueError for bad input, fewer than three numbers in a group, or numbers
    without spread (also: without any one of them), where d is undefined.
    """
    groups = [numbers("first", first), numbers("second", second)]
    if min(group.size for group in groups) < 3:
        raise ValueError("first, second: expected at least 3 numbers each")
    least = _ROUNDING * max(float(np.max(np.abs(group))) for group in groups) ** 2
    left_out = []
    for held, group in enumerate(groups):
        means, variances = _moments_without_one(group)
        other = groups[1 - held]
        sign = 1 if held == 0 else -1
        left_out.append(sign * (means - other.mean()) / _pooled(variances, np.var(other, ddof=1), least))
    value = (groups[0].mean() - groups[1].mean()) / _pooled(np.var(groups[0], ddof=1), np.var(groups[1], ddof=1), least)
    variance = sum((effects.size - 1) * float(np.var(effects)) for effects in left_out)
    n = groups[0].size + groups[1].size
    return t_interval(value, variance, n - 2, n, "jackknife-t of two groups", level)


def _moments_without_one(values: Floats) -> tuple[Floats, Floats]:
    """Mean and sample variance with each of the values left out in turn: [n], [n]."""
    n, centred = values.size, values - values.mean()
    means = -centred / (n - 1)
    squares = np.sum(centred**2) - centred**2
    return values.mean() + means, (squares - (n - 1) * means**2) / (n - 2)


def _pooled(first: ArrayLike, second: ArrayLike, least: float) -> Floats:
    pooled: Floats = (np.asarray(first) + np.asarray(second)) / 2
    if pooled.min() <= least:
        raise ValueError("first, second: expected numbers that vary, also without any one of them: d is undefined")
    return np.sqrt(pooled)


def minimal_detectable_difference(sd: float, prompts: int, strata: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The mean difference that a two-sided stratified t test at `alpha` finds with probability `power`.

    sd: standard deviation of prompt-mean differences within strata, in the unit of the score; prompts and strata: how many,
    strata of equal size. (t(1−alpha/2) + t(power))·sd/√prompts with prompts − strata degrees of freedom (Cohen 1988, chapter 2);
    the result has the unit of `sd`. Raises ValueError for sd ≤ 0 or fewer than one degree of freedom.
    """
    if not (math.isfinite(sd) and sd > 0):
        raise ValueError(f"sd: expected a finite number above 0, got {sd}")
    if strata < 1 or prompts <= strata:
        raise ValueError(f"prompts: expected more prompts than strata, and at least 1 stratum, got {prompts} and {strata}")
    return detectable_difference(sd / math.sqrt(prompts), prompts - strata, power=power, alpha=alpha)


def detectable_difference(error: float, df: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The same from the standard error of a mean difference and its degrees of freedom, whatever the sizes of the strata:
    (t(1−alpha/2) + t(power))·error. In a family of m tests, alpha/m is Holm's first and hardest step. Unit of the error.
    """
    return float((t_above(share("alpha", alpha) / 2, df) + t_below(share("power", power), df)) * error)


def _alike(arm: Sequence[Floats]) -> list[Floats]:
    """The scores of an arm's prompts, in order, as blocks [prompts, completions]: one where every prompt has as many."""
    return [np.stack(arm)] if len({scores.size for scores in arm}) == 1 else [scores[None] for scores in arm]


class _PromptMoments:
    """What a weighted mean and variance over completions need of each prompt; scores are centred first, against cancellation."""

    def __init__(self, arm: Sequence[Floats], centre: float) -> None:
        self.first = np.concatenate([(block - centre).mean(axis=1) for block in arm])
        self.second = np.concatenate([((block - centre) ** 2).mean(axis=1) for block in arm])
        self.counts = np.concatenate([np.full(len(block), float(block.shape[1])) for block in arm])

    def mean(self, weights: Floats) -> Floats:
        return weights @ self.first

    def variance(self, weights: Floats) -> Floats:
        """Σ w(x − mean)²/(1 − Σ w²) over completions, which share their prompt's weight; for each row of weights."""
        raw = weights @ self.second - self.mean(weights) ** 2
        return raw / (1 - (weights**2) @ (1 / self.counts))
