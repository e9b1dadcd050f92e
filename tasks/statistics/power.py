"""How many prompts, completions and raters an experiment needs: which difference a plan would find.

A prompt's mean difference between two arms varies for three reasons: prompts differ in how far the arms lie apart (prompt × arm),
completions of a prompt differ, and so do the ratings of a completion. Samples thin out the last two, raters the last alone, so the
prompts soon limit what can be seen. What arms share (a prompt's difficulty, a rater's severity) cancels and plays no part.
`Components` names the three variances, assumed before a first sweep and estimated from a finished one (`components_of`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import Floats, numbers
from tasks.statistics.effects import minimal_detectable_difference
from tasks.statistics.strata import Labels, Strata


@dataclass(frozen=True)
class Components:
    """Variances of the difference between two arms, both arms' parts added, in the squared unit of the score.

    `prompt`: of prompts' true differences within a category; `sample`: of a completion around its prompt's mean; `rater`: of a
    rating around its completion's mean once severity is out (0 where a scorer gives the score). `source` says where they come from.
    """

    prompt: float
    sample: float
    rater: float = 0.0
    source: str = "assumed"

    def __post_init__(self) -> None:
        for name, value in (("prompt", self.prompt), ("sample", self.sample), ("rater", self.rater)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: expected a finite variance of at least 0, got {value}")


ASSUMED_RATINGS = Components(prompt=0.245, sample=0.5, rater=0.98)
"""Ratings from 1 to 5: standard deviations an arm of .35 (prompt × arm), .5 and .7. Assumed, not measured: at 3 completions and 3 raters
a prompt's difference then has a standard deviation of .72, in the middle of the .65 to .78 that the project's simulations assume."""


def assumed_rates(rate: float, *, intraclass: float = 0.3, shared: float = 0.7) -> Components:
    """Components of a difference between two arms' rates near `rate`, in squared shares. Assumed, not measured.

    Completions are 0 or 1 with variance rate·(1 − rate) an arm, of which the part `intraclass` lies between prompts; of that, the arms
    share the part `shared` (the correlation ρ of a prompt's two rates): prompt 2(1 − ρ)·intraclass·rate·(1 − rate), sample
    2(1 − intraclass)·rate·(1 − rate). A rate of a half is the worst case. Raises ValueError for numbers outside [0, 1].
    """
    for name, value in (("rate", rate), ("intraclass", intraclass), ("shared", shared)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    both = 2 * rate * (1 - rate)
    return Components(prompt=(1 - shared) * intraclass * both, sample=(1 - intraclass) * both)


def components_of(treated: Sequence[ArrayLike], reference: Sequence[ArrayLike], strata: Labels) -> Components:
    """The components estimated from two arms' scores, by the method of moments; never below 0.

    treated, reference: one array of scores a prompt, the same prompts in the same order: [completions], or [completions, raters] with
    the same rater in a column; strata [prompts]. Within prompts: `rater` from the completion × rater remainder, `sample` from the
    spread of completions (in [completions] the raters' part stays in it, and `rater` is 0), degrees of freedom pooled over the prompts
    of an arm. Between prompts: `prompt` is the variance of prompt-mean differences within strata, less what sample and rater put into
    it (Searle, Casella & McCulloch 1992, chapter 3). With few prompts these are rough: at 40 the standard deviation of
    differences is known to some 12 %.
    Raises ValueError for bad input, a single prompt, arms of different shape, or an arm without any prompt of two completions (and,
    with raters, of two raters), where nothing tells the components apart.
    """
    if len(treated) != len(reference):
        raise ValueError(f"reference: expected as many prompts as treated ({len(treated)}), got {len(reference)}")
    design = Strata.of(strata, len(treated))
    dimensions = 2 if any(np.ndim(scores) == 2 for scores in (*treated, *reference)) else 1
    arms = [
        _Arm.of(name, [numbers(f"{name}[{number}]", scores, dimensions) for number, scores in enumerate(arm)])
        for name, arm in (("treated", treated), ("reference", reference))
    ]
    differences = arms[0].means - arms[1].means
    within = sum(float(np.var(differences[group], ddof=1)) * (group.size - 1) for group in design.groups) / design.df
    noise = sum(float(np.mean(arm.sample / arm.completions + arm.rater / (arm.completions * arm.raters))) for arm in arms)
    return Components(
        prompt=max(within - noise, 0.0),
        sample=sum(arm.sample for arm in arms),
        rater=sum(arm.rater for arm in arms),
        source=f"estimated from {design.prompts} prompts",
    )


def difference_sd(components: Components, completions: int, raters: int = 1) -> float:
    """Standard deviation of prompt-mean differences: √(prompt + sample/completions + rater/(samples·raters)), in the unit of the score.

    completions: completions a prompt and arm; raters: ratings a completion. Raises ValueError for fewer than one, or no variance at all.
    """
    for name, count in (("completions", completions), ("raters", raters)):
        if count < 1:
            raise ValueError(f"{name}: expected at least 1, got {count}")
    variance = components.prompt + components.sample / completions + components.rater / (completions * raters)
    if variance == 0:
        raise ValueError("components: expected at least one variance above 0: without any, every difference would be found")
    return math.sqrt(variance)


def detectable(
    components: Components,
    prompts: int,
    strata: int,
    completions: int,
    raters: int = 1,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The least difference that the stratified t test finds with probability `power`, in the unit of the score.

    `minimal_detectable_difference` at `difference_sd`: prompts in `strata` categories of equal size, two-sided at `alpha`. Holm's
    adjustment over a family of m tests is planned for by alpha/m, its first and hardest step: the figure then holds for whichever
    test comes out smallest, and errs upward for the others. Raises ValueError as these two do.
    """
    return minimal_detectable_difference(
        difference_sd(components, completions, raters), prompts, strata, power=power, alpha=alpha
    )


def prompts_needed(
    difference: float,
    components: Components,
    strata: int,
    completions: int,
    raters: int = 1,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """The least number of prompts, as many in each category, with which that difference is detectable.

    difference: in the unit of the score, its sign of no matter; the rest as in `detectable`, which falls as prompts grow. At least
    two prompts a category. Raises ValueError for a difference of 0, or one that a million prompts a category would not show.
    """
    wanted = abs(difference)
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"difference: expected a finite number other than 0, got {difference}")

    def enough(each: int) -> bool:
        return detectable(components, each * strata, strata, completions, raters, power=power, alpha=alpha) <= wanted

    most = 2
    while not enough(most):
        most *= 2
        if most > 2**20:
            raise ValueError(f"difference: {difference} would take over a million prompts a category; a larger one is accepted")
    least = max(most // 2, 1)  # not enough, or too few to have any spread
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most * strata


@dataclass(frozen=True)
class PowerRow:
    """One plan, and the least difference that it would find."""

    prompts: int
    completions: int
    raters: int
    detectable: float


def power_table(
    components: Components,
    strata: int = 8,
    *,
    prompts: Sequence[int] = (40, 80, 160),
    completions: Sequence[int] = (1, 3, 10, 25),
    raters: Sequence[int] = (1, 3, 6),
    power: float = 0.8,
    alpha: float = 0.05,
) -> list[PowerRow]:
    """`detectable` over a grid of plans, prompts slowest. Where a scorer gives the score, raters=(1,) says all there is."""
    return [
        PowerRow(p, s, r, detectable(components, p, strata, s, r, power=power, alpha=alpha))
        for p in prompts
        for s in completions
        for r in raters
    ]


@dataclass(frozen=True)
class _Arm:
    """One arm's prompt means and counts [prompts], and its variances within prompts."""

    means: Floats
    completions: Floats
    raters: Floats
    sample: float
    rater: float

    @classmethod
    def of(cls, name: str, scores: Sequence[Floats]) -> _Arm:
        rated = scores[0].ndim == 2
        tables = scores if rated else [values[:, None] for values in scores]
        completions, raters = (np.array([table.shape[axis] for table in tables], dtype=np.float64) for axis in (0, 1))
        freedom = np.sum(completions - 1)
        if freedom == 0:
            raise ValueError(
                f"{name}: expected a prompt with at least 2 completions: with one each, prompts and completions look alike"
            )
        of_completions = [table.mean(axis=1) for table in tables]
        between = sum(float(np.sum((means - means.mean()) ** 2)) for means in of_completions) / freedom
        rater = 0.0
        if rated:
            crossed = np.sum((completions - 1) * (raters - 1))
            if crossed == 0:
                raise ValueError(
                    f"{name}: expected a prompt with at least 2 completions by 2 raters; or give the completions' means"
                )
            rest = [
                table - means[:, None] - table.mean(axis=0) + table.mean()
                for table, means in zip(tables, of_completions, strict=True)
            ]
            rater = sum(float(np.sum(part**2)) for part in rest) / float(crossed)
        sample = max(between - rater * float(np.sum((completions - 1) / raters) / freedom), 0.0)
        return cls(np.array([means.mean() for means in of_completions]), completions, raters, sample, rater)
