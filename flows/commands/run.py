"""`palms run`: runs a sweep: whatever is missing of it, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from configs.problems import BadInput
from flows.commands.words import Config, Sets, Strict, Verify, again, causes, counted, duration, err, out, plain, show
from flows.engine.board import FINAL, MADE
from flows.engine.home import Home
from flows.engine.room import NoRoom
from flows.engine.screen import BoardFile
from flows.engine.servers import Server, ServerGone, require_tracker, running
from flows.prepared import Run, planned, prepare_run, ready
from flows.request import request
from flows.results import comparison
from flows.serving.direct import run_here
from flows.serving.interruption import INTERRUPTED
from flows.serving.links import shown
from tasks.compare.summary import LEGEND, read_outcome, tables

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def run(config: Config, sets: Sets = None, verify: Verify = False, strict_code: Strict = False) -> None:
    """Run a sweep: whatever is missing of it, and nothing else.

    Examples:  palms run calibration   |   palms run my.yaml --set 'seeds=[0,1,2]'
    """
    asked = request(config, sets or [], verify=verify, strict_code=strict_code)
    home = Home.open()
    home.settle_environment()
    raise typer.Exit(carry_out(prepare_run(home, asked)))


def carry_out(run: Run, there: Server | None = None) -> int:
    """Have a prepared sweep run to its end, and print what came of it. `there`: an orchestrator that this process has started.

    Raises:
        BadInput: another process runs this sweep, or its tracker does not answer.
        ServerFailed: the orchestrator did not come up.
    """
    began = time.time()
    require_tracker(run.home.tracking_uri(run.experiment.tracking.uri))
    if there is None and (given := os.environ.get("PREFECT_API_URL")):
        out.print(f"PREFECT_API_URL={given} is not used: sweeps have the server of PALMS_HOME", style="yellow", highlight=False)
    server = running(run.home, "prefect")
    # the runner starts a process for each sweep, which takes longer than one of which everything is there; where all of the store is
    # to be read, that is not done here as well
    handed_over = (
        server is not None
        and running(run.home, "runner") is not None
        and (run.request.verify or any(row.state != "cached" for row in planned(run)))
    )
    try:
        if server is not None and handed_over:
            from flows.serving.submit import submitted

            ready(run)  # what refuses is told here in a line, and not as a flow that failed
            state = submitted(run, server, began, out)
        else:
            state = run_here(run, out, there)
    except (ServerGone, NoRoom) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        err.print(f"what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        os._exit(1)  # threads that wait for the server would keep this process for ever
    if state.is_cancelled():
        how = "cancelled" if handed_over else "interrupted"
        left = BoardFile(run.board, began).entries()
        kept = f" ({sum(entry.state in MADE for entry in left)} of {len(left)} stages)" if left else ""
        err.print(
            f"{how}; what was finished is kept{kept}, and `palms rerun {run.dag.sweep}` goes on from there", highlight=False
        )
        return INTERRUPTED
    print_outcome(run, state, began)
    if state.is_failed() and not handed_over:
        err.print("Retry in the dashboard works for sweeps that are run while `palms up` is up", highlight=False)
    return 0 if state.is_completed() else 1


def print_outcome(run: Run, state: State[Any], since: float) -> None:
    """`state` is the flow run's final one; what was left before `since` (seconds since 1970) is an earlier run's."""
    entries = BoardFile(run.board, since).entries()
    log = run.session.options.log
    if not entries:  # it ended before it began
        err.print(f"[red]failed[/red]  {escape(str(state.message))}", highlight=False)
        err.print(f"it had not begun: palms rerun {run.dag.sweep}", highlight=False)
        return
    final = sum(entry.state in FINAL and entry.why != "interrupted" for entry in entries)
    if final < len(entries):  # it was ended from outside
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {log}", highlight=False)
        err.print(f"{final} of {len(entries)} stages; what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        return
    try:
        folder = comparison(run.home, run.dag.sweep)[1]
    except BadInput:  # it did not come to it; what failed is said below
        folder = None
    if folder is not None:
        _print_comparison(run, folder)
        out.print(f"report: {folder / 'report.html'}", highlight=False)
    if run.experiment.tracking.uri is None and (server := running(run.home, "mlflow")):
        out.print(f"MLflow: {shown(run.home, server, out)}", highlight=False, markup=False)
    out.print("next: palms report --open · palms up (dashboards) · palms metrics · palms status", highlight=False)
    counts, took = counted(entries), duration(time.time() - since)
    if failed := causes(entries):
        for cause in failed:
            err.print(f"[red]failed[/red]  {escape(cause)}", highlight=False)
        err.print(f"{counts}; in {took}; log: {log}", highlight=False)
        err.print(f"run again what is missing: {again(run.dag.sweep, entries)}", highlight=False)
        return
    out.print(f"{counts}; in {took}", highlight=False)
    if not state.is_completed():  # a fault outside any stage, such as tracking
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {log}", highlight=False)


def _print_comparison(run: Run, folder: Path) -> None:
    """What was found in a sentence, and the small tables below it."""
    if run.calibration:
        what = "calibration ladder" if run.inputs.calibration else "calibration scorer"
        _print_whole(f"{what}: these numbers validate the machinery and say nothing about real models", "yellow")
    _print_whole(read_outcome(folder)["finding"], "bold")
    found = tables(folder)
    for one in found:
        table = plain(*one.headings)
        for column, heading in zip(table.columns, one.headings, strict=True):
            column.justify = "right" if heading == "level" else "left"
        for line in one.cells:
            table.add_row(*map(escape, line))
        out.print(f"\n{one.title}", highlight=False, markup=False)
        show(out, table)
    if found:
        out.print(LEGEND, style="dim", highlight=False)
        out.print()


def _print_whole(sentence: str, style: str) -> None:
    """A sentence, broken between its words on a terminal, and on one line elsewhere."""
    out.print(sentence, style=style, highlight=False, markup=False, soft_wrap=not out.is_terminal)
