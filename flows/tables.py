"""How rows look on a terminal."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from flows.engine.board import Entry
from flows.power import Power
from flows.results import COLUMNS
from model_registry.catalog import Ladder
from model_registry.scorers import KnownScorer
from tasks.datasets.lines import Finding
from tasks.datasets.matching import WITHIN, Match, Matching

COLOURS = {"done": "green", "cached": "green", "running": "cyan", "failed": "red", "blocked": "yellow", "waiting": "dim"}


def show(console: Console, table: Table) -> None:
    """Print a table at its full width: a cut-off label cannot be copied, and a pipe has no width."""
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    Console(file=console.file, force_terminal=console.is_terminal, emoji=False, width=max(width, console.width)).print(table)


def plain(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"seconds", "params", "value", "n", "line", "tries"} else "left")
    return table


def status_table(entries: Sequence[Entry]) -> Table:
    table = plain("state", "stage", "seconds", "tries", "key", "why")
    for entry in entries:
        elapsed = time.time() - entry.started if entry.state == "running" and entry.started else entry.seconds
        seconds = "" if elapsed is None else f"{elapsed:.1f}"
        state = f"[{COLOURS[entry.state]}]{entry.state}[/]"
        why = f"{entry.done} of {entry.total} {entry.unit}" if entry.state == "running" and entry.total else entry.why
        table.add_row(state, entry.label, seconds, str(entry.attempt or ""), (entry.key or "")[:10], escape(why))
    return table


def metrics_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = plain(*COLUMNS[1:-1])
    for row in rows:
        table.add_row(*(_shown(row[column]) for column in COLUMNS[1:-1]))
    return table


def summary_table(rows: Sequence[dict[str, Any]], outcome: Mapping[str, Any]) -> Table:
    headings, cells = summary_cells(rows, outcome)
    table = plain(*headings)
    for row in cells:
        table.add_row(*row)
    return table


def summary_cells(rows: Sequence[dict[str, Any]], outcome: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The comparison as one row a size and arm; axes with one value are left out."""
    varied = [axis for axis in ("samples", "seed") if len({row[axis] for row in rows} - {None}) > 1]
    beside = ["secondary"] if any(row["secondary"] is not None for row in rows) else []  # none if it is the primary outcome
    primary, further = f"{outcome['metric']} ({outcome['suite']})", [outcome["secondary_metric"] for _ in beside]
    cells = []
    for row in rows:
        difference = ""
        if row["difference"] is not None:
            limits = "" if row["ci_low"] is None else f"  ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
            difference = f"{row['difference']:+.3f}{limits}"
        model, params = f"{row['ladder']}-{row['size']}", "" if row["params"] is None else f"{row['params']:,}"
        values = [_shown(row[name]) for name in (*varied, "primary", *beside)]
        cells.append([model, params, row["arm"], *values, difference])
    return ["size", "params", "arm", *varied, primary, *further, f"difference from {outcome['reference']} (95 % interval)"], cells


def power_cells(power: Power) -> Table:
    """The least difference that is found four times in five: prompts and raters down, samples across."""
    samples = sorted({row.samples for row in power.rows})
    rated = len({row.raters for row in power.rows}) > 1
    table = plain("prompts", *(["raters"] if rated else []), *(f"{count} a prompt" for count in samples))
    for column in table.columns:
        column.justify = "right"
    found = {(row.prompts, row.raters, row.samples): row.detectable for row in power.rows}
    for prompts, raters in dict.fromkeys((row.prompts, row.raters) for row in power.rows):
        cells = (f"±{found[prompts, raters, count]:.3g}" for count in samples)
        table.add_row(str(prompts), *([str(raters)] if rated else []), *cells)
    return table


def ladders_table(ladders: Sequence[Ladder]) -> Table:
    table = plain("ladder", "size", "params", "source", "context", "licence")
    for ladder in ladders:
        for rung in ladder.rungs.values():
            params = "" if rung.params is None else f"{rung.params:,}"
            source = rung.source.id if rung.source.kind == "hub" else "built here on first use"
            table.add_row(ladder.name, rung.size, params, source, str(ladder.context), ladder.licence)
    return table


def scorers_table(scorers: Sequence[KnownScorer]) -> Table:
    table = plain("scorer", "source", "scores", "licence", "note")
    for scorer in scorers:
        classes = ", ".join(f"{label} as {name}" for label, name in scorer.classes.items())
        table.add_row(scorer.name, scorer.id, classes, scorer.licence, scorer.note)
    return table


def findings_table(path: Path, findings: Sequence[Finding]) -> Table:
    table = plain("where", "severity", "check", "finding")
    for finding in findings:
        where = f"{path}:{finding.line}" if finding.line else str(path)
        severity = f"[{'red' if finding.severity == 'error' else 'yellow'}]{finding.severity}[/]"
        table.add_row(escape(where), severity, finding.check, escape(finding.message))
    return table


def matching_table(matching: Matching, names: tuple[str, str], width: int) -> Table:
    """Means, d with its interval, and, where the width allows it, where d lies, with the bounds of a match drawn in."""
    strip = [f"{'-1':<{REACH}}0{'1':>{REACH}}"] if width >= STRIP_FROM else []
    table = plain("part", "measure", *names, "d", "95 % interval", "", *strip)
    for column in table.columns[2:6]:
        column.justify = "right"
    for match in matching.matches:
        d = "" if match.effect is None else f"{match.effect:+.2f}"
        limits = f"{match.interval.low:+.2f} to {match.interval.high:+.2f}" if match.interval else match.note
        verdict = f"[{'green' if match.matched else 'red'}]{match.verdict}[/]"
        means = (f"{mean:.0%}" if match.measure.unit == "share" else f"{mean:.2f}" for mean in match.means)
        table.add_row(match.measure.part, match.measure.name, *means, d, limits, verdict, *([_strip(match)] if strip else []))
    return table


REACH = 12  # characters a standard deviation, so that a quarter is three of them
STRIP_FROM = 130  # columns


def _strip(match: Match) -> str:
    """d as a dot on its interval; an interval that goes on past the edge ends in an arrow."""
    place = [" "] * (2 * REACH + 1)
    for bound in (-WITHIN, WITHIN):
        place[REACH + round(bound * REACH)] = "┊"
    place[REACH] = "│"
    if match.interval:
        ends = [round(limit * REACH) for limit in (match.interval.low, match.interval.high)]
        low, high = (max(-REACH, min(REACH, end)) for end in ends)
        place[REACH + low : REACH + high + 1] = "─" * (high - low + 1)
        if ends[0] < -REACH:
            place[0] = "◂"
        if ends[1] > REACH:
            place[-1] = "▸"
    if match.effect is not None:
        place[REACH + max(-REACH, min(REACH, round(match.effect * REACH)))] = "●"
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
