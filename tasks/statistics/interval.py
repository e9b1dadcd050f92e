"""An estimate with its interval, and the one way a Student t interval is formed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import scipy

from tasks.statistics.checks import share

DEGENERATE = "degenerate: no spread between prompts"


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided limits, in the unit of the values they came from.

    `n` is the number of prompts (of sizes, for a slope over sizes); `df` is None where no t distribution is behind the limits.
    `method` names the formula. A `method` that starts with `DEGENERATE` has value = low = high because the data show no
    spread at all: that is an absence of information on the error, not a measurement without error, and should be shown as such.
    """

    value: float
    low: float
    high: float
    n: int
    df: float | None
    method: str

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high)):
            raise ValueError(f"{self.method}: expected a finite interval, got {self.value} [{self.low}, {self.high}]")


@lru_cache(maxsize=1024)  # a comparison asks 12,000 times for some dozens of them, 0.1 ms each
def t_below(share: float, df: float) -> float:
    """What Student's t of `df` degrees of freedom stays below with this probability."""
    return float(scipy.stats.t.ppf(share, df))


@lru_cache(maxsize=1024)
def t_above(share: float, df: float) -> float:
    """What it exceeds with this probability; of a small one more digits are right than of `t_below` of the rest."""
    return float(scipy.stats.t.isf(share, df))


def t_interval(value: float, variance: float, df: float, n: int, method: str, level: float) -> Interval:
    """value ± t(df)·√variance; zero-width and marked `DEGENERATE` where the variance of the estimate is zero."""
    reach = t_below((1 + share("level", level)) / 2, df) * math.sqrt(variance)
    named = method if variance > 0 else f"{DEGENERATE} ({method})"
    return Interval(float(value), float(value - reach), float(value + reach), n, df, named)
