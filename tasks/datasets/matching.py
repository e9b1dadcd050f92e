"""Whether two datasets are written alike: a standardised difference with its interval on every measure of style.

A p value plays no part: one that is not significant is no match (METHOD: within ±0.25 of a standard deviation is). Where the second
dataset names the samples that it was written beside, pairs are compared; else two independent groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.problems import BadInput
from tasks.datasets.language import load_language
from tasks.datasets.rows import Row
from tasks.datasets.style import Measure, measure, words
from tasks.statistics import DEGENERATE, Interval, cohens_d, independent_d

WITHIN = 0.25  # standard deviations: what counts as matched


@dataclass(frozen=True)
class Match:
    """One measure of both datasets. `effect` is d of the first minus the second; None where it is undefined, and `note` says why."""

    measure: Measure
    first: tuple[float, ...]
    second: tuple[float, ...]
    effect: float | None
    interval: Interval | None
    note: str = ""

    @property
    def matched(self) -> bool:
        return self.effect is not None and abs(self.effect) <= WITHIN

    @property
    def surely(self) -> bool:
        """Whether the whole interval lies within the bounds too."""
        held = self.interval
        return self.matched and (held is None or max(abs(held.low), abs(held.high)) <= WITHIN)

    @property
    def verdict(self) -> str:
        return "matched" if self.surely else "matched, interval wider" if self.matched else "apart"

    @property
    def means(self) -> tuple[float, float]:
        return float(np.mean(self.first)), float(np.mean(self.second))


@dataclass(frozen=True)
class Matching:
    """All measures of two datasets; `pairs` is how many samples were compared side by side, None for independent groups."""

    matches: tuple[Match, ...]
    samples: tuple[int, int]
    pairs: int | None

    @property
    def apart(self) -> list[Match]:
        return [match for match in self.matches if not match.matched]


def compare(first: Sequence[Row], second: Sequence[Row]) -> Matching:
    """Raises BadInput for datasets in two languages, with fewer than three samples, or with a text without a word."""
    languages = sorted({row.language for row in (*first, *second)})
    if len(languages) > 1:
        raise BadInput(f"the datasets are in {' and '.join(languages)}; two of one language can be compared")
    for which, rows in (("first", first), ("second", second)):
        if len(rows) < 3:
            raise BadInput(f"the {which} dataset has {len(rows)} samples; three of each are needed to compare")
        if bare := next((row for row in rows if not (words(row.prompt) and words(row.completion))), None):
            raise BadInput(f"line {bare.line} of the {which} dataset has a text without a word; nothing can be measured there")
    language = load_language(languages[0])
    pairs = paired(first, second)
    if pairs:
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
    left, right = measure(first, language), measure(second, language)
    matches = tuple(match(one, left[one], right[one], bool(pairs)) for one in left)
    return Matching(matches, (len(first), len(second)), len(pairs) if pairs else None)


def paired(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[Row, Row]] | None:
    """The samples side by side, or None where neither dataset names partners.

    Raises BadInput when one names a sample that the other does not hold, names one twice, or leaves a sample without.
    """
    if not any(row.matches for row in second):
        turned = paired(second, first) if any(row.matches for row in first) else None
        return [(a, b) for b, a in turned] if turned else None
    if lone := [row for row in second if not row.matches]:
        raise BadInput(
            f"line {lone[0].line}: names no partner (`matches`), as {len(lone)} of {len(second)} samples do not; all or none"
        )
    named = list(second)
    known = {row.id: row for row in first}
    taken: dict[str, int] = {}
    for row in named:
        if row.matches not in known:
            raise BadInput(f'line {row.line}: matches "{row.matches}", which the other dataset does not hold')
        if row.matches in taken:
            raise BadInput(f'line {row.line}: matches "{row.matches}" as line {taken[row.matches]} does; one partner each')
        taken[row.matches] = row.line
    return [(known[row.matches], row) for row in named]


def match(one: Measure, first: Sequence[float], second: Sequence[float], in_pairs: bool) -> Match:
    a, b = tuple(first), tuple(second)
    if len({*a, *b}) == 1:
        return Match(one, a, b, 0.0, None, "all samples equal")
    if len(set(a)) == len(set(b)) == 1:
        return Match(one, a, b, None, None, "no spread in either dataset: d is undefined")
    try:
        interval = cohens_d([[x] for x in a], [[y] for y in b], ["all"] * len(a)) if in_pairs else independent_d(a, b)
    except ValueError:  # one sample alone differs from all others: leaving it out leaves no spread
        spread = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
        return Match(one, a, b, float((np.mean(a) - np.mean(b)) / spread), None, "too few samples differ for an interval")
    if interval.method.startswith(DEGENERATE):
        return Match(one, a, b, interval.value, None, "every pair equal")
    return Match(one, a, b, interval.value, interval)
