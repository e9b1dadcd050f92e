"""Intervals, tests and effect sizes: the one place for every statistical claim.

The prompt is the cluster, arms are paired by prompt, and categories are fixed strata of equal weight; all of it follows from that.

    interval.py      Interval, and how a Student t interval is formed
    strata.py        Strata: weights of prompts, and the variance of their stratified mean
    checks.py        what counts as bad input
    levels.py        score_level, rate_level: where one arm stands
    differences.py   paired_difference, sign_flip: how far two arms lie apart, and whether that is chance
    multiplicity.py  holm, benjamini_hochberg: p values of a family
    effects.py       cohens_d, independent_d, minimal_detectable_difference: how large a difference is, and which could have been seen
    trend.py         prompt_slope, size_slope, rises_with_size: change over model sizes
    seeds.py         crossed_difference: a difference over several training seeds

Pure functions of numbers: they know nothing of frames, files or stages. Bad input is a one-line ValueError, never a silent NaN.
Intervals are two-sided and unadjusted for multiplicity, and conditional on the raters whose scores they were given.
"""

from tasks.statistics.differences import paired_difference, sign_flip
from tasks.statistics.effects import cohens_d, independent_d, minimal_detectable_difference
from tasks.statistics.interval import DEGENERATE, Interval
from tasks.statistics.levels import rate_level, score_level
from tasks.statistics.multiplicity import benjamini_hochberg, holm
from tasks.statistics.seeds import crossed_difference
from tasks.statistics.trend import prompt_slope, rises_with_size, size_slope

__all__ = [
    "DEGENERATE",
    "Interval",
    "benjamini_hochberg",
    "cohens_d",
    "crossed_difference",
    "holm",
    "independent_d",
    "minimal_detectable_difference",
    "paired_difference",
    "prompt_slope",
    "rate_level",
    "rises_with_size",
    "score_level",
    "sign_flip",
    "size_slope",
]
