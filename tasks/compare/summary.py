"""The small tables that a terminal has room for, read back from a committed comparison: one an outcome and ladder, one row an arm.

A row holds the arm's level and its differences from every arm that something is compared with, side by side: a difference from the
reference arm is never shown without the one from the control. Knows nothing of a console; who prints a table draws its cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.called import suite_words
from configs.contrasts import Contrast, is_shown
from tasks.contract import read_json, read_rows

OUTCOME, LEVELS, CONTRASTS = "outcome.json", "metrics.csv", "contrasts.csv"
ALPHA = "rating_alpha"  # how far raters agree: Krippendorff's, ordinal
LEGEND = "95 % intervals; points: percentage points; * shown by the adjusted test at 5 %"
ALL_SEEDS = "all"  # the seed of a difference over several
EXACT, PLANTED = "exact_", "planted_"  # what the metrics of a truth begin with
MISSING = "missing"  # a difference that was named before sampling, and for which an arm lacks its answers


@dataclass(frozen=True)
class Difference:
    """Treated − reference in the metric's own unit; `shown`: the adjusted test of its family rejects. Exploratory ones have no test."""

    value: float
    low: float
    high: float
    shown: bool


@dataclass(frozen=True)
class Row:
    """One arm at one size. `level` and `against` (by reference arm) are in the metric's own unit: shares for rates.

    `seed` is "all" where training seeds were crossed with prompts.
    """

    ladder: str
    size: str
    params: int | None
    arm: str
    train_samples: int | None
    seed: str | None
    level: float | None
    against: Mapping[str, Difference]


@dataclass(frozen=True)
class Table:
    """One outcome of one ladder; `headings` and the cells of `rows` correspond."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[tuple[str, ...], ...]


def read_outcome(folder: Path) -> dict[str, Any]:
    """What the table is of (suite, metric, secondary_suite, secondary_metric, reference, arms, contrasts; `called` and
    `suites`: metrics and suites in words), and the comparison's `finding` in a sentence."""
    return read_json(folder / OUTCOME)


def tables(folder: Path) -> list[Table]:
    """Of the primary outcome, then of the first secondary one; none of an outcome that no arm has."""
    outcome, levels, contrasts = read_outcome(folder), read_rows(folder / LEVELS), read_rows(folder / CONTRASTS)
    made = []
    for suite, metric, role in _outcomes(outcome):
        rows = _rows(suite, metric, outcome, levels, contrasts)
        rate = any(line["kind"] == "rate" for line in contrasts if line["metric"] == metric)
        named = f"{outcome['called'].get(metric, metric)} on {suite_words(suite)} ({role} outcome){', %' if rate else ''}"
        for ladder in dict.fromkeys(row.ladder for row in rows):
            held = [row for row in rows if row.ladder == ladder]
            made.append(_table(f"{ladder}: {named}", held, outcome, rate=rate))
    return made


def _outcomes(outcome: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Suite, metric and part of each outcome that has a table."""
    primary = (outcome["suite"], outcome["metric"])
    secondary = (outcome["secondary_suite"], outcome["secondary_metric"])
    yield (*primary, "primary")
    if None not in secondary and secondary != primary:
        yield (*secondary, "secondary")


def _rows(
    suite: str,
    metric: str,
    outcome: Mapping[str, Any],
    levels: Sequence[Mapping[str, str]],
    contrasts: Sequence[Mapping[str, str]],
) -> list[Row]:
    """One row a (ladder, size, arm, train_samples, seed) that has a level or a difference of this outcome."""
    found: dict[tuple[str, ...], tuple[Mapping[str, str], float]] = {}
    against: dict[tuple[str, ...], dict[str, Difference]] = {}
    of = (suite, metric, "all")
    for line in levels:
        if (line["suite"], line["metric"], line["group"]) == of and line["arm"] in outcome["arms"]:
            found[_where(line, line["arm"])] = (line, float(line["value"]))
    for line in contrasts:
        if (line["suite"], line["metric"], line["group"]) == of:
            contrast = Contrast.parse(line["contrast"])
            where = _where(line, contrast.treated)
            found.setdefault(where, (line, float(line["treated"])))  # seeds that were crossed have no level of their own
            against.setdefault(where, {})[contrast.reference] = _difference(line)
    rows = [_row(where, line, level, against.get(where, {})) for where, (line, level) in found.items()]
    arms = [outcome["reference"], *(arm for arm in outcome["arms"] if arm != outcome["reference"])]
    return sorted(rows, key=lambda row: _order(row, arms))


def _where(line: Mapping[str, str], arm: str) -> tuple[str, ...]:
    return (line["ladder"], line["size"], arm, line["train_samples"], line["seed"])


def _row(where: tuple[str, ...], line: Mapping[str, str], level: float, against: Mapping[str, Difference]) -> Row:
    ladder, size, arm, train_samples, seed = where
    return Row(ladder, size, _count(line["params"]), arm, _count(train_samples), seed or None, level, against)


def _count(text: str) -> int | None:
    return int(text) if text else None


def _difference(line: Mapping[str, str]) -> Difference:
    shown = is_shown(float(line["p_adjusted"]) if line["p_adjusted"] else None)
    return Difference(float(line["value"]), float(line["ci_low"]), float(line["ci_high"]), shown)


def _order(row: Row, arms: list[str]) -> tuple[Any, ...]:
    """Small sizes first, the reference arm before the others, the runs of an arm before all of them together."""
    seed = row.seed or ""
    place = (row.params or float("inf"), row.size, arms.index(row.arm), row.train_samples or 0)
    return (row.ladder, *place, seed == "all", int(seed) if seed.isdigit() else 0)


# ---- how it is spelled ------------------------------------------------------------------------------------------------------


def _table(title: str, rows: Sequence[Row], outcome: Mapping[str, Any], *, rate: bool) -> Table:
    """Axes with one value are left out; a size stands once, at the first of its rows."""
    named = [Contrast.parse(contrast) for contrast in outcome["contrasts"]]
    found = {name for row in rows for name in row.against} | {contrast.reference for contrast in named}
    references = sorted(found, key=[outcome["reference"], *outcome["arms"]].index)
    several = len({row.train_samples for row in rows} - {None}) > 1
    seeded = len({row.seed for row in rows} - {None}) > 1
    points = " (points)" if rate else ""
    headings = ["size", "arm", *(["seed"] if seeded else []), "level", *(f"from {name}{points}" for name in references)]
    cells, before = [], ""
    for row in rows:
        arm = f"{row.arm} n{row.train_samples}" if several and row.train_samples is not None else row.arm
        differences = (
            _spelled(row.against[name], rate=rate) if name in row.against else MISSING if Contrast(row.arm, name) in named else ""
            for name in references
        )
        level = "" if row.level is None else _number(row.level, _digits([row.level], rate=rate), rate=rate)
        cells.append(("" if row.size == before else row.size, arm, *([row.seed or ""] if seeded else []), level, *differences))
        before = row.size
    return Table(title, tuple(headings), tuple(rows), tuple(cells))


def _spelled(found: Difference, *, rate: bool) -> str:
    """`+50.7 [46.1, 55.3]*`"""
    digits = _digits([found.value, found.low, found.high], rate=rate)
    value, low, high = (_number(number, digits, rate=rate) for number in (found.value, found.low, found.high))
    return f"{'' if value.startswith('-') else '+'}{value} [{low}, {high}]{'*' if found.shown else ''}"


def _digits(values: Sequence[float], *, rate: bool) -> int:
    """Decimals of a number on the screen: one of a percentage, of anything else so many that three digits count, and at most three."""
    largest = max(map(abs, values))
    return 1 if rate else max(0, min(3, 2 - math.floor(math.log10(largest)))) if largest > 0 else 3


def _number(value: float, digits: int, *, rate: bool) -> str:
    """A rate in percent, anything else as it is; never `-0.0`."""
    rounded = round(100 * value if rate else value, digits)
    return f"{rounded + 0.0:.{digits}f}"
