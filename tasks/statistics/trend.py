"""Change of a score over model sizes: two questions, two intervals.

`prompt_slope` asks about these trained models on other prompts; `size_slope` about model sizes, with each trained model one
observation. Runs differ by more than their prompts show, so only the second can carry the claim "rises with size".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tasks.statistics.checks import Floats, numbers
from tasks.statistics.interval import DEGENERATE, Interval, t_interval
from tasks.statistics.strata import Labels, Strata

CLAIMABLE = 4  # sizes below which a rise is never claimed
_ROUNDING = 1e-24  # a residual sum of squares below this share of the means' own is that of points on a line


def prompt_slope(values: ArrayLike, x: ArrayLike, strata: Labels, *, level: float = 0.95) -> Interval:
    """Mean over prompts of the least-squares slope of a prompt's value on x: a statement on these trained models.

    values [models, prompts]: prompt means (or differences between arms), complete; x [models]: for example log10 of the number of
    parameters; strata [prompts]. A slope a prompt, then the stratified t interval with prompts − strata df. Unit: the value's for
    one unit of x. It treats every model as fixed: with runs that vary it says nothing about sizes (`size_slope` does).
    Raises ValueError for bad input, fewer than 2 models, x without spread, or a single prompt.
    """
    table, place = numbers("values", values, 2), _places(x, 2)
    if table.shape[0] != place.size:
        raise ValueError(f"x: expected one number a model, got {place.size} for values of shape {table.shape}")
    design = Strata.of(strata, table.shape[1])
    centred = place - place.mean()
    slopes = centred @ (table - table[0]) / (centred @ centred)
    method = f"these trained models: {design.name('t on prompt slopes')}"
    return t_interval(design.mean(slopes), design.variance(slopes), design.df, slopes.size, method, level)


def size_slope(means: ArrayLike, x: ArrayLike, *, level: float = 0.95) -> Interval:
    """Least-squares slope of the models' means on x: a statement on model sizes, with K − 2 df over K sizes.

    means [sizes]: one overall mean (or difference) a size; x [sizes], all different: for example log10 of the number of parameters.
    Slope ± t(K−2)·√(Σ residual²/(K−2)/Σ(x − x̄)²). Unit: the mean's for one unit of x. `n` is the number of sizes. Points that
    lie on a line exactly give a zero width and a `method` that starts with `DEGENERATE`.
    Raises ValueError for bad input, fewer than 3 sizes, or a size given twice (average its seeds first).
    """
    points, place = numbers("means", means), _places(x, 3)
    if points.size != place.size:
        raise ValueError(f"x: expected one number a mean, got {place.size} for {points.size} means")
    if np.unique(place).size != place.size:
        raise ValueError("x: expected every size once, got repeated values: average the runs of a size first")
    centred, heights = place - place.mean(), points - points.mean()
    spread = float(centred @ centred)
    slope = float(centred @ heights) / spread
    residual = float(np.sum((heights - slope * centred) ** 2))
    if residual <= _ROUNDING * float(points @ points):
        residual = 0.0
    df = points.size - 2
    return t_interval(slope, residual / df / spread, df, points.size, "model sizes: least squares over sizes", level)


def rises_with_size(interval: Interval, sizes: int) -> bool | None:
    """Whether `size_slope`'s interval over that many sizes lies above 0; None (no claim either way) below 4 sizes.

    A zero-width interval shows no error to judge by, and claims nothing either.
    Raises ValueError for an interval that is not `size_slope`'s over that many sizes: no other one can carry the claim.
    """
    if "model sizes" not in interval.method or interval.n != sizes:
        raise ValueError(f"interval: expected size_slope's over {sizes} sizes, got '{interval.method}' with n = {interval.n}")
    if sizes < CLAIMABLE or interval.method.startswith(DEGENERATE):
        return None
    return interval.low > 0


def _places(x: ArrayLike, least: int) -> Floats:
    place = numbers("x", x)
    if place.size < least:
        raise ValueError(f"x: expected at least {least} models of different size, got {place.size}")
    if np.ptp(place) == 0:
        raise ValueError(f"x: expected models of different size, got {place[0]} for all of them")
    return place
