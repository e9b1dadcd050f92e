"""A sweep that the runner has started, with nobody at a terminal: taken by its process, or skipped, and ended with the runner.

What `flows.run` does for a command stands here for a schedule, the dashboard's form and its Retry: find the run, keep it to this
process, mend what died before, send third parties' noise to the sweep's log.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_client, runtime
from prefect.logging import get_run_logger

from flows.home import Home
from flows.reach import require_tracker
from flows.reconcile import reconcile
from flows.request import Request
from flows.runs import Run, prepare_run
from flows.screen import send_logs_to
from flows.servers import running
from flows.signals import told_to_end
from flows.taking import taken
from tasks.processes import warm_up

LOOK_S = 1.0


@contextmanager
def taken_up(asked: Request) -> Iterator[Run]:
    """The run of a request, for the time of the block.

    Raises:
        BadInput: whatever is wrong with what was asked for.
        Busy: the sweep is being run, and the request says to skip it then.
    """
    home = Home.open()
    run = prepare_run(home, asked)
    require_tracker(home.tracking_uri(run.experiment))
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(runtime.flow_run.id, run.dag.sweep)
    _end_with_servers(run)
    with taken(run, wait=asked.overlap == "wait") as dead, _turn(home):
        send_logs_to(run.session.options.log)
        for line in reconcile(dead, spare=UUID(runtime.flow_run.id)):
            get_run_logger().warning(line)
        _forget_the_engine()
        warm_up()
        with told_to_end(run.session.stop):
            yield run


@contextmanager
def _turn(home: Home) -> Iterator[None]:
    """One sweep of the runner at a time: each counts on the whole machine's memory and cores."""
    with (home.root / ".turn").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            get_run_logger().info("waits for its turn: the runner is busy with another sweep")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _forget_the_engine() -> None:
    """Stage processes import their parent's entry module again, and `prefect.engine` has nothing that they need."""
    sys.modules["__main__"].__spec__ = None
    vars(sys.modules["__main__"]).pop("__file__", None)


def _end_with_servers(run: Run) -> None:
    """Without the runner nobody could cancel this sweep, and without the orchestrator its flows would wait for ever."""
    runner, server = os.getppid(), running(run.home, "prefect")

    def watch() -> None:
        while os.getppid() == runner and (server is None or server.is_ours()):
            time.sleep(LOOK_S)
        run.session.stop()
        os._exit(1)

    threading.Thread(target=watch, name="palms-servers", daemon=True).start()
