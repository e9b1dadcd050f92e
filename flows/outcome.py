"""What came of a sweep, on the screen: the comparison in short, where the rest is, and what failed. Read from what the sweep left."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from configs.problems import BadInput
from flows.engine.board import FINAL
from flows.prepared import Run
from flows.results import comparison
from flows.screen import BoardFile
from flows.tables import show, summary_table
from tasks.compare.summary import read_outcome, summary_rows

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def print_outcome(run: Run, state: State[Any], since: float, out: Console, err: Console) -> None:
    """`state` is the flow run's final one; what was left before `since` (seconds since 1970) is an earlier run's."""
    entries = BoardFile(run.board, since).entries()
    log = run.session.options.log
    if not entries:  # it ended before it began
        err.print(f"[red]failed[/red]  {escape(str(state.message))}", highlight=False)
        return
    final = sum(entry.state in FINAL for entry in entries)
    if final < len(entries):
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {log}", highlight=False)
        err.print(f"{final} of {len(entries)} stages; what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        return
    try:
        folder = comparison(run.home, run.dag.sweep)[1]
    except BadInput:  # it did not come to it; what failed is said below
        folder = None
    if folder is not None:
        if run.calibration:
            what = "calibration ladder" if run.inputs.calibration else "calibration scorer"
            out.print(
                f"{what}: these numbers validate the machinery and say nothing about real models", style="yellow", highlight=False
            )
        if rows := summary_rows(folder):
            show(out, summary_table(rows, read_outcome(folder)))
    cached = sum(entry.state == "cached" for entry in entries)
    out.print(f"{len(entries)} stages in {time.time() - since:.0f} s, {cached} of them cached", highlight=False)
    if folder is not None:
        out.print(f"report      {folder / 'report.html'}", highlight=False)
    out.print("dashboards  palms up        every number  palms metrics        every stage  palms status", highlight=False)
    failed = [entry for entry in entries if entry.state == "failed"]
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)  # labels
    for entry in failed:
        alike[entry.label.split("/")[0], entry.why].append(entry.label)
    for (stage, why), labels in alike.items():
        more = f"  (and {len(labels) - 1} more of {stage})" if len(labels) > 1 else ""
        err.print(f"[red]failed[/red]  {escape(f'{labels[0]}: {why}')}{more}", highlight=False)
    if failed:
        blocked = sum(entry.state == "blocked" for entry in entries)
        err.print((f"{blocked} stages could not run because of that; " if blocked else "") + f"log: {log}", highlight=False)
        err.print(f"run again what is missing: palms rerun {run.dag.sweep}", highlight=False)
    elif not state.is_completed():  # a fault outside any stage, such as tracking
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {log}", highlight=False)
