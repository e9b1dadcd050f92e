"""The answer in words, computed from the contrasts: what moved, at which size, by how much, or that nothing was shown.

"Moved" needs the family's adjusted test; the interval quoted beside it is unadjusted. Absence of a test's rejection is never
spelled as absence of an effect: the smallest difference that these prompts could detect stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import ALL_SEEDS, Difference, largest, speaking
from tasks.compare.report.wording import (
    arm_words,
    between,
    detectable,
    difference,
    interval,
    listed,
    unit_words,
    with_unit,
)


def headline(found: Comparison) -> str:
    """The sentences for the primary outcome, one a ladder and treated arm."""
    arms, (suite, metric) = found.sources.arms, found.outcome
    if not arms.leading:
        return "Nothing is compared: the experiment names no contrast."
    primary = [row for row in speaking(found.differences) if (row.suite, row.metric) == (suite, metric)]
    rows = largest([row for row in primary if row.contrast in arms.leading])
    if not rows:
        return (
            f"Nothing can be said: no size has {found.sources.words(metric)} on {suite} "
            f"for both the {arm_words(arms.leading[0].treated)} arm and {arm_words(arms.leading[0].reference)}."
        )
    ladders = list(dict.fromkeys(row.ladder for row in rows))
    told = [[row for row in rows if (row.ladder, row.contrast) == (ladder, lead)] for ladder in ladders for lead in arms.leading]
    return " ".join(_sentence(held, len(ladders) > 1, found) for held in told if held)


def asides(found: Comparison) -> list[str]:
    """What else the families say, a ladder at a time: detectable size, the other contrasts, and the secondary outcome on each suite."""
    rows = largest(speaking(found.differences))
    ladders = list(dict.fromkeys(row.ladder for row in rows))
    return [
        f"{ladder}: {line}" if len(ladders) > 1 else line
        for ladder in ladders
        for line in _asides([row for row in rows if row.ladder == ladder], found)
    ]


def _asides(rows: Sequence[Difference], found: Comparison) -> list[str]:
    arms, name = found.sources.arms, found.sources.words(found.outcome[1])
    primary = [row for row in rows if (row.suite, row.metric) == found.outcome]
    said = []
    silent = [
        row
        for row in primary
        if row.contrast in arms.leading and row.minimal_detectable is not None and row.p_adjusted is not None and not row.shown
    ]
    if silent:
        amount = with_unit(detectable(max(row.minimal_detectable or 0.0 for row in silent), silent[0].kind), silent[0].kind)
        said.append(f"Where nothing was shown, {silent[0].n} prompts would show a difference of {amount} four times in five.")
    others = ([row for row in primary if row.contrast == one] for one in arms.confirmatory if one not in arms.leading)
    said += [f"{_capital(_subject(beside[0]))} {_aside(beside, name)}." for beside in others if beside]
    further = ((row.suite, row.metric) for row in rows if row.metric in found.settings.secondary and row not in primary)
    for suite, metric in dict.fromkeys(further):
        told = ([row for row in rows if (row.suite, row.metric, row.contrast) == (suite, metric, one)] for one in arms.leading)
        said += [f"On {suite}, {_subject(held[0])} {_aside(held, found.sources.words(metric))}." for held in told if held]
    return said


def _sentence(rows: Sequence[Difference], several: bool, found: Comparison) -> str:
    """`several`: over more than one ladder, so that each sentence names its own."""
    first, name = rows[0], found.sources.words(found.outcome[1])
    after = f" on {first.train_samples} samples" if first.train_samples else ""  # an arm that is not tuned may be compared too
    subject = _subject(first) if len(found.sources.arms.treated) > 1 or not after else "tuning"
    start = _capital(f"on the {first.ladder} ladder, {subject}" if several else subject) + after
    if all(row.p_adjusted is None for row in rows):
        return f"Exploratory, without a test: {_still(rows)}, in {name}" + (f", after {subject}{after}." if after else ".")
    if not any(row.shown for row in rows):
        return f"{start} was not shown to move {name}{' at any size' if len(rows) > 1 else ''}: {_still(rows)}."
    return f"{start} {_moved(rows, name)}."


def _subject(row: Difference) -> str:
    """What moved an outcome, or did not: an arm's tuning, or an arm that is not tuned."""
    return arm_words(row.contrast.treated) + (" tuning" if row.train_samples else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _aside(rows: Sequence[Difference], name: str) -> str:
    if all(row.p_adjusted is None for row in rows):
        return f"was not tested for {name} (exploratory): {_still(rows)}"
    return _moved(rows, name) if any(row.shown for row in rows) else f"was not shown to move {name}: {_still(rows)}"


def _moved(rows: Sequence[Difference], name: str) -> str:
    """`raised NAME by 12.0 percentage points at 30k [..] and 15.1 at 800k [..] compared with base; no difference was shown at 100k`."""
    parts: list[str] = []
    reference = arm_words(rows[0].contrast.reference)
    for verb, sign in (("raised", 1), ("lowered", -1)):
        moved = [row for row in rows if row.shown and row.value * sign > 0]
        if moved:
            amounts = listed([_amount(row, sign, unit=i == 0) for i, row in enumerate(moved)])
            parts.append(f"{verb} {name if not parts else 'it'} by {amounts} compared with {reference}")
    still = [row for row in rows if not row.shown]
    if still:
        parts.append(f"no difference was shown at {listed([_place(row) for row in still])}")
    return "; ".join(parts)


def _still(rows: Sequence[Difference]) -> str:
    """What stands there instead of an effect: the smallest and the largest difference with their intervals."""
    reference = arm_words(rows[0].contrast.reference)
    ends = sorted({id(row): row for row in (min(rows, key=_value), max(rows, key=_value))}.values(), key=_value)
    amounts = [f"{interval(row.value, row.ci_low, row.ci_high, row.kind)} at {_place(row)}" for row in ends]
    spread = (
        f"the difference from {reference} is {amounts[0]}"
        if len(ends) == 1
        else f"differences from {reference} run from {amounts[0]} to {amounts[1]}"
    )
    return spread + (f", in {unit_words(rows[0].kind)}" if unit_words(rows[0].kind) else "")


def _value(row: Difference) -> float:
    return row.value


def _place(row: Difference) -> str:
    return row.size if row.seed in (None, 0, ALL_SEEDS) else f"{row.size} seed {row.seed}"


def _amount(row: Difference, sign: int, unit: bool) -> str:
    """A difference as a magnitude in the direction of `sign`, with its interval turned the same way."""
    value, low, high = (difference(sign * v, row.kind) for v in (row.value, *sorted((row.ci_low, row.ci_high), reverse=sign < 0)))
    words = f" {unit_words(row.kind)}" if unit and unit_words(row.kind) else ""
    return f"{value.removeprefix('+')}{words} at {_place(row)} {between(low.removeprefix('+'), high.removeprefix('+'))}"
