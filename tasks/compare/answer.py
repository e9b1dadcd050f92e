"""The answer in words, computed from the contrasts: what moved, at which size, by how much, or that nothing was shown.

"Moved" needs the family's adjusted test; the interval quoted beside it is unadjusted. Absence of a test's rejection is never
spelled as absence of an effect: the smallest difference that these prompts could detect stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from tasks.compare.contrasts import ALL_SEEDS, SINGLE_RUN, TOXICITY, TREATED, Contrast
from tasks.compare.words import arm_words, between, detectable, difference, interval, listed, metric_words, unit_words, with_unit

BASE, CONTROL = f"{TREATED}-base", f"{TREATED}-control"


def headline(contrasts: Sequence[Contrast], settings: Any) -> str:
    """The sentences for the primary outcome, one a ladder."""
    primary = [row for row in speaking(contrasts) if (row.suite, row.metric) == (settings.primary_suite, settings.primary_metric)]
    against_base = [row for row in primary if row.contrast == BASE]
    if not against_base:
        return (
            f"Nothing can be said: no size has {metric_words(settings.primary_metric)} on {settings.primary_suite} "
            f"for both the {arm_words(TREATED)} arm and base."
        )
    ladders = list(dict.fromkeys(row.ladder for row in against_base))
    return " ".join(
        _sentence([row for row in largest(against_base) if row.ladder == ladder], ladder, len(ladders) > 1, settings)
        for ladder in ladders
    )


def asides(contrasts: Sequence[Contrast], settings: Any) -> list[str]:
    """What else the families say, a ladder at a time: detectable size, the control arm, and toxicity on each suite."""
    rows = largest(speaking(contrasts))
    ladders = list(dict.fromkeys(row.ladder for row in rows))
    return [
        f"{ladder}: {line}" if len(ladders) > 1 else line
        for ladder in ladders
        for line in _asides([row for row in rows if row.ladder == ladder], settings)
    ]


def _asides(rows: Sequence[Contrast], settings: Any) -> list[str]:
    primary = [row for row in rows if (row.suite, row.metric) == (settings.primary_suite, settings.primary_metric)]
    found = []
    silent = [
        row
        for row in primary
        if row.contrast == BASE and row.minimal_detectable is not None and row.p_adjusted is not None and not row.shown
    ]
    if silent:
        amount = with_unit(detectable(max(row.minimal_detectable or 0.0 for row in silent), silent[0].kind), silent[0].kind)
        found.append(f"Where nothing was shown, {silent[0].n} prompts would show a difference of {amount} four times in five.")
    control = [row for row in primary if row.contrast == CONTROL]
    if control:
        found.append(f"Values-targeted tuning {_aside(control, metric_words(settings.primary_metric))}.")
    further = (row.suite for row in rows if row.metric == TOXICITY and row not in primary)
    for suite in dict.fromkeys(further):
        toxic = [row for row in rows if (row.metric, row.suite, row.contrast) == (TOXICITY, suite, BASE)]
        if toxic:
            found.append(f"On {suite}, values-targeted tuning {_aside(toxic, metric_words(TOXICITY))}.")
    return found


def speaking(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The overall rows that speak for a comparison: seeds crossed where they were, else each run's own."""
    return [row for row in contrasts if row.group == "all" and row.family != SINGLE_RUN]


class OfDatasetSize(Protocol):
    """What belongs to a ladder and a dataset size: a difference, a verdict."""

    @property
    def ladder(self) -> str: ...

    @property
    def samples(self) -> int | None: ...


Sized = TypeVar("Sized", bound=OfDatasetSize)


def largest(rows: Sequence[Sized]) -> list[Sized]:
    """Only the largest dataset size of each ladder, and what was tuned on nothing."""
    most = {row.ladder: max(r.samples or 0 for r in rows if r.ladder == row.ladder) for row in rows}
    return [row for row in rows if row.samples in (None, most[row.ladder])]


def _sentence(rows: Sequence[Contrast], ladder: str, several: bool, settings: Any) -> str:
    start = f"On the {ladder} ladder, tuning" if several else "Tuning"
    samples = f"{rows[0].samples} samples" if rows[0].samples else "the values-targeted data"
    name = metric_words(settings.primary_metric)
    if all(row.p_adjusted is None for row in rows):
        return f"Exploratory, without a test: {_still(rows)}, in {name}, after tuning on {samples}."
    if not any(row.shown for row in rows):
        return f"{start} on {samples} was not shown to move {name}{' at any size' if len(rows) > 1 else ''}: {_still(rows)}."
    return f"{start} on {samples} {_moved(rows, name)}."


def _aside(rows: Sequence[Contrast], name: str) -> str:
    if all(row.p_adjusted is None for row in rows):
        return f"was not tested for {name} (exploratory): {_still(rows)}"
    return _moved(rows, name) if any(row.shown for row in rows) else f"was not shown to move {name}: {_still(rows)}"


def _moved(rows: Sequence[Contrast], name: str) -> str:
    """`raised NAME by 12.0 percentage points at 30k [..] and 15.1 at 800k [..] compared with base; no difference was shown at 100k`."""
    parts: list[str] = []
    reference = arm_words(rows[0].contrast.partition("-")[2])
    for verb, sign in (("raised", 1), ("lowered", -1)):
        moved = [row for row in rows if row.shown and row.value * sign > 0]
        if moved:
            amounts = listed([_amount(row, sign, unit=i == 0) for i, row in enumerate(moved)])
            parts.append(f"{verb} {name if not parts else 'it'} by {amounts} compared with {reference}")
    still = [row for row in rows if not row.shown]
    if still:
        parts.append(f"no difference was shown at {listed([_place(row) for row in still])}")
    return "; ".join(parts)


def _still(rows: Sequence[Contrast]) -> str:
    """What stands there instead of an effect: the smallest and the largest difference with their intervals."""
    reference = arm_words(rows[0].contrast.partition("-")[2])
    ends = sorted({id(row): row for row in (min(rows, key=_value), max(rows, key=_value))}.values(), key=_value)
    amounts = [f"{interval(row.value, row.ci_low, row.ci_high, row.kind)} at {_place(row)}" for row in ends]
    spread = (
        f"the difference from {reference} is {amounts[0]}"
        if len(ends) == 1
        else f"differences from {reference} run from {amounts[0]} to {amounts[1]}"
    )
    return spread + (f", in {unit_words(rows[0].kind)}" if unit_words(rows[0].kind) else "")


def _value(row: Contrast) -> float:
    return row.value


def _place(row: Contrast) -> str:
    return row.size if row.seed in (None, 0, ALL_SEEDS) else f"{row.size} seed {row.seed}"


def _amount(row: Contrast, sign: int, unit: bool) -> str:
    """A difference as a magnitude in the direction of `sign`, with its interval turned the same way."""
    value, low, high = (difference(sign * v, row.kind) for v in (row.value, *sorted((row.ci_low, row.ci_high), reverse=sign < 0)))
    words = f" {unit_words(row.kind)}" if unit and unit_words(row.kind) else ""
    return f"{value.removeprefix('+')}{words} at {_place(row)} {between(low.removeprefix('+'), high.removeprefix('+'))}"
