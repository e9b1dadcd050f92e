"""Differences between two arms, paired by prompt, with their intervals, tests and effect sizes.

Knows which differences belong to which family of tests, and which are descriptive. What is paired with what stands in `pairing`, the
formulas in `tasks.statistics`. The prompt is the cluster and the categories are fixed strata of equal weight (Miller 2024); intervals are
unadjusted, p values are adjusted within their family.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import scipy

from configs.contrasts import Contrast, is_shown
from tasks.compare.pairing import Pair, pairs
from tasks.compare.summary import ALL_SEEDS
from tasks.compare.upstream import Sources
from tasks.contract import Axes
from tasks.levels import is_further
from tasks.statistics import (
    DEGENERATE,
    Interval,
    benjamini_hochberg,
    cohens_d,
    crossed_difference,
    detectable_difference,
    holm,
    paired_difference,
    sign_flip,
)
from tasks.statistics.interval import t_below
from tasks.statistics.strata import Strata

CATEGORY_PROMPTS = 20  # below it a category is descriptive: at 5 prompts a sign-flip cannot go below p = 2/32
SEEDS_CROSSED = 3  # from so many training seeds on, seeds are crossed with prompts
SINGLE_RUN = "single run"  # family of the runs behind a difference that is crossed over seeds


@dataclass(frozen=True)
class Difference:
    """One difference treated − reference, and everything said of it.

    Units are those of the metric: shares for rates, points for scores. `n` counts prompts. `seed` is "all" where seeds were
    crossed with prompts, else the training seed of the one run. `p_adjusted` is filled within a family only.
    """

    contrast: Contrast
    ladder: str
    size: str
    params: int | None
    train_samples: int | None
    seed: int | str | None
    suite: str
    metric: str
    group: str
    kind: str
    treated: float
    reference: float
    value: float
    ci_low: float
    ci_high: float
    df: float | None
    method: str
    n: int
    sd: float
    minimal_detectable: float | None
    d: float | None
    d_low: float | None
    d_high: float | None
    p: float | None
    p_adjusted: float | None
    adjustment: str
    family: str
    note: str

    @property
    def shown(self) -> bool:
        """The adjusted test of a family rejects at 5 %."""
        return is_shown(self.p_adjusted)

    @property
    def of_category(self) -> bool:
        return self.group != "all" and not is_further(self.group)

    @property
    def own_seed(self) -> bool:
        return self.seed != ALL_SEEDS


def compare(sources: Sources, settings: Any) -> list[Difference]:
    """All differences, overall and by category, with tests adjusted within their families."""
    runs: dict[tuple[Any, ...], list[Pair]] = defaultdict(list)
    for pair in pairs(sources, settings.arms.contrasts):
        axes = pair.axes
        runs[pair.contrast, axes.ladder, axes.size, axes.train_samples, axes.suite, pair.metric].append(pair)
    rows = []
    for found in runs.values():
        rows += [row for pair in found for row in _by_group([pair], sources, settings)]
        if len(found) >= SEEDS_CROSSED:
            rows += _by_group(found, sources, settings)
    return _adjust(rows)


def outcome_family(metric: str, suite: str, settings: Any) -> str:
    """Which of the two families of overall tests a metric belongs to; "" for neither."""
    if (metric, suite) == (settings.primary_metric, settings.primary_suite):
        return "confirmatory"
    return "secondary" if metric in settings.secondary else ""


def _by_group(found: Sequence[Pair], sources: Sources, settings: Any) -> Iterable[Difference]:
    """The overall difference, one a category, and one a further group of prompts, within which the categories stay the strata. Several
    pairs are the training seeds of one comparison, crossed with prompts."""
    ids, treated, reference = _stack(found)
    if len(ids) < 2:
        return  # one prompt shows no spread between prompts: the arms' levels stand, a difference has no interval
    groups = [found[0].group_of()[i].group for i in ids]
    yield _difference(found, sources, settings, "all", treated, reference, groups, ids)
    names = sorted(set(groups))
    for name in names if len(names) > 1 else []:
        held = np.array([group == name for group in groups])
        if held.sum() > 1:
            kept = [i for i, keep in zip(ids, held, strict=True) if keep]
            yield _difference(found, sources, settings, name, treated[:, held], reference[:, held], [name] * len(kept), kept)
    further = sources.further.get(found[0].axes.suite or "", {})
    for name in sorted({name for i in ids for name in further.get(i, ())}):
        held = np.array([name in further.get(i, ()) for i in ids])
        if 1 < held.sum() < len(ids):
            kept, strata = ([one for one, keep in zip(all_of, held, strict=True) if keep] for all_of in (ids, groups))
            yield _difference(found, sources, settings, name, treated[:, held], reference[:, held], strata, kept)


def _stack(found: Sequence[Pair]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Prompt ids and both arms' values as [seeds, prompts]."""
    tables = [pair.values() for pair in found]
    ids = tables[0][0]
    for pair, table in zip(found, tables, strict=True):
        if table[0] != ids:
            odd = ", ".join(sorted(set(ids) ^ set(table[0])))
            raise ValueError(
                f"{pair.contrast}, {pair.metric}: prompts {odd} differ between {found[0].treated.label} and {pair.treated.label}; "
                "every seed of a comparison needs the same prompts"
            )
    return ids, np.stack([table[1] for table in tables]), np.stack([table[2] for table in tables])


def _difference(
    found: Sequence[Pair],
    sources: Sources,
    settings: Any,
    group: str,
    treated: np.ndarray,
    reference: np.ndarray,
    strata: list[str],
    ids: list[str],
) -> Difference:
    first, metric = found[0], found[0].metric
    axes = first.axes
    assert axes.ladder is not None
    assert axes.size is not None
    differences = treated - reference
    crossed = len(found) > 1
    interval = crossed_difference(differences, strata) if crossed else paired_difference(differences[0], strata)
    family = outcome_family(metric, axes.suite or "", settings)
    notes, p = [], None
    if group != "all" and (is_further(group) or len(ids) < CATEGORY_PROMPTS):
        notes.append(f"descriptive: {len(ids)} prompts")
    elif family:
        p = _p_of(interval) if crossed else sign_flip(differences[0], strata, draws=settings.resamples, seed=settings.seed)
    if interval.method.startswith(DEGENERATE):
        notes.append("no spread between prompts: an interval without width bounds nothing")
    design = Strata.of(strata, len(ids))
    sd = _within(differences.mean(axis=0), design)
    effect: Interval | None = None
    if not crossed:
        effect, why = _effect(first, ids, strata)
        notes += [why] if why else []
    where = f"{axes.ladder} {axes.suite} {metric}"
    return Difference(
        contrast=first.contrast,
        ladder=axes.ladder,
        size=axes.size,
        params=sources.params(axes.ladder, axes.size),
        train_samples=axes.train_samples,
        seed=ALL_SEEDS if crossed else axes.seed,
        suite=axes.suite or "",
        metric=metric,
        group=group,
        kind=first.group_of()[ids[0]].kind,
        treated=design.mean(treated.mean(axis=0)),
        reference=design.mean(reference.mean(axis=0)),
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        df=interval.df,
        method=interval.method,
        n=len(ids),
        sd=sd,
        minimal_detectable=_detectable(interval, 1) if not crossed else None,
        d=None if effect is None else effect.value,
        d_low=None if effect is None else effect.low,
        d_high=None if effect is None else effect.high,
        p=p,
        p_adjusted=None,
        adjustment="",
        family=_family(first, family, group, axes, where, tested=first.contrast in settings.tested),
        note="; ".join(notes),
    )


def _family(pair: Pair, family: str, group: str, axes: Axes, where: str, tested: bool) -> str:
    if not tested:
        return "exploratory"
    if is_further(group):
        return "exploratory"
    if group != "all":
        return f"category {axes.size} n{axes.train_samples} seed{axes.seed} {where} {pair.contrast}"
    if family == "confirmatory":
        return f"confirmatory {where}"
    if family == "secondary":
        return f"secondary {axes.ladder} {pair.metric}"
    return "exploratory"


def _adjust(rows: Sequence[Difference]) -> list[Difference]:
    """Holm over each overall family, Benjamini-Hochberg over the categories of one table.

    Where seeds were crossed, the crossed row speaks for its runs: the single runs stay unadjusted and outside the family.
    """
    crossed = {cell(row) for row in rows if not row.own_seed}
    rows = [replace(row, family=SINGLE_RUN) if row.own_seed and cell(row) in crossed else row for row in rows]
    members: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.p is not None and row.family.split()[0] in ("confirmatory", "secondary", "category"):
            members[row.family].append(index)
    for family, indices in members.items():
        by_category = family.startswith("category")
        adjusted = (benjamini_hochberg if by_category else holm)([p for i in indices if (p := rows[i].p) is not None])
        for i, p in zip(indices, adjusted, strict=True):
            rows[i] = replace(rows[i], p_adjusted=float(p), adjustment="Benjamini-Hochberg" if by_category else "Holm")
            if rows[i].own_seed:
                rows[i] = replace(rows[i], minimal_detectable=_detectable(rows[i], len(indices)))
    return rows


def one_run(rows: Sequence[Difference]) -> list[Difference]:
    """One row a comparison: seeds crossed with prompts where they were, else the first run."""
    chosen: dict[tuple[Any, ...], Difference] = {}
    for row in sorted(rows, key=lambda row: (row.own_seed, int(row.seed) if row.own_seed and row.seed is not None else -1)):
        chosen.setdefault(cell(row), row)
    return [row for row in rows if chosen[cell(row)] is row]


def speaking(contrasts: Sequence[Difference]) -> list[Difference]:
    """The overall rows that speak for a comparison: seeds crossed where they were, else each run's own."""
    return [row for row in contrasts if row.group == "all" and row.family != SINGLE_RUN]


class OfDatasetSize(Protocol):
    """What belongs to a ladder and a dataset size: a difference, a verdict."""

    @property
    def ladder(self) -> str: ...

    @property
    def train_samples(self) -> int | None: ...


Sized = TypeVar("Sized", bound=OfDatasetSize)


def largest(rows: Sequence[Sized]) -> list[Sized]:
    """Only the largest dataset size of each ladder, and what was tuned on nothing."""
    most: dict[str, int] = {}
    for row in rows:
        most[row.ladder] = max(most.get(row.ladder, 0), row.train_samples or 0)
    return [row for row in rows if row.train_samples in (None, most[row.ladder])]


def cell(row: Difference) -> tuple[Any, ...]:
    """Everything that names a comparison but the training seed."""
    return (row.contrast, row.ladder, row.size, row.train_samples, row.suite, row.metric, row.group)


def _effect(pair: Pair, ids: Sequence[str], strata: Sequence[str]) -> tuple[Interval | None, str]:
    """Cohen's d over completions and "", or None and why there is none."""
    treated, reference = pair.treated.completions(pair.metric), pair.reference.completions(pair.metric)
    if treated is None or reference is None:
        return None, ""
    try:
        return cohens_d([treated[i] for i in ids], [reference[i] for i in ids], strata), ""
    except ValueError as error:  # arms without spread: d is undefined, the difference is not
        return None, f"no d: {error}"


def _p_of(interval: Interval) -> float:
    """The two-sided p value of the t interval itself: where seeds are crossed, prompts' signs alone are not exchangeable."""
    half = (interval.high - interval.low) / 2
    if interval.method.startswith(DEGENERATE) or interval.df is None:
        return 1.0  # no error to judge by bounds nothing
    error = half / t_below(0.975, interval.df)
    return float(2 * scipy.stats.t.sf(abs(interval.value) / error, interval.df))


def _detectable(row: Interval | Difference, tests: int) -> float | None:
    """What the t interval's own error would find four times in five at 5 % over so many tests, Holm's first step; None without error."""
    low, high = (row.low, row.high) if isinstance(row, Interval) else (row.ci_low, row.ci_high)
    if row.df is None or high <= low:
        return None
    error = (high - low) / 2 / t_below(0.975, row.df)
    return detectable_difference(error, row.df, alpha=0.05 / tests)


def _within(values: np.ndarray, design: Strata) -> float:
    """Pooled standard deviation of prompts within strata."""
    squares = sum(float(((values[group] - values[group].mean()) ** 2).sum()) for group in design.groups)
    return float(np.sqrt(squares / design.df))
