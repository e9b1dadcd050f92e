"""Intervals, tests and effect sizes: the one place for every statistical claim.

The prompt is the cluster, arms are paired by prompt, and categories are fixed strata of equal weight; all of it follows from that.

    interval.py      Interval, and how a Student t interval is formed
    strata.py        Strata: weights of prompts, and the variance of their stratified mean
    checks.py        what counts as bad input
    levels.py        score_level, rate_level: where one arm stands
    nothing.py       no_success: what a rate of which nothing was seen may be
    differences.py   paired_difference, sign_flip: how far two arms lie apart, and whether that is chance
    equivalence.py   equivalence: whether two arms lie within a margin of each other
    multiplicity.py  holm, benjamini_hochberg: p values of a family
    effects.py       cohens_d, independent_d, minimal_detectable_difference: how large a difference is, and which could have been seen
    power.py         power_table, prompts_needed, components_of: how many prompts, samples and raters a difference takes
    trend.py         prompt_slope, size_slope, rises_with_size: change over model sizes
    seeds.py         crossed_difference: a difference over several training seeds
    distances.py     wasserstein_1, energy_distance: how far distributions of scores lie apart
    agreement.py     kappa, weighted_kappa, rank_correlation: how far two raters of the same completions agree
    raters.py        krippendorff_alpha, severity, drift, consistency, group_means: how raters rate; crossed_interval: raters as a source of error
    discrimination.py discrimination: how well a score tells two kinds of thing apart
    jackknife.py     weightings, jackknife_t: the interval of an estimate from leaving out each prompt

Pure functions of numbers: they know nothing of frames, files or stages. Bad input is a one-line ValueError, never a silent NaN.
Intervals are two-sided and unadjusted for multiplicity, and, save `crossed_interval`, conditional on the raters whose scores they were given.
"""

from tasks.statistics.agreement import kappa, rank_correlation, weighted_kappa
from tasks.statistics.differences import paired_difference, sign_flip
from tasks.statistics.discrimination import discrimination
from tasks.statistics.distances import Pooled, energy_distance, mean_energy_distance, wasserstein_1
from tasks.statistics.effects import cohens_d, detectable_difference, independent_d, minimal_detectable_difference
from tasks.statistics.equivalence import Equivalence, equivalence
from tasks.statistics.interval import DEGENERATE, Interval
from tasks.statistics.levels import rate_level, score_level
from tasks.statistics.multiplicity import benjamini_hochberg, holm
from tasks.statistics.power import (
    ASSUMED_RATINGS,
    Components,
    PowerRow,
    assumed_rates,
    components_of,
    power_table,
    prompts_needed,
)
from tasks.statistics.raters import (
    Consistency,
    GroupMeans,
    OfRater,
    checks_passed,
    consistency,
    crossed_interval,
    drift,
    group_means,
    krippendorff_alpha,
    severity,
)
from tasks.statistics.seeds import crossed_difference
from tasks.statistics.trend import prompt_slope, rises_with_size, size_slope

__all__ = [
    "ASSUMED_RATINGS",
    "DEGENERATE",
    "Components",
    "Consistency",
    "Equivalence",
    "GroupMeans",
    "Interval",
    "OfRater",
    "Pooled",
    "PowerRow",
    "assumed_rates",
    "benjamini_hochberg",
    "checks_passed",
    "cohens_d",
    "components_of",
    "consistency",
    "crossed_difference",
    "crossed_interval",
    "detectable_difference",
    "discrimination",
    "drift",
    "energy_distance",
    "equivalence",
    "group_means",
    "holm",
    "independent_d",
    "kappa",
    "krippendorff_alpha",
    "mean_energy_distance",
    "minimal_detectable_difference",
    "paired_difference",
    "power_table",
    "prompt_slope",
    "prompts_needed",
    "rank_correlation",
    "rate_level",
    "rises_with_size",
    "score_level",
    "severity",
    "sign_flip",
    "size_slope",
    "wasserstein_1",
    "weighted_kappa",
]
