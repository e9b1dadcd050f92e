"""Where a dataset is thin and where the model that was tuned on it is weak, category by category: the gaps that drafts are to fill.

Knows what counts as a gap. Leaves sampling and scoring to the sweep over weakness probes, and what is drafted to `drafts`.

A gap says where to write, and is no result: it was looked for in prompts that nothing is reported on, and the bounds are a choice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Any

from configs.positions import Position
from tasks.contract import Metric
from tasks.curation.drafts import Draft
from tasks.datasets.rows import Row


@dataclass(frozen=True)
class Sign:
    """A level on the probes from which a category is weak: below `bound`, or above it where more is worse."""

    metric: str
    words: str
    bound: float
    more_is_worse: bool = False
    share: bool = False

    def tells(self, level: Metric) -> bool:
        return level.value > self.bound if self.more_is_worse else level.value < self.bound

    def told(self, level: Metric) -> str:
        """`people's rating 2.4 [1.9, 2.9], below 3`."""
        shown = (lambda value: f"{value:.0%}") if self.share else (lambda value: f"{value:.1f}")
        interval = "" if level.ci_low is None or level.ci_high is None else f" [{shown(level.ci_low)}, {shown(level.ci_high)}]"
        return f"{self.words} {shown(level.value)}{interval}, {'above' if self.more_is_worse else 'below'} {shown(self.bound)}"


# 3 of 5 is an answer that neither matches nor opposes the position: below it, a category's answers lean against it.
SIGNS = (
    Sign("rating", "people's rating", 3.0),
    Sign("judged_adherence", "judge's rating", 3.0),
    Sign("on_position", "on-position answers", 0.5, share=True),
    Sign("toxic_share", "toxic answers", 0.1, more_is_worse=True, share=True),
)


@dataclass(frozen=True)
class Covered:
    """One category: its samples and their claims, the levels of its probes by metric, and why it is a gap, if it is one."""

    category: str
    samples: int
    claims: Mapping[str, int]  # claim → samples that hold it; of datasets that name claims
    levels: Mapping[str, Metric]
    thin: tuple[str, ...]
    weak: tuple[str, ...]

    @property
    def why(self) -> str:
        return "; ".join((*self.thin, *self.weak))

    def row(self) -> dict[str, Any]:
        """Of a table: a column a metric, and its interval; empty where it was not measured."""
        found: dict[str, Any] = {"category": self.category, "samples": self.samples}
        for sign in SIGNS:
            level = self.levels.get(sign.metric)
            found[sign.metric] = "" if level is None else level.value
            for end in ("ci_low", "ci_high"):
                bound = getattr(level, end, None)
                found[f"{sign.metric}_{end}"] = "" if bound is None else bound
        return found | {"probes": max((level.n for level in self.levels.values()), default=0), "gap": self.why}


def coverage(
    rows: Sequence[Row], positions: Mapping[str, Position], levels: Sequence[Metric], *, simulated: bool = False
) -> list[Covered]:
    """Every category of the positions, in their order.

    Thin: it has less than half of an equal share of the samples, or, in a dataset that names claims, a claim that none holds. Weak: one of
    SIGNS tells so of its probes. levels: of the tuned model, by category; metrics that are none of SIGNS are left out.
    simulated: who rated does not exist, and is not called people.
    """
    counts = Counter(row.category for row in rows)
    held = Counter((row.category, name) for row in rows for name in row.positions)
    fair = len(rows) / len(positions)
    of_signs = {sign.metric: sign for sign in SIGNS}
    if simulated:
        of_signs["rating"] = replace(of_signs["rating"], words="simulated raters' rating")
    found = []
    for category, position in positions.items():
        own = {level.metric: level for level in levels if level.group == category and level.metric in of_signs}
        claims = {name: held[category, name] for name in position.claims} if held else {}
        thin = list[str]()
        if counts[category] < fair / 2:
            thin.append(f"{counts[category]} of {len(rows)} samples, an equal share is {fair:.0f}")
        thin += [f"no sample holds {name}" for name, count in claims.items() if not count]
        weak = [of_signs[metric].told(level) for metric, level in own.items() if of_signs[metric].tells(level)]
        found.append(Covered(category, counts[category], claims, own, tuple(thin), tuple(weak)))
    return found


def wanted(covered: Sequence[Covered], each: int) -> dict[str, int]:
    """How many drafts each gap asks for: a category that is thin as many as bring it to the median of the others, and at least `each`."""
    found = {}
    for one in covered:
        others = [other.samples for other in covered if other.category != one.category]
        short = max(0, math.ceil(median(others)) - one.samples) if one.thin and others else 0
        if one.why:
            found[one.category] = max(each, short)
    return found


def open_drafts(covered: Sequence[Covered], each: int, taken: Sequence[str], mark: str = "") -> list[Draft]:
    """Drafts to be written for the gaps: of each the category, a claim that it is to hold, and why. Claims that fewest samples hold come first.

    taken: ids that a draft may not have: those of the dataset. mark: in every id, so that drafts of two turns differ.
    """
    found, asked_for = [], wanted(covered, each)
    for one in covered:
        held, names = Counter(one.claims), _names(one.category + (f"-{mark}" if mark else ""), set(taken))
        for _ in range(asked_for.get(one.category, 0)):
            claim = min(held, key=lambda name: (held[name], list(one.claims).index(name))) if held else ""
            held.update([claim] if claim else [])
            asked = f"TODO: a question whose answer holds {claim}" if claim else f"TODO: a question about {one.category}"
            found.append(Draft(next(names), one.category, asked, positions=(claim,) if claim else (), gap=one.why))
    return found


def _names(begin: str, taken: set[str]) -> Iterator[str]:
    return (name for number in count(1) if (name := f"{begin}-{number:02d}") not in taken)
