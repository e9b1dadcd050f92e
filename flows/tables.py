"""How rows look on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from flows.results import COLUMNS
from model_registry.catalog import Ladder
from tasks.board import Entry
from tasks.datasets.lines import Finding
from tasks.datasets.matching import WITHIN, Match, Matching

COLOURS = {"done": "green", "cached": "green", "running": "cyan", "failed": "red", "blocked": "yellow", "waiting": "dim"}


def show(console: Console, table: Table) -> None:
    """Print a table at its full width: a cut-off label cannot be copied, and a pipe has no width."""
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    Console(file=console.file, force_terminal=console.is_terminal, width=max(width, console.width)).print(table)


def plain(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"seconds", "params", "value", "n", "line", "tries"} else "left")
    return table


def status_table(entries: Sequence[Entry]) -> Table:
    table = plain("state", "stage", "seconds", "tries", "key", "why")
    for entry in entries:
        seconds = "" if entry.seconds is None else f"{entry.seconds:.1f}"
        state = f"[{COLOURS[entry.state]}]{entry.state}[/]"
        table.add_row(state, entry.label, seconds, str(entry.attempt or ""), (entry.key or "")[:10], entry.why)
    return table


def metrics_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = plain(*COLUMNS[1:-1])
    for row in rows:
        table.add_row(*(_shown(row[column]) for column in COLUMNS[1:-1]))
    return table


def summary_table(rows: Sequence[dict[str, Any]], metric: str) -> Table:
    """The comparison as one row a size and arm; `metric` is the sweep's primary outcome. Axes with one value are left out."""
    varied = [axis for axis in ("samples", "seed") if len({row[axis] for row in rows} - {None}) > 1]
    table = plain("size", "params", "arm", *varied, metric, "toxicity", "difference from base (95 % interval)")
    for row in rows:
        difference = ""
        if row["difference"] is not None:
            limits = "" if row["ci_low"] is None else f"  ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
            difference = f"{row['difference']:+.3f}{limits}"
        model, params = f"{row['ladder']}-{row['size']}", "" if row["params"] is None else f"{row['params']:,}"
        axes = [_shown(row[axis]) for axis in varied]
        table.add_row(model, params, row["arm"], *axes, _shown(row["primary"]), _shown(row["toxicity"]), difference)
    return table


def ladders_table(ladders: Sequence[Ladder]) -> Table:
    table = plain("ladder", "size", "params", "source", "context", "licence")
    for ladder in ladders:
        for rung in ladder.rungs.values():
            params = "" if rung.params is None else f"{rung.params:,}"
            source = rung.source.id if rung.source.kind == "hub" else "built here on first use"
            table.add_row(ladder.name, rung.size, params, source, str(ladder.context), ladder.licence)
    return table


def findings_table(path: Path, findings: Sequence[Finding]) -> Table:
    table = plain("where", "severity", "check", "finding")
    for finding in findings:
        where = f"{path}:{finding.line}" if finding.line else str(path)
        table.add_row(
            where, f"[{'red' if finding.severity == 'error' else 'yellow'}]{finding.severity}[/]", finding.check, finding.message
        )
    return table


def matching_table(matching: Matching, names: tuple[str, str]) -> Table:
    """Means, d with its interval, and where it lies, from −1 to 1 with the bounds of a match drawn in."""
    table = plain("part", "measure", *names, "d", "95 % interval", "-1         0         1", "")
    for match in matching.matches:
        d = "" if match.effect is None else f"{match.effect:+.2f}"
        limits = f"{match.interval.low:+.2f} to {match.interval.high:+.2f}" if match.interval else match.note
        verdict = "[green]matched[/]" if match.matched else "[red]apart[/]"
        means = (f"{mean:.0%}" if match.measure.unit == "share" else f"{mean:.2f}" for mean in match.means)
        table.add_row(match.measure.part, match.measure.name, *means, d, limits, _strip(match), verdict)
    return table


def _strip(match: Match, reach: int = 10) -> str:
    """d as a dot on its interval; each character is a tenth of a standard deviation."""
    place = [" "] * (2 * reach + 1)
    for bound in (-WITHIN, WITHIN):
        place[reach + round(bound * reach)] = "┊"
    place[reach] = "│"
    if match.interval:
        low, high = (max(-reach, min(reach, round(limit * reach))) for limit in (match.interval.low, match.interval.high))
        place[reach + low : reach + high + 1] = "─" * (high - low + 1)
    if match.effect is not None:
        place[reach + max(-reach, min(reach, round(match.effect * reach)))] = "●"
    return "".join(place)


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
