"""A sweep run by the command itself: a Prefect server for the time of the run, the flow in this process, every task run recorded
before the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.claim import taken
from flows.engine.dead import Dead
from flows.engine.room import NoRoom
from flows.engine.screen import send_logs_to, watching
from flows.engine.servers import Server, ServerFailed, ask
from flows.prepared import Run, ready
from flows.serving.interruption import beside, told_to_end
from flows.serving.servers import await_health, prefect_server

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

RECORDED_LIMIT_S = 30.0
NOTICES_S = 2.0  # the server calls a webhook 0.2 to 0.6 s after the state it tells of, and not at all once it is stopped


def run_here(run: Run, out: Console, server: Server | None = None) -> State[Any]:
    """Run a prepared sweep to its end; `server`: one that is up, where somebody else started it.

    Raises:
        BadInput: there is no such cluster as it is to run on.
        Busy: another process has it.
        ServerFailed: the orchestrator did not come up.
        ServerGone: it ended under the sweep.
        NoRoom: its folders cannot be written to any more.
    """
    wrong = partial(run.wrong, run.require_room())
    try:
        ready(run)  # before it is claimed: a cluster that is refused leaves the sweep as it was
        with taken(run) as dead:  # a server that fails leaves it unended: there is something to be mended
            out.print(run.headline, highlight=False)
            at = nullcontext(server) if server else prefect_server(run.home)
            with at as there, _stopped(run), told_to_end(run.session.stop):
                ask(run.home, there)
                return _conducted(run, dead, there, wrong, out)
    except Exception as error:
        if said := wrong():  # then whatever failed, failed of it
            raise NoRoom(said) from error
        raise


@contextmanager
def _stopped(run: Run) -> Iterator[None]:
    """Whatever fails in the block, no stage goes on."""
    try:
        yield
    except Exception:
        run.session.stop()
        raise


def _conducted(run: Run, dead: list[Dead], server: Server, wrong: Callable[[], str], out: Console) -> State[Any]:
    with out.status("starting the orchestrator"):
        # Prefect reads its settings as it is imported, which takes a second or two: time that the server needs anyway
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
        state = beside(partial(run_sweep, run), run.home, server, wrong)
    with out.status("waiting for the orchestrator's records"):
        beside(partial(await_records, run), run.home, server, wrong)
        if beside(listed, run.home, server, wrong):
            time.sleep(NOTICES_S)
        APILogHandler().flush()  # a server that is gone would be asked again and again at exit
    return state


def await_records(run: Run) -> None:
    """Task runs reach the database through a queue in the server: wait until every one of this run is there in a final state.

    Raises:
        ServerFailed: they are not, in time.
    """
    from flows.engine.prefect_tasks import unfinished

    left, recorded = run.session.task_runs, time.monotonic()
    while left:
        before, left = left, unfinished(left)
        if len(left) < len(before):
            recorded = time.monotonic()
        elif time.monotonic() > recorded + RECORDED_LIMIT_S:
            raise ServerFailed(
                f"the Prefect server recorded none of {len(left)} task runs within {RECORDED_LIMIT_S:g} s; results are in the store"
            )
        time.sleep(0.2)
