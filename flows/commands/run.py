"""`palms run`: runs a sweep: whatever is missing of it, and nothing else."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from configs.problems import BadInput
from flows.commands.words import Config, Sets, Strict, Verify, again, err, out, plain, show
from flows.engine.board import FINAL
from flows.engine.home import Home
from flows.engine.room import NoRoom
from flows.engine.screen import BoardFile
from flows.engine.servers import ServerGone, require_tracker, running
from flows.prepared import Run, prepare_run
from flows.request import request
from flows.results import comparison
from flows.serving.direct import run_here
from flows.serving.interruption import INTERRUPTED
from flows.serving.links import shown
from tasks.compare.summary import read_outcome, summary_cells, summary_rows

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


def carry_out(run: Run) -> int:
    """Have a prepared sweep run to its end, and print what came of it.

    Raises:
        BadInput: another process runs this sweep, or its tracker does not answer.
        ServerFailed: the orchestrator did not come up.
    """
    began = time.time()
    require_tracker(run.home.tracking_uri(run.experiment.tracking.uri))
    if given := os.environ.get("PREFECT_API_URL"):
        out.print(f"PREFECT_API_URL={given} is not used: sweeps have the server of PALMS_HOME", style="yellow", highlight=False)
    server = running(run.home, "prefect")
    handed_over = server is not None and running(run.home, "runner") is not None
    try:
        if server is not None and handed_over:
            from flows.serving.submit import submitted

            state = submitted(run, server, began, out)
        else:
            state = run_here(run, out)
    except (ServerGone, NoRoom) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        err.print(f"what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        os._exit(1)  # threads that wait for the server would keep this process for ever
    if state.is_cancelled():
        how = "cancelled" if handed_over else "interrupted"
        err.print(f"{how}; what was finished is kept, and `palms rerun {run.dag.sweep}` goes on from there", highlight=False)
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
        if run.calibration:
            what = "calibration ladder" if run.inputs.calibration else "calibration scorer"
            out.print(
                f"{what}: these numbers validate the machinery and say nothing about real models", style="yellow", highlight=False
            )
        if rows := summary_rows(folder):
            headings, cells = summary_cells(rows, read_outcome(folder))
            table = plain(*headings)
            for line in cells:
                table.add_row(*line)
            show(out, table)
    cached = sum(entry.state == "cached" for entry in entries)
    out.print(f"{len(entries)} stages in {time.time() - since:.0f} s, {cached} of them cached", highlight=False)
    if folder is not None:
        out.print(f"report      {folder / 'report.html'}", highlight=False)
    if run.experiment.tracking.uri is None and (server := running(run.home, "mlflow")):
        out.print(f"MLflow      {shown(run.home, server, out)}", highlight=False, markup=False)
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
        err.print(f"run again what is missing: {again(run.dag.sweep, entries)}", highlight=False)
    elif not state.is_completed():  # a fault outside any stage, such as tracking
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {log}", highlight=False)
