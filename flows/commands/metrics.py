"""`palms metrics`: every number of a sweep, one a row, or those that are asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from configs.problems import BadInput, accepted
from flows.commands.words import Sweep, out, plain, show
from flows.engine.home import Home
from flows.results import COLUMNS, comparison, metric_rows, outcome_metrics, units
from tasks.contract import csv_text

OVERALL = "all"  # the group of all prompts
AXES = ("sweep", "ladder", "size", "train_samples", "seed", "arm", "suite", "group", "metric")


def metrics(
    sweep: Sweep = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="of these metrics alone; may be given several times")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", help="on these suites alone")] = None,
    arm: Annotated[
        list[str] | None, typer.Option("--arm", help="of these arms alone, or of contrasts: control, values_targeted-base")
    ] = None,
    size: Annotated[list[str] | None, typer.Option("--size", help="at these sizes alone: 355m, gpt2-355m")] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="of these groups of prompts alone: health; all: over all prompts")
    ] = None,
    output: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """The numbers of a sweep, one a row. As csv and json all of them, as a table the outcomes over all prompts, unless others are asked for.

    Columns: sweep, ladder, size, params, arm, seed, suite, group, metric, value, ci_low, ci_high, n, train_samples.
    Examples:  palms metrics --metric toxicity --suite human_eval   |   palms metrics --format csv > metrics.csv
    """
    name, folder = comparison(Home.named(), sweep)
    rows = metric_rows(name, folder)
    wanted = {"metric": metric, "suite": suite, "arm": arm, "size": size, "group": group}
    chosen = chosen_rows(rows, {column: values for column, values in wanted.items() if values})
    if output == "csv":
        sys.stdout.write(csv_text(chosen, COLUMNS))
    elif output == "json":
        sys.stdout.write(json.dumps(chosen, indent=1, ensure_ascii=False) + "\n")
    else:
        outcomes = None if any(wanted.values()) else outcome_metrics(folder)
        _print(default_rows(chosen, outcomes, grouped=bool(group)), units(folder), len(rows))


def default_rows(rows: Sequence[dict[str, Any]], metrics: Collection[str] | None, *, grouped: bool) -> list[dict[str, Any]]:
    """What a table shows of the rows that were asked for: those of these metrics (None: of all), and of groups only where one was named."""
    return [row for row in rows if (grouped or row["group"] == OVERALL) and (metrics is None or row["metric"] in metrics)]


def _print(rows: Sequence[Mapping[str, Any]], units: Mapping[str, str], total: int) -> None:
    same, made = table(rows, units)
    if same:
        out.print(", ".join(same), highlight=False, markup=False)
    show(out, made)
    ways = "--metric, --suite, --arm, --size, --group choose others; --format csv has all"
    out.print(f"{len(rows):,} of {total:,} rows; {ways}", highlight=False, style="dim")


def chosen_rows(rows: Sequence[dict[str, Any]], wanted: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    """The rows that have one of the wanted names in each of these columns.

    Raises:
        BadInput: a name that no row has, or names that no row has together.
    """
    problems = []
    for column, names in wanted.items():
        known = list(dict.fromkeys(name for row in rows for name in _names(row, column)))
        problems += [f"--{column} {name}: the sweep has none; {accepted(name, known)}" for name in names if name not in known]
    if problems:
        raise BadInput(*problems)
    found = [row for row in rows if all(not names.isdisjoint(_names(row, column)) for column, names in _sets(wanted))]
    if not found:
        asked = " ".join(f"--{column} {name}" for column, names in wanted.items() for name in names)
        raise BadInput(f"{asked}: no row is of all of these; each alone has some")
    return found


def _sets(wanted: Mapping[str, Collection[str]]) -> Iterator[tuple[str, set[str]]]:
    return ((column, set(names)) for column, names in wanted.items())


def _names(row: Mapping[str, Any], column: str) -> list[str]:
    """What a row may be asked for by; a size also with its ladder."""
    value = row[column]
    if value is None:
        return []
    return [value, f"{row['ladder']}-{value}"] if column == "size" else [value]


def table(rows: Sequence[Mapping[str, Any]], units: Mapping[str, str]) -> tuple[list[str], Table]:
    """What is the same on all rows, in words; and a table of what tells them apart, each number with its interval and unit.

    Shares are shown in percent, their differences in points.
    """
    found = {axis: list(dict.fromkeys(row[axis] for row in rows if row[axis] is not None)) for axis in AXES}
    varied = [axis for axis in AXES if len(found[axis]) > 1]
    same = [f"{axis} {found[axis][0]}" for axis in AXES if len(found[axis]) == 1]
    made = plain(*varied, "value", "unit", "95 % interval", "n")
    for row in rows:
        unit = units.get(row["metric"], "")
        values = [_told(row[name], share=unit == "%") for name in ("value", "ci_low", "ci_high")]
        interval = f"[{values[1]}, {values[2]}]" if values[1] else ""
        axes = ["" if row[axis] is None else str(row[axis]) for axis in varied]
        shown = "points" if unit == "%" and "-" in (row["arm"] or "") else unit
        made.add_row(*map(escape, axes), values[0], shown, escape(interval), "" if row["n"] is None else str(row["n"]))
    return same, made


def _told(value: float | None, *, share: bool) -> str:
    """Three digits, or a whole number as it is."""
    if value is None:
        return ""
    return (
        f"{100 * value:.1f}" if share else f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"
    )
