"""Whether two arms are the same to within a margin: what a test that finds no difference cannot say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from tasks.statistics.checks import share
from tasks.statistics.differences import paired_difference
from tasks.statistics.interval import DEGENERATE, Interval
from tasks.statistics.strata import Labels


@dataclass(frozen=True)
class Equivalence:
    """A difference with its interval at level 1 − 2·alpha (90 %, unless told otherwise), held against ±margin, all in one unit.

    verdict: "equivalent", the whole interval lies within ±margin; "different", all of it lies beyond the margin; "not shown" else:
    the data do not decide.
    """

    interval: Interval
    margin: float
    verdict: Literal["equivalent", "different", "not shown"]


def equivalence(differences: ArrayLike, strata: Labels, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests, each at `alpha`, that the mean difference is above −margin and below margin.

    differences [prompts] and strata [prompts] as in `paired_difference`, margin in the unit of the differences. Both tests reject
    exactly where the stratified t interval at level 1 − 2·alpha lies within ±margin; the chance of "equivalent" where the true
    difference is at the margin or beyond is at most alpha (Schuirmann 1987). Differences without any spread bound nothing: "not shown".
    Raises ValueError for bad input, a single prompt, a margin that is not a finite number above 0, or alpha outside (0, 0.5).
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin: expected a finite number above 0, got {margin}")
    if share("alpha", alpha) >= 0.5:
        raise ValueError(f"alpha: expected a number below 0.5, got {alpha}")
    interval = paired_difference(differences, strata, level=1 - 2 * alpha)
    if interval.method.startswith(DEGENERATE):
        return Equivalence(interval, margin, "not shown")
    if -margin < interval.low and interval.high < margin:
        return Equivalence(interval, margin, "equivalent")
    beyond = interval.low > margin or interval.high < -margin
    return Equivalence(interval, margin, "different" if beyond else "not shown")
