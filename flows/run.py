"""`palms run` and `palms rerun`: the sweep through, by the runner that `palms up` started or else here, and what came of it.

Here means: a Prefect server for the time of the run, the flow in this process, every task run recorded before the end.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from flows.claim import ended, taken
from flows.dag import Start
from flows.engine.home import Home
from flows.engine.ownership import Dead
from flows.engine.processes import warm_up
from flows.outcome import print_outcome
from flows.plan import plan_rows
from flows.prepared import Run, prepare_run, reopen
from flows.reach import require_tracker
from flows.request import Request
from flows.screen import send_logs_to, watching
from flows.serving.beside import beside
from flows.serving.problems import ServerFailed, ServerGone
from flows.serving.servers import Server, await_health, prefect_server, running
from flows.signals import INTERRUPTED, told_to_end

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

RECORDED_LIMIT_S = 30.0
NOTICES_S = 2.0  # the server calls a webhook 0.2 to 0.6 s after the state it tells of, and not at all once it is stopped


def run_command(asked: Request, out: Console, err: Console) -> int:
    """Run a sweep and return the exit status: 0 all there, 1 something failed, 130 interrupted."""
    home = Home.open()
    home.settle_environment()
    return carry_out(prepare_run(home, asked), out, err)


def rerun_command(sweep: str | None, start: Start | None, *, verify: bool, out: Console, err: Console) -> int:
    """Run what is missing of an earlier sweep, or everything from one stage on; the exit status is that of `run_command`."""
    home = Home.open()
    home.settle_environment()
    run = reopen(home, sweep, verify=verify, start=start)
    if ended(run) and all(row.state == "cached" for row in plan_rows(run)):
        out.print(
            f"sweep {run.dag.sweep}: all {len(run.dag.nodes)} stages are there; `--from STAGE` makes them anew", highlight=False
        )
        return 0
    return carry_out(run, out, err)


def carry_out(run: Run, out: Console, err: Console) -> int:
    """Have a prepared sweep run to its end, and print what came of it.

    Raises:
        BadInput: another process runs this sweep, or its tracker does not answer.
        ServerFailed: the orchestrator did not come up.
    """
    began = time.time()
    require_tracker(run.home.tracking_uri(run.experiment))
    if given := os.environ.get("PREFECT_API_URL"):
        out.print(f"PREFECT_API_URL={given} is not used: sweeps have the server of PALMS_HOME", style="yellow", highlight=False)
    server = running(run.home, "prefect")
    handed_over = server is not None and running(run.home, "runner") is not None
    try:
        if server is not None and handed_over:
            from flows.serving.submit import submitted

            state = submitted(run, server, began, out)
        else:
            state = _run_here(run, out)
    except ServerGone as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        err.print(f"what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        os._exit(1)  # threads that wait for the server would keep this process for ever
    if state.is_cancelled():
        how = "cancelled" if handed_over else "interrupted"
        err.print(f"{how}; what was finished is kept, and `palms rerun {run.dag.sweep}` goes on from there", highlight=False)
        return INTERRUPTED
    print_outcome(run, state, began, out, err)
    if state.is_failed() and not handed_over:
        err.print("Retry in the dashboard works for sweeps that are run while `palms up` is up", highlight=False)
    return 0 if state.is_completed() else 1


def _run_here(run: Run, out: Console) -> State[Any]:
    with taken(run) as dead:  # a server that fails leaves it unended: there is something to be mended
        out.print(run.headline, highlight=False)
        with prefect_server(run.home) as server:
            os.environ["PREFECT_API_URL"] = f"{server.url}/api"
            with told_to_end(run.session.stop):
                try:
                    return _conducted(run, dead, server, out)
                except ServerGone:
                    run.session.stop()
                    raise


def _conducted(run: Run, dead: list[Dead], server: Server, out: Console) -> State[Any]:
    with out.status("starting the orchestrator"):
        if any(row.state != "cached" for row in plan_rows(run)):
            warm_up()
        # Prefect reads PREFECT_API_URL as it is imported, which takes a second or two: time that the server needs anyway
        from prefect.logging.handlers import APILogHandler

        from flows.engine.reconcile import reconcile
        from flows.serving.notices import listed
        from flows.sweep import run_sweep

        send_logs_to(run.session.options.log)
        await_health(run.home, server)
        mended = reconcile(dead)
    for line in mended:
        out.print(line, style="yellow", highlight=False)
    with watching(run.session.board, out):
        state = beside(partial(run_sweep, run), run.home, server)
    with out.status("waiting for the orchestrator's records"):
        beside(partial(await_records, run), run.home, server)
        if beside(listed, run.home, server):
            time.sleep(NOTICES_S)
        APILogHandler().flush()  # a server that is gone would be asked again and again at exit
    return state


def await_records(run: Run) -> None:
    """Task runs reach the database through a queue in the server: wait until every one of this run is there in a final state.

    Raises:
        ServerFailed: they are not, in time.
    """
    from flows.engine.prefect_tasks import unfinished

    deadline = time.monotonic() + RECORDED_LIMIT_S
    while left := unfinished(run.session.task_runs):
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"the Prefect server did not record {left} task runs within {RECORDED_LIMIT_S:g} s; results are in the store"
            )
        time.sleep(0.2)
