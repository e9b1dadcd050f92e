"""`palms metrics`: every number of a sweep, one a row."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from flows.commands.words import Sweep, out, plain, show
from flows.engine.home import Home
from flows.results import COLUMNS, metric_rows
from tasks.compare.summary import shown
from tasks.contract import csv_text


def metrics(
    sweep: Sweep = None,
    output: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="table, csv or json")] = "table",
) -> None:
    """Every number of a sweep, one a row: sweep, ladder, size, params, arm, seed, suite, group, metric, value, ci_low, ci_high, n, samples.

    Example:  palms metrics --format csv > metrics.csv
    """
    rows = metric_rows(Home.named(), sweep)
    if output == "csv":
        sys.stdout.write(csv_text(rows, COLUMNS))
    elif output == "json":
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    else:
        show(out, _table(rows))


def _table(rows: Sequence[dict[str, Any]]) -> Table:

    table = plain(*COLUMNS[1:-1])
    for row in rows:
        table.add_row(*(shown(row[column]) for column in COLUMNS[1:-1]))
    return table
