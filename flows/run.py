"""`palms run`: servers up, the sweep through, every task run recorded, and what came of it on the screen."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape

from flows.dag import Start, from_here_on
from flows.dead import Dead, dead_runs
from flows.home import Home
from flows.plan import plan_rows
from flows.runs import Run, prepare_run, remember, reopen, sole
from flows.screen import send_logs_to, watching
from flows.servers import Server, ServerFailed, ServerGone, await_health, prefect_server
from flows.tables import show, summary_table
from tasks.compare.summary import summary_rows
from tasks.processes import warm_up
from tasks.session import Blocked
from tasks.store import Manifest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

T = TypeVar("T")
RECORDED_LIMIT_S = 30.0
SERVER_LOOK_S = 1.0


def run_command(config: str, sets: Sequence[str], *, verify: bool, strict_code: bool, out: Console, err: Console) -> int:
    """Run a sweep and return the exit status: 0 all there, 1 something failed, 130 interrupted."""
    home = Home.open()
    home.settle_environment()
    return carry_out(prepare_run(home, config, sets, strict_code=strict_code, verify=verify), out, err)


def rerun_command(sweep: str | None, start: Start | None, *, verify: bool, out: Console, err: Console) -> int:
    """Run what is missing of an earlier sweep, or everything from one stage on; the exit status is that of `run_command`."""
    home = Home.open()
    home.settle_environment()
    run = reopen(home, sweep, verify=verify)
    if start is not None:
        run.session.anew = frozenset(node.label for node in from_here_on(run.dag, start))
    if all(row.state == "cached" for row in plan_rows(run)):
        out.print(
            f"sweep {run.dag.sweep}: all {len(run.dag.nodes)} stages are there; `--from STAGE` makes them anew", highlight=False
        )
        return 0
    return carry_out(run, out, err)


def carry_out(run: Run, out: Console, err: Console) -> int:
    """Run a prepared sweep to its end and print what came of it.

    Raises:
        BadInput: another process runs this sweep.
    """
    began = time.monotonic()
    with sole(run):
        dead = dead_runs(run.home)  # before this run notes itself in the place of one that died
        remember(run)
        out.print(
            f"sweep [bold]{run.dag.sweep}[/bold]: {len(run.dag.nodes)} stages over {len(run.dag.sizes)} sizes", highlight=False
        )
        try:
            with prefect_server(run.home) as server:
                os.environ["PREFECT_API_URL"] = f"{server.url}/api"
                with stoppable(run):
                    state = _run(run, dead, server, out)
        except ServerGone as error:
            run.session.stop()
            err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
            err.print(f"what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
            os._exit(1)  # threads that wait for the server would keep this process for ever
        except ServerFailed as error:
            err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
            return 1
        remember(run, ended=True)
    if run.session.stopped:
        err.print(
            f"interrupted; what was finished is kept, and `palms rerun {run.dag.sweep}` goes on from there", highlight=False
        )
        return 130
    _print_outcome(run, time.monotonic() - began, out, err)
    if state.is_failed() and not run.session.failures():  # a fault outside any stage, such as tracking
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {run.session.options.log}", highlight=False)
    return 0 if state.is_completed() else 1


@contextmanager
def stoppable(run: Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the stages and let the flows come to their final states; a second one ends the command at once."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=run.session.stop).start()  # not here: the main thread may hold a lock that this needs

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(run: Run, dead: Sequence[Dead], server: Server, out: Console) -> State[Any]:
    with out.status("starting the orchestrator"):
        if any(row.state != "cached" for row in plan_rows(run)):
            warm_up()
        # Prefect reads PREFECT_API_URL as it is imported, which takes a second or two: time that the server needs anyway
        from prefect.logging.handlers import APILogHandler

        from flows.reconcile import reconcile
        from flows.sweep import run_sweep

        send_logs_to(run.session.options.log)
        await_health(run.home, server)
        mended = reconcile(dead)
    for line in mended:
        out.print(line, style="yellow", highlight=False)
    with watching(run.session.board, out):
        state = _beside(partial(run_sweep, run), run.home, server)
    with out.status("waiting for the orchestrator's records"):
        _beside(partial(await_records, run), run.home, server)
        APILogHandler().flush()  # a server that is gone would be asked again and again at exit
    return state


def _beside(work: Callable[[], T], home: Home, server: Server) -> T:
    """Do what needs the server in a thread, for as long as it lives.

    Not in the main thread, where Prefect puts a signal handler of its own in the place of ours: a SIGTERM passed without effect
    (3.8.8).

    Raises:
        ServerGone: the server ended first; the work may then wait for it for ever.
    """
    done: Future[T] = Future()

    def carry() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=carry, name="palms-beside", daemon=True).start()
    while not wait([done], timeout=SERVER_LOOK_S).done and server.is_ours():
        pass
    if not server.is_ours() and not (done.done() and done.exception() is None):
        raise ServerGone(f"the Prefect server ended under the sweep; its log: {home.prefect / 'server.log'}")
    return done.result()


def await_records(run: Run) -> None:
    """Task runs reach the database through a queue in the server: wait until every one of this run is there in a final state.

    Raises:
        ServerFailed: they are not, in time.
    """
    from flows.records import unfinished

    deadline = time.monotonic() + RECORDED_LIMIT_S
    while left := unfinished(run.session.task_runs):
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"the Prefect server did not record {left} task runs within {RECORDED_LIMIT_S:g} s; results are in the store"
            )
        time.sleep(0.2)


def _print_outcome(run: Run, seconds: float, out: Console, err: Console) -> None:
    entries = run.session.board.entries()
    compared = run.session.outcome(run.dag.comparison)
    folder = compared.folder if isinstance(compared, Manifest) else None
    if folder is not None:
        if run.calibration:
            what = "calibration ladder" if run.materials.calibration else "calibration scorer"
            out.print(
                f"{what}: these numbers validate the machinery and say nothing about real models", style="yellow", highlight=False
            )
        if rows := summary_rows(folder):
            show(out, summary_table(rows, f"{run.experiment.primary.metric} ({run.experiment.primary.suite})"))
    cached = sum(entry.state == "cached" for entry in entries)
    out.print(f"{len(entries)} stages in {seconds:.0f} s, {cached} of them cached", highlight=False)
    if folder is not None:
        out.print(f"report      {folder / 'report.html'}", highlight=False)
    out.print("dashboards  palms ui        every number  palms metrics        every stage  palms status", highlight=False)
    for failure in run.session.failures():
        err.print(f"[red]failed[/red]  {escape(str(failure))}", highlight=False)
    blocked = sum(isinstance(run.session.outcome(node), Blocked) for node in run.dag.nodes)
    if run.session.failures():
        err.print(f"{blocked} stages could not run because of that; log: {run.session.options.log}", highlight=False)
        err.print(f"run again what is missing: palms rerun {run.dag.sweep}", highlight=False)
