"""Experiments with known truth: where scores come from when a statistic is checked by simulation.

Every model draws prompts, completions and raters anew in each experiment and keeps the categories, which are fixed strata. The variance
components are assumed, not fitted: a prompt's rating difference has a standard deviation of .72 at 3 completions and 3 raters, skewed
scores give a naive interval that fails where prompts cluster. Truth is in closed form. Which statistic is put to the test, and what
it must reach, is left to `benchmarks.verify_statistics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """`strata` categories of `each` prompts."""

    strata: int
    each: int

    @property
    def prompts(self) -> int:
        return self.strata * self.each

    @property
    def labels(self) -> NDArray[np.intp]:
        return np.repeat(np.arange(self.strata), self.each)

    @property
    def offsets(self) -> Floats:
        """What the categories add, with mean 0 and (unless there is one alone) variance 1: normal quantiles."""
        quantiles: Floats = special.ndtri((np.arange(self.strata) + 0.5) / self.strata)
        return quantiles / quantiles.std() if self.strata > 1 else quantiles


@dataclass(frozen=True)
class Ratings:
    """Two arms rated from 1 to 5 by `raters` out of a pool of people, all completions of a prompt by the same ones.

    A rating is centre + shift (treated arm) + category + prompt (shared by the arms) + prompt × arm + sample + the rater's severity +
    residual, rounded and clipped to the scale unless `rounded` is off. Effects are normal; the fields are their standard deviations.
    """

    shift: float = 0.0
    centre: float = 3.0
    category: float = 0.3
    prompt: float = 0.4
    arm: float = 0.35
    sample: float = 0.5
    severity: float = 0.3
    residual: float = 0.7
    completions: int = 3
    raters: int = 3
    pool: int = 6
    rounded: bool = True

    def draw(self, rng: np.random.Generator, experiments: int, design: Design) -> tuple[Floats, Floats]:
        """Ratings [experiments, arms, prompts, completions, raters], treated first, and each experiment's severities [experiments, pool]."""
        prompts = (experiments, 1, design.prompts, 1, 1)
        arms = (experiments, 2, design.prompts, 1, 1)
        people = rng.normal(0, self.severity, (experiments, self.pool))
        asked = rng.random((experiments, design.prompts, self.pool)).argsort(axis=2)[:, :, : self.raters]
        severities = np.take_along_axis(people[:, None], asked, axis=2)[:, None, :, None, :]
        scores = (
            (self.centre + self.category * np.repeat(design.offsets, design.each))[:, None, None]
            + np.array([self.shift, 0.0])[:, None, None, None]
            + rng.normal(0, self.prompt, prompts)
            + rng.normal(0, self.arm, arms)
            + rng.normal(0, self.sample, (*arms[:3], self.completions, 1))
            + severities
            + rng.normal(0, self.residual, (*arms[:3], self.completions, self.raters))
        )
        return (np.clip(np.rint(scores), 1, 5) if self.rounded else scores), people

    def truth(self, design: Design, people: Floats | None = None) -> Floats:
        """Expected rating of each arm [experiments or 1, arms]: by these people [experiments, pool], or by any if None is given."""
        variance = self.prompt**2 + self.arm**2 + self.sample**2 + self.residual**2
        if people is None:
            people, variance = np.zeros((1, 1)), variance + self.severity**2
        arms = np.array([self.shift, 0.0])[None, :, None, None]
        means = self.centre + arms + people[:, None, :, None] + self.category * design.offsets
        if self.rounded:  # E[rounded and clipped] = 1 + Σ P(rating ≥ k)
            edges = np.array([1.5, 2.5, 3.5, 4.5])
            means = 1 + special.ndtr((means[..., None] - edges) / math.sqrt(variance)).sum(axis=-1)
        return means.mean(axis=(2, 3))

    def completion_variance(self, design: Design, people: Floats) -> Floats:
        """Variance over an arm's completions, each the mean of its raters, on the unrounded scale [experiments]."""
        asked = people.var(axis=1, ddof=1) * (1 / self.raters - 1 / self.pool)
        category = float(np.var(self.category * design.offsets))
        return asked + category + self.prompt**2 + self.arm**2 + self.sample**2 + self.residual**2 / self.raters


@dataclass(frozen=True)
class Skewed:
    """Two arms whose completions have a score in (0, 1), most of them near 0: a logistic-normal, like toxicity.

    On the logit scale a score is the arm's level + category + prompt (shared by the arms) + prompt × arm + sample; the fields are
    standard deviations there. `means` are the expected scores of the treated and the reference arm. With `binary`, a completion
    counts 1 where its logit is above 0: a rate.
    """

    means: tuple[float, float]
    category: float = 0.6
    prompt: float = 0.8
    arm: float = 0.7
    sample: float = 1.4
    completions: int = 3
    binary: bool = False

    def draw(self, rng: np.random.Generator, experiments: int, design: Design) -> Floats:
        """Scores [experiments, arms, prompts, completions], treated first."""
        arms = (experiments, 2, design.prompts, 1)
        logits = (
            np.array([_logit_level(self, design, mean) for mean in self.means])[:, None, None]
            + (self.category * np.repeat(design.offsets, design.each))[:, None]
            + rng.normal(0, self.prompt, (experiments, 1, design.prompts, 1))
            + rng.normal(0, self.arm, arms)
            + rng.normal(0, self.sample, (*arms[:3], self.completions))
        )
        return (logits > 0).astype(np.float64) if self.binary else special.expit(logits)

    def expected(self, level: float, design: Design) -> float:
        """Expected score of an arm at that logit level, by quadrature over the normal effects."""
        sd = math.sqrt(self.prompt**2 + self.arm**2 + self.sample**2)
        means = level + self.category * design.offsets
        if self.binary:
            return float(np.mean(special.ndtr(means / sd)))
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        return float(np.mean(special.expit(means[:, None] + sd * nodes) @ weights) / weights.sum())


@cache
def _logit_level(model: Skewed, design: Design, mean: float) -> float:
    return float(optimize.brentq(lambda level: model.expected(level, design) - mean, -20, 20))


def runs(
    rng: np.random.Generator,
    experiments: int,
    models: int,
    design: Design,
    run: float = 0.2,
    prompt: float = 0.6,
    residual: float = 0.4,
) -> Floats:
    """Differences that are 0 in truth, of several trained models [experiments, models, prompts].

    Run + prompt (shared by the models) + residual, normal with these standard deviations: the models of one size trained from
    several seeds, or of several sizes. What a run adds is no property of the method: each training draws it anew.
    """
    return (
        rng.normal(0, run, (experiments, models, 1))
        + rng.normal(0, prompt, (experiments, 1, design.prompts))
        + rng.normal(0, residual, (experiments, models, design.prompts))
    )


def judged(rng: np.random.Generator, experiments: int, design: Design, *, asked: int, favour: float) -> Floats:
    """Differences between two arms that are none, as six raters see them [experiments, prompts, raters]; NaN where a rater was not asked.

    asked: raters a prompt. favour: the standard deviation of how much a rater favours one of the arms on every prompt.
    """
    shape = (experiments, design.prompts, 6)
    of_prompt, of_rater = rng.normal(0, 0.5, (*shape[:2], 1)), rng.normal(0, favour, (experiments, 1, 6))
    seen = of_prompt + of_rater + rng.normal(0, 0.7, shape)
    return np.where(rng.random(shape).argsort(axis=2) >= asked, np.nan, seen)
