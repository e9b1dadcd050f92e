"""How well a score tells two kinds of thing apart: the area under its ROC curve.

Knows pairs of one member of each kind. Leaves what is scored, and by whom, to others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.statistics.checks import numbers
from tasks.statistics.interval import Interval, t_interval


def discrimination(higher: Sequence[float], lower: Sequence[float], *, paired: bool = True, level: float = 0.95) -> Interval:
    """P(a score of the one kind > a score of the other), ties half: 1 tells all apart, ½ is chance, 0 the wrong way round.

    higher, lower: scores of pairs, in the same order, where `paired`: the pair is the unit then, its members may be as dependent as they
    like. The area is Mann & Whitney's statistic over all pairs of members; its variance that of the structural components of DeLong et al.
    (1988), summed within pairs as Obuchowski (1997, Biometrics 53, 567) does within clusters; limits by t, of one less than the pairs or than
    the smaller kind, kept in [0, 1]. `n` counts pairs, or scores.

    Raises:
        ValueError: fewer than two of a kind, unequal numbers of pairs' members, a score that is not finite.
    """
    over, under = numbers("higher", higher), numbers("lower", lower)
    few = min(over.size, under.size)
    if few < 2 or (paired and over.size != under.size):
        raise ValueError(f"{over.size} and {under.size} scores; at least 2 of both, and of pairs as many, are required")
    wins = np.sign(over[:, None] - under[None, :]) / 2 + 0.5
    of_higher, of_lower = wins.mean(1), wins.mean(0)  # each member's share of the other kind
    if paired:
        n, variance = few, float((of_higher + of_lower).var(ddof=1)) / few
    else:
        n, variance = over.size + under.size, float(of_higher.var(ddof=1) / over.size + of_lower.var(ddof=1) / under.size)
    found = t_interval(float(wins.mean()), variance, few - 1, n, "AUC", level)
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0), n, found.df, found.method)
