"""Raters: how far they agree, how each of them rates, and what a difference between arms is worth when other raters might have rated.

Ratings are a table [items, raters], one number where a rater rated an item (a completion) and NaN where not; `prompts` [items] names each
item's prompt. Items of one prompt are not independent, so every interval here is over prompts, which weigh equally unless a function says
otherwise. All but `crossed_interval` is conditional on these raters: it describes these people, not those who might be asked next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.statistics.agreement import weighted_kappa
from tasks.statistics.checks import Floats, numbers, share
from tasks.statistics.interval import DEGENERATE, Interval, t_interval
from tasks.statistics.jackknife import jackknife_t, weightings
from tasks.statistics.strata import Labels, Strata

Scale = Literal["nominal", "ordinal", "interval"]

LEAST_PROMPTS = 20  # below, the bootstrap interval of alpha covers 78 to 83 %
LEAST_RATERS = 6  # below, nothing can be said of raters that were not asked
LEAST_TOGETHER = 3  # raters of a group that is shown

_LEVEL = 0.95
_FLAT = 1e-12  # a variance of places below this is that of equal places
_ROUNDING = 1e-24  # a variance below this share of the squares is the rounding of equal numbers


def krippendorff_alpha(
    ratings: ArrayLike,
    prompts: Labels,
    *,
    metric: Scale = "ordinal",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Krippendorff's alpha: agreement of any number of raters, corrected for chance. No unit; 1 is full agreement, 0 that of chance.

    ratings [items, raters], NaN where missing; prompts [items]. 1 − D/E with D the observed and E the expected disagreement,
    D = Σ o_ck δ²_ck/n and E = Σ n_c n_k δ²_ck/(n(n−1)), of the coincidences o_ck of values within items (Krippendorff 2011); items of fewer
    than two ratings are left out. δ² is 0 or 1 (nominal), (c − k)² (interval), or (Σ_{g=c..k} n_g − (n_c + n_k)/2)² (ordinal). Every
    pairable rating weighs equally. The limits are the percentiles of a bootstrap over prompts, all items of a prompt drawn together;
    draws without variation, of which alpha is undefined, are left out. `n` is the number of prompts with a pairable item.

    Below 20 such prompts the interval would cover too rarely: value = low = high, and a `method` that starts with `DEGENERATE`.
    Simulated coverage of the 95 % interval is 90 to 94 % at 20 to 160 prompts of 3 items by 3 of 6 raters.
    Conditional on these raters and on how common each value is: pooling arms that differ inflates it, so give each arm's as well.
    Raises ValueError for bad input, no item with two ratings, ratings without variation, or too few resamples for the level.
    """
    table, prompt = _rated(ratings, prompts)
    tail = (1 - share("level", level)) / 2
    if resamples * tail < 1:
        raise ValueError(f"resamples: expected at least {int(np.ceil(1 / tail))} at level {level}, got {resamples}")
    pairable = np.count_nonzero(~np.isnan(table), axis=1) >= 2
    if not pairable.any():
        raise ValueError("ratings: expected an item with at least 2 ratings: no two raters can be compared")
    table, prompt = table[pairable], np.unique(prompt[pairable], return_inverse=True)[1]
    classes = np.unique(table[~np.isnan(table)])
    if classes.size == 1:
        raise ValueError(f"ratings: expected at least two values in use, got {classes[0]:g} alone: alpha is undefined")
    coincidences = _coincidences(table, prompt, classes)
    value, count = float(_alpha(coincidences.sum(axis=0), classes, metric)), coincidences.shape[0]
    if count < LEAST_PROMPTS:
        why = f"{DEGENERATE} that an interval could rest on: {count} prompts of at least {LEAST_PROMPTS}"
        return Interval(value, value, value, count, None, why)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    found = np.round(_alpha(np.tensordot(drawn, coincidences, axes=1), classes, metric), 12)  # full agreement is 1 in all
    low, high = np.nanquantile(found, [tail, 1 - tail])
    method = "percentile bootstrap over prompts"
    return Interval(value, float(low), float(high), count, None, method if low < high else f"{DEGENERATE} ({method})")


@dataclass(frozen=True)
class OfRater:
    """What one rater's ratings show, over `items` that another rater rated too. `interval` is None where these tell nothing: of fewer
    than two prompts or, for a drift, of places too much alike."""

    items: int
    interval: Interval | None


def severity(ratings: ArrayLike, prompts: Labels) -> list[OfRater]:
    """How far each rater rates above the others, in rating points, in the order of the columns; below 0 is the severe side.

    ratings [items, raters], NaN where missing; prompts [items]. The mean of a rater's rating minus the mean of the other raters of the
    same item, whose own part is thus left out. Jackknife-t over prompts, 95 %, unadjusted for the number of raters. Conditional on the
    raters that each met: a rater among lenient ones looks severe. Raises ValueError for bad input.
    """
    table, prompt = _rated(ratings, prompts)
    return [_over_prompts(own, prompt, lambda weights, apart: weights @ apart) for own in _from_the_others(table).T]


def drift(ratings: ArrayLike, places: ArrayLike, prompts: Labels) -> list[OfRater]:
    """How far each rater's severity moves from the first item shown to the last, in rating points, in the order of the columns.

    ratings [items, raters], NaN where missing; places [items, raters]: where in that rater's order an item stood, 0 for the first and 1
    for the last; prompts [items]. The least-squares slope, on the place, of a rating minus the mean of the other raters of the same item.
    Jackknife-t over prompts, 95 %, unadjusted. Conditional on orders drawn at random for each rater: only then do the others' drifts, and
    what stood where, average out. Raises ValueError for bad input, or a rating without a place from 0 to 1.
    """
    table, prompt = _rated(ratings, prompts)
    at = _table("places", places)
    if at.shape != table.shape:
        raise ValueError(f"places: expected the shape of ratings {table.shape}, got {at.shape}")
    if not np.all((at >= 0) & (at <= 1) | np.isnan(table)):
        raise ValueError("places: expected a number from 0 to 1 wherever there is a rating")

    def slope(weights: Floats, apart: Floats, where: Floats) -> Floats:
        centre, mean = weights @ where, weights @ apart
        spread = weights @ where**2 - centre**2
        return np.divide(
            weights @ (where * apart) - centre * mean, spread, out=np.full_like(spread, np.nan), where=spread > _FLAT
        )

    return [_over_prompts(own, prompt, slope, where) for own, where in zip(_from_the_others(table).T, at.T, strict=True)]


@dataclass(frozen=True)
class Consistency:
    """Of `n` items that were rated twice: the share rated the same, the mean absolute difference in rating points, and Cohen's kappa with
    quadratic weights (None where it is undefined)."""

    n: int
    same: float
    apart: float
    kappa: Interval | None


def consistency(first: ArrayLike, again: ArrayLike, prompts: Labels) -> Consistency:
    """How far ratings repeat: first, again [items]: of the same rater for the same item; prompts [items].

    Of one rater, or of all, one after another. Items weigh equally in `same` and `apart`, prompts in `kappa` (`weighted_kappa`, with its
    95 % interval). Conditional on these items, and on their not being recognised: a rater who remembers is consistent. A handful of
    repetitions describes, and decides nothing. Raises ValueError for bad input, no item, or lengths that differ.
    """
    one, other = numbers("first", first), numbers("again", again)
    if one.size != other.size:
        raise ValueError(f"again: expected as many ratings as first ({one.size}), got {other.size}")
    prompt = _numbered(prompts, one.size)
    members = [np.flatnonzero(prompt == number) for number in range(prompt.max() + 1)]
    try:
        kappa = weighted_kappa([one[held] for held in members], [other[held] for held in members], ["all"] * len(members))
    except ValueError:  # all else has been refused: one prompt, or one rating alone in use
        kappa = None
    apart = np.abs(one - other)
    return Consistency(one.size, float(np.mean(apart == 0)), float(np.mean(apart)), kappa)


def checks_passed(given: ArrayLike, expected: ArrayLike) -> tuple[int, int]:
    """How many checks were answered as expected, of how many: given, expected [checks], ratings. Raises ValueError for bad input."""
    one, other = numbers("given", given), numbers("expected", expected)
    if one.size != other.size:
        raise ValueError(f"expected: expected as many ratings as given ({one.size}), got {other.size}")
    return int(np.count_nonzero(one == other)), one.size


def crossed_interval(differences: ArrayLike, strata: Labels, *, level: float = 0.95) -> Interval:
    """Mean difference between two arms with prompts and raters both random and crossed: a statement on raters like these.

    differences [prompts, raters]: a rater's mean rating of a prompt's completions in one arm minus that in the other, NaN where the rater
    did not rate the prompt; strata [prompts]. The value is that of `paired_difference` on the prompts' means over raters. Severity cancels
    in a difference; that raters favour an arm (rater × arm) does not, and is what is added here.

    V = max(Vp + Vr − Vpr, Vp, Vr), as in `crossed_difference`, of the least-squares effects of prompts and raters, which allow for who
    rated what: Vp the stratified variance of the prompts' mean, Vr = s²(rater effects)·Σ_r (weight of rater r)², Vpr the part of Vr that is the
    prompt-by-rater remainder, which Vp holds too (method of moments: Searle, Casella & McCulloch 1992, chapter 5). Of a complete table and
    equal strata these are the two-way analysis of variance. df by Satterthwaite (1946), at least raters − 1 and at most prompts − strata.
    Simulated coverage of the 95 % interval at 40 prompts and 6 raters, with prompts rated by all or by three of them: 94 to 98 %.
    Conditional on the training runs, and on raters being drawn from those whom the statement is meant for.
    Raises ValueError for bad input, a prompt without any difference, fewer than six raters, or raters who are not linked by prompts
    that they share, from one to the next and with some to spare.
    """
    table = _table("differences", differences)
    there = ~np.isnan(table)
    table, there = table[:, there.any(axis=0)], there[:, there.any(axis=0)]
    prompts, raters = table.shape
    if raters < LEAST_RATERS:
        raise ValueError(
            f"differences: expected at least {LEAST_RATERS} raters (columns), got {raters}: use paired_difference on their mean, and say so"
        )
    of_each = there.sum(axis=1)
    if of_each.min() == 0:
        raise ValueError("differences: expected a difference by at least one rater in every prompt, got a prompt without any")
    design = Strata.of(strata, prompts)
    means = np.nanmean(table, axis=1)
    shares = there / of_each[:, None]
    # Normal equations of the rater effects once the prompts are out. A zero eigenvalue beyond that of the overall level: raters without a link.
    equations = np.diag(there.sum(axis=0)) - there.T @ shares
    freedom = int(there.sum()) - prompts - (raters - 1)
    if np.linalg.matrix_rank(equations) < raters - 1 or freedom < 1:
        raise ValueError(
            "differences: expected raters linked by prompts that they share: prompts and raters cannot be told apart"
        )
    inverse = np.linalg.pinv(equations, hermitian=True)
    effects = inverse @ np.nansum(table - means[:, None], axis=0)
    of_prompts = means - shares @ effects
    remainder = float(np.nansum((table - of_prompts[:, None] - effects) ** 2)) / freedom

    weight = float(np.sum((design.weights @ shares) ** 2))
    by_prompts = design.variance(of_prompts)
    by_raters = float(np.var(effects, ddof=1)) * weight
    by_both = remainder * float(np.trace(inverse)) / (raters - 1) * weight
    variance = max(by_prompts + by_raters - by_both, by_prompts, by_raters)
    if variance <= _ROUNDING * float(np.nanmax(np.abs(table))) ** 2:
        variance = 0.0
    df = float(raters - 1)
    if variance > 0:
        spread = by_prompts**2 / design.df + by_raters**2 / (raters - 1) + by_both**2 / freedom
        df = float(min(max(variance**2 / spread, raters - 1), design.df))
    method = design.name(f"crossed with {raters} raters, Satterthwaite t")
    return t_interval(design.mean(means), variance, df, prompts, method, level)


@dataclass(frozen=True)
class GroupMeans:
    """`means`: (group, arm) → mean rating; `raters`: group → how many. `hidden`: how many raters named a group that is not shown, and
    `silent`: how many named none."""

    means: dict[tuple[str, str], float]
    raters: dict[str, int]
    hidden: int
    silent: int


def group_means(ratings: ArrayLike, arms: Labels, groups: Labels) -> GroupMeans:
    """Mean rating by what raters say of themselves and by arm, of groups of at least three raters in every arm.

    ratings [items, raters], NaN where missing; arms [items]; groups [raters], empty where a rater said nothing: labels are compared as they
    are. Each rater weighs equally: the mean of the raters' means, in rating points. It describes and has no interval: conditional on these
    raters and on the items that each was given, which differ between groups. Raters who rated nothing are not counted.
    Raises ValueError for bad input.
    """
    table = _table("ratings", ratings)
    arm = _names("arms", arms, table.shape[0])
    said = np.array(["" if group is None else str(group) for group in groups])
    if said.size != table.shape[1]:
        raise ValueError(f"groups: expected one label a rater, got {said.size} labels for {table.shape[1]} raters")
    rated = ~np.isnan(table)
    counted = rated.any(axis=0)
    means: dict[tuple[str, str], float] = {}
    raters: dict[str, int] = {}
    for group in sorted(set(said.tolist()) - {""}):
        columns = said == group
        cells = {one: (table[arm == one][:, columns], rated[arm == one][:, columns]) for one in np.unique(arm)}
        if min(np.count_nonzero(there.any(axis=0)) for _, there in cells.values()) < LEAST_TOGETHER:
            continue
        raters[group] = int(np.count_nonzero(counted & columns))
        for one, (given, there) in cells.items():
            held = there.any(axis=0)
            means[group, str(one)] = float(np.mean(np.nanmean(given[:, held], axis=0)))
    silent = int(np.count_nonzero(counted & (said == "")))
    return GroupMeans(means, raters, int(counted.sum()) - silent - sum(raters.values()), silent)


def _coincidences(table: Floats, prompt: NDArray[np.intp], classes: Floats) -> Floats:
    """[prompts, classes, classes]: how often two values meet in an item, each pair of its m ratings counted 1/(m − 1)."""
    counts = np.sum(table[:, :, None] == classes, axis=1).astype(np.float64)
    met = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(classes.size)
    met /= (counts.sum(axis=1) - 1)[:, None, None]
    found = np.zeros((int(prompt.max()) + 1, classes.size, classes.size))
    np.add.at(found, prompt, met)
    return found


def _alpha(coincidences: Floats, classes: Floats, metric: Scale) -> Floats:
    """Alpha of each matrix of coincidences [..., classes, classes]; NaN where it holds one class alone."""
    marginal = coincidences.sum(axis=-1)
    if metric == "ordinal":  # the differences of mid-ranks are Krippendorff's sums
        place = np.cumsum(marginal, axis=-1) - marginal / 2
    elif metric in ("interval", "nominal"):
        place = np.broadcast_to(classes, marginal.shape)
    else:
        raise ValueError(f"metric: expected nominal, ordinal or interval, got {metric!r}")
    apart = (place[..., :, None] - place[..., None, :]) ** 2
    if metric == "nominal":
        apart = (apart > 0).astype(np.float64)
    observed = np.sum(coincidences * apart, axis=(-2, -1))
    expected = np.einsum("...c,...k,...ck->...", marginal, marginal, apart) / (marginal.sum(axis=-1) - 1)
    return 1 - np.divide(observed, expected, out=np.full_like(observed, np.nan), where=expected > 0)


def _from_the_others(table: Floats) -> Floats:
    """Each rating minus the mean of the item's other ratings, NaN where there is none."""
    others = np.sum(~np.isnan(table), axis=1, keepdims=True) - 1.0
    others[others < 1] = np.nan
    return table - (np.nansum(table, axis=1, keepdims=True) - table) / others


def _over_prompts(apart: Floats, prompt: NDArray[np.intp], statistic: Callable[..., Floats], *further: Floats) -> OfRater:
    """`statistic` of weights [rows, items] and of one rater's values [items], where there are any: all prompts, then without each."""
    there = ~np.isnan(apart)
    _, prompt, counts = np.unique(prompt[there], return_inverse=True, return_counts=True)
    if counts.size < 2:
        return OfRater(prompt.size, None)
    design = Strata.of(["all"] * counts.size, counts.size)
    weights = weightings(design)[:, prompt] / counts[prompt]
    estimates = statistic(weights, apart[there], *(values[there] for values in further))
    known = not np.isnan(estimates).any()
    return OfRater(prompt.size, jackknife_t(np.round(estimates, 12), design, _LEVEL) if known else None)


def _rated(ratings: ArrayLike, prompts: Labels) -> tuple[Floats, NDArray[np.intp]]:
    table = _table("ratings", ratings)
    return table, _numbered(prompts, table.shape[0])


def _table(name: str, values: ArrayLike) -> Floats:
    """`values` as a 2-D float array in which NaN is what is missing. Raises ValueError for infinite numbers, or none at all."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected a 2-D array of numbers ({error})") from None
    numbers(name, np.where(np.isnan(array), 0.0, array), 2)
    if np.isnan(array).all():
        raise ValueError(f"{name}: expected at least one number, got none")
    return array


def _numbered(prompts: Labels, items: int) -> NDArray[np.intp]:
    """Of each item the number of its prompt."""
    return np.unique(_names("prompts", prompts, items), return_inverse=True)[1]


def _names(what: str, labels: Labels, items: int) -> NDArray[np.str_]:
    names = list(labels)
    if len(names) != items:
        raise ValueError(f"{what}: expected one label an item, got {len(names)} labels for {items} items")
    if any(name is None or name != name for name in names):  # NaN alone differs from itself
        raise ValueError(f"{what}: expected a label for every item, got None or NaN among them")
    return np.array([str(name) for name in names])
