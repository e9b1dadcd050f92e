"""The jackknife over prompts: what an estimate becomes when one prompt is left out, and the t interval that follows."""

from __future__ import annotations

import numpy as np

from tasks.statistics.checks import Floats
from tasks.statistics.interval import Interval, t_interval
from tasks.statistics.strata import Strata


def weightings(design: Strata) -> Floats:
    """Weights of prompts, [1 + prompts, prompts]: of all prompts, then with each left out in turn, its group keeping its share.

    Prompts are left out in the order of `design.groups`.
    """
    rows = [design.weights[None, :]]
    for group in design.groups:
        held = np.tile(design.weights, (group.size, 1))
        held[np.arange(group.size), group] = 0.0
        whole = design.weights[group].sum()
        held[:, group] *= (whole / (whole - design.weights[group]))[:, None]
        rows.append(held)
    return np.vstack(rows)


def jackknife_t(estimates: Floats, design: Strata, level: float) -> Interval:
    """estimates[0] ± t(prompts − strata)·√(Σ_h (n_h−1)/n_h Σ_i (estimate without prompt i − their mean)²).

    estimates [1 + prompts]: one for each row of `weightings`. The stratified jackknife (Efron & Tibshirani 1993, chapter 11).
    """
    variance, start = 0.0, 1
    for group in design.groups:
        variance += (group.size - 1) * float(np.var(estimates[start : start + group.size]))
        start += group.size
    return t_interval(estimates[0], variance, design.df, design.prompts, design.name("jackknife-t"), level)
