"""Do larger models need fewer samples? How many samples each size needs for one and the same effect.

The effect asked for is one that every size shows at its largest dataset: half of the smallest of these differences from the reference arm. Where a
size's differences first reach it, between two nested dataset sizes, the number of samples is read off a straight line over their
logarithm. The differences themselves, with their intervals, are the evidence; this reads them the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from configs.contrasts import Contrast
from tasks.compare.contrasts import Difference, one_run, speaking
from tasks.compare.trends import SIZES_FOR_SLOPE
from tasks.compare.upstream import Sources
from tasks.statistics import rises_with_size, size_slope

SHARE = 0.5  # of the smallest of the sizes' differences at the largest dataset


@dataclass(frozen=True)
class Need:
    """Samples that one size needs for the effect; `bound` is "≤" where its smallest dataset has it already."""

    size: str
    train_samples: float
    bound: str = ""


@dataclass(frozen=True)
class Needs:
    """What every size of a ladder needs for a difference of `effect` from the reference arm, in the unit of the metric."""

    ladder: str
    contrast: Contrast
    metric: str
    kind: str
    effect: float
    sizes: tuple[Need, ...]
    falls: bool | None  # fewer with size, by least squares over sizes on log samples; None: no claim either way
    why: str  # there is no claim

    @property
    def verdict(self) -> str:
        if self.falls is None:
            return f"no claim on larger models ({self.why})"
        return "larger models need fewer samples" if self.falls else "larger models were not shown to need fewer samples"


def by_dataset_size(
    sources: Sources, contrasts: Sequence[Difference], suite: str, metric: str
) -> dict[tuple[str, Contrast], list[Difference]]:
    """(ladder, contrast with the reference arm) → the overall differences of its sizes and dataset sizes, where there are several."""
    rows = [
        row
        for row in speaking(contrasts)
        if (row.suite, row.metric) == (suite, metric) and row.contrast.reference == sources.arms.reference
    ]
    held = [row for row in one_run(rows) if row.train_samples]
    curves = {place: [row for row in held if (row.ladder, row.contrast) == place] for place in dict.fromkeys(map(_place, held))}
    return {place: found for place, found in curves.items() if len({row.train_samples for row in found}) > 1}


def _place(row: Difference) -> tuple[str, Contrast]:
    return row.ladder, row.contrast


def needs(sources: Sources, contrasts: Sequence[Difference], suite: str, metric: str) -> list[Needs]:
    """One answer a ladder and contrast with the reference arm where every size was tuned on at least two dataset sizes and moved at all."""
    found = []
    for (ladder, contrast), rows in by_dataset_size(sources, contrasts, suite, metric).items():
        held = sorted(rows, key=lambda row: row.train_samples or 0)
        every = {size: [row for row in held if row.size == size] for size in sources.sizes[ladder]}
        ordered = {size: curve for size, curve in every.items() if curve}
        ends = [curve[-1].value for curve in ordered.values()]
        seen = all(curve[-1].ci_low * curve[-1].ci_high > 0 for curve in ordered.values())
        if min(map(len, ordered.values())) < 2 or not seen or min(ends) * max(ends) <= 0:
            continue  # one dataset size, a size that did not move, or sizes that moved apart: there is no common effect
        effect = SHARE * min(ends, key=abs)
        found.append(_needs(sources, ladder, contrast, ordered, effect))
    return found


def _needs(
    sources: Sources, ladder: str, contrast: Contrast, ordered: Mapping[str, Sequence[Difference]], effect: float
) -> Needs:
    sizes = tuple(_reach(size, rows, effect) for size, rows in ordered.items())
    params = [sources.params(ladder, need.size) for need in sizes]
    falls, why = None, f"from {len(sizes)} sizes"
    if any(need.bound for need in sizes):
        why = "some reach it with their fewest samples"
    elif not all(params):
        why = "the parameters of a size are not known"
    elif len(sizes) >= SIZES_FOR_SLOPE:
        slope = size_slope([-math.log10(need.train_samples) for need in sizes], np.log10([count or 1 for count in params]))
        falls = rises_with_size(slope, len(sizes))
    first = next(iter(ordered.values()))[0]
    return Needs(ladder, contrast, first.metric, first.kind, effect, sizes, falls, why)


def _reach(size: str, rows: Sequence[Difference], effect: float) -> Need:
    """Where a size's differences first reach the effect; they do so at the largest dataset at the latest."""
    sign = math.copysign(1.0, effect)
    values = [sign * row.value for row in rows]
    goal = abs(effect)
    first = next(i for i, value in enumerate(values) if value >= goal)
    if first == 0:
        return Need(size, float(rows[0].train_samples or 0), "≤")
    low, high = math.log10(rows[first - 1].train_samples or 1), math.log10(rows[first].train_samples or 1)
    share = (goal - values[first - 1]) / (values[first] - values[first - 1])
    return Need(size, 10 ** (low + share * (high - low)))
