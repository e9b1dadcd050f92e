"""Where one arm stands: the level of a score and of a rate, with an interval over prompts.

Both take prompt-level values and weigh strata equally, and prompts equally within a stratum. Levels carry the raters' severity,
which only differences cancel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from tasks.statistics.checks import Floats, numbers, share
from tasks.statistics.interval import DEGENERATE, Interval, t_above
from tasks.statistics.strata import Labels, Strata

_CELLS = 2**21  # resampled prompts held at once: 16 MiB
# A resample with less than this share of the data's variance has no spread: it left out the prompts that differ, and its t* would be
# a matter of rounding. At 1e-12 sixteen prompts near 0 and one at .33 gave limits of ±4 for a share; at 40 and 160 prompts no coverage
# changed, at five it fell by a point or two.
_FLAT = 1e-2


def score_level(values: ArrayLike, strata: Labels, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Equal-weight strata mean of prompt means, with a stratified studentised bootstrap (bootstrap-t) over prompts.

    values [prompts]: prompt means in any unit (the limits are in that unit and may pass the ends of a bounded scale);
    strata [prompts]: each prompt's category. Prompts are resampled within strata; each resample gives
    t* = (mean* − mean)/se*, and the limits are mean − t*(1−α/2)·se and mean − t*(α/2)·se (Efron & Tibshirani 1993, chapter 12).

    A resample with next to no spread (a hundredth of the data's variance) counts as t* = ±∞. Where that makes a limit infinite (few
    prompts, most of them nearly equal), the limit comes from the resamples with spread or from Student's t, whichever is wider, and
    `method` says "widened to Student t": such an interval is descriptive. Values without any spread give value = low = high and
    `method` `DEGENERATE`.
    Raises ValueError for bad input, a single prompt, or too few resamples for the level.
    """
    scores = numbers("values", values)
    design = Strata.of(strata, scores.size)
    tail = (1 - share("level", level)) / 2
    rank = int((resamples + 1) * tail + 1e-9)  # of (B+1)α/2: the order statistic that is the tail's quantile
    if rank < 1:
        raise ValueError(f"resamples: expected at least {math.ceil(1 / tail) - 1} at level {level}, got {resamples}")
    value, error = design.mean(scores), math.sqrt(design.variance(scores))
    if error == 0:
        return Interval(value, value, value, scores.size, None, DEGENERATE)
    ratios = np.sort(_studentised_resamples(scores, design, resamples, seed))
    below, above = float(ratios[rank - 1]), float(ratios[-rank])
    method = design.name("bootstrap-t")
    if not (math.isfinite(below) and math.isfinite(above)):
        student = t_above(tail, design.df)
        finite = ratios[np.isfinite(ratios)]
        below = below if math.isfinite(below) else min(-student, float(np.quantile(finite, tail)))
        above = above if math.isfinite(above) else max(student, float(np.quantile(finite, 1 - tail)))
        method += ", widened to Student t"
    return Interval(value, value - above * error, value - below * error, scores.size, None, method)


def rate_level(values: ArrayLike, completions: ArrayLike, strata: Labels, *, level: float = 0.95) -> Interval:
    """Equal-weight strata mean of prompts' success shares, with the interval of Korn & Graubard (1998).

    values [prompts]: share of successes in [0, 1]; completions [prompts]: how many completions a share is of; strata [prompts].
    Clopper-Pearson limits at an effective sample n* = (n / design effect)·(t(n−1)/t(df))², never above n, and n*·rate successes.
    n is the number of completions (Kish's effective number 1/Σw² where weights differ), df = prompts − strata, and the design
    effect is the stratified between-prompt variance of the rate over rate·(1−rate)/(n−1). With one completion a prompt and one
    stratum these are the Clopper-Pearson limits.

    With no success at all (or no failure) the data cannot show a design effect, and n* is the number of prompts: since
    (1−r)^m ≤ 1−r, P(no success) ≤ (1−rate)^prompts however the m completions of a prompt cluster, so the limit holds in
    balanced strata whatever the clustering; where completions are in truth independent it is wide.
    Simulated coverage of the 95 % interval is 94 to 100 % at 5 to 160 prompts, save for rates of 2 % and below over many strongly
    clustered completions (25 a prompt, intraclass correlation 0.3), where the few prompts that succeed give 85 to 88 %.
    Raises ValueError for bad input, shares outside [0, 1], counts that are not whole and positive, or a single prompt.
    """
    shares, counts = numbers("values", values), numbers("completions", completions)
    if shares.shape != counts.shape:
        raise ValueError(f"completions: expected one count a prompt, got {counts.size} for {shares.size} prompts")
    if shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"values: expected shares in [0, 1], got {shares.min()} to {shares.max()}")
    if counts.min() < 1 or np.any(counts != np.round(counts)):
        raise ValueError("completions: expected whole numbers of at least 1 a prompt")
    design = Strata.of(strata, shares.size)
    tail = (1 - share("level", level)) / 2
    rate, method = design.mean(shares), design.name("Korn-Graubard")
    if np.ptp(shares) == 0 and shares[0] in (0.0, 1.0):
        rate, sample = float(shares[0]), 1 / float(np.sum(design.weights**2))
        method += f", no {'success' if rate == 0 else 'failure'}: prompts as the sample"
    else:
        sample = _effective_sample(rate, design.variance(shares), counts, design, tail)
    successes, failures = sample * rate, sample * (1 - rate)
    low = float(scipy.stats.beta.ppf(tail, successes, failures + 1)) if successes > 0 else 0.0
    high = float(scipy.stats.beta.isf(tail, successes + 1, failures)) if failures > 0 else 1.0
    return Interval(rate, low, high, shares.size, float(design.df), method)


def _studentised_resamples(scores: Floats, design: Strata, resamples: int, seed: int) -> Floats:
    """t* of each resample; ±inf where it has no spread but another mean, 0 where the mean is the same too."""
    sizes = tuple(group.size for group in design.groups)
    blocks = _kept_draws if resamples * scores.size <= _CELLS else _draws
    errors, variances = np.zeros(resamples), np.zeros(resamples)
    for number, rows, places in blocks(sizes, resamples, seed):
        group = design.groups[number]
        drawn = (scores[group] - scores[group].mean())[places]
        weighted, sums = (drawn @ np.column_stack([design.weights[group], np.ones(group.size)])).T
        errors[rows] += weighted
        squares = np.einsum("rp,rp->r", drawn, drawn) - sums**2 / group.size
        variances[rows] += design.squares(group) * np.maximum(squares, 0.0) / (group.size - 1)
    scale = design.variance(scores)
    spread = variances > _FLAT * scale
    moved = np.abs(errors) > math.sqrt(_FLAT * scale)
    flat = np.where(moved, np.copysign(np.inf, errors), 0.0)
    return np.where(spread, errors / np.sqrt(np.where(spread, variances, 1.0)), flat)


def _draws(sizes: tuple[int, ...], resamples: int, seed: int) -> Iterator[tuple[int, slice, NDArray[np.intp]]]:
    """Of each group of prompts and each block of resamples: which of the group's prompts were drawn [resamples, prompts]."""
    rng = np.random.default_rng(seed)
    for number, size in enumerate(sizes):
        step = max(1, _CELLS // size)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            yield number, slice(start, start + rows), rng.integers(size, size=(rows, size))


@lru_cache(maxsize=4)
def _kept_draws(sizes: tuple[int, ...], resamples: int, seed: int) -> tuple[tuple[int, slice, NDArray[np.intp]], ...]:
    """`_draws`, kept: all metrics of a stage share their prompts, and drawing is half of the work."""
    return tuple(_draws(sizes, resamples, seed))


def _effective_sample(rate: float, variance: float, counts: Floats, design: Strata, tail: float) -> float:
    actual = 1 / float(np.sum(design.weights**2 / counts))
    if variance == 0:  # the shares agree better than independent completions would: no credit beyond the actual number
        return actual
    effective = actual * rate * (1 - rate) / (actual - 1) / variance
    ratio = t_above(tail, actual - 1) / t_above(tail, design.df)
    return min(actual, effective * ratio**2)
