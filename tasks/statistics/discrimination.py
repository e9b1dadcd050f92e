"""How well a score tells two kinds of thing apart: the area under its ROC curve.

Knows pairs of one member of each kind. Leaves what is scored, and by whom, to others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.statistics.checks import numbers
from tasks.statistics.interval import Interval, t_interval


def discrimination(higher: Sequence[float], lower: Sequence[float], level: float = 0.95) -> Interval:
    """P(a score of the one kind > a score of the other), ties half: 1 tells all apart, ½ is chance, 0 the wrong way round.

    higher, lower: scores of pairs, in the same order; the pair is the unit, its members may be as dependent as they like. The area is
    Mann & Whitney's statistic over all pairs of members; its variance that of the structural components of DeLong et al. (1988), summed
    within pairs as Obuchowski (1997, Biometrics 53, 567) does within clusters; limits by t of n − 1, kept in [0, 1].

    Raises:
        ValueError: fewer than two pairs, unequal lengths, a score that is not finite.
    """
    over, under = numbers("higher", higher), numbers("lower", lower)
    if over.size != under.size or over.size < 2:
        raise ValueError(f"{over.size} and {under.size} scores; as many of both, and at least 2, are required")
    wins = np.sign(over[:, None] - under[None, :]) / 2 + 0.5
    components = wins.mean(1) + wins.mean(0)  # of each pair: its higher member against all lower ones, and the other way round
    value, n = float(wins.mean()), over.size
    found = t_interval(value, float(components.var(ddof=1)) / n, n - 1, n, "paired AUC", level)
    return Interval(value, max(found.low, 0.0), min(found.high, 1.0), n, found.df, found.method)
