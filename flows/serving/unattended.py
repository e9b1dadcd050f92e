"""A sweep that the runner, or a work pool's worker, has started, with nobody at a terminal: taken by its process, or skipped, and ended with
whoever started it.

What `flows.serving.direct` does for a command stands here for a schedule, the dashboard's form and its Retry: find the run, keep it to this
process, mend what died before, send third parties' noise to the sweep's log.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import State, flow, get_client, runtime
from prefect.logging import get_run_logger
from prefect.states import Completed

from configs.problems import BadInput
from flows.claim import Busy, taken
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.processes import forget_the_entry_module
from flows.engine.reconcile import reconcile
from flows.engine.room import Ground
from flows.engine.runners import slots
from flows.engine.screen import send_logs_to
from flows.engine.servers import noted, require_tracker
from flows.preference import begin
from flows.prepared import Run, prepare_run, ready
from flows.request import SKIPPED, Request
from flows.serving.interruption import told_to_end
from flows.sweep import conduct

LOOK_S = 1.0
AWAY_LIMIT_S = 300.0  # for which a server elsewhere may not answer: it is moved to another node, or upgraded


@flow(name="sweep")
def sweep(request: Request) -> State[Any]:
    """Fine-tune, sample, score and compare every size and arm of an experiment: whatever is missing of it, and nothing else. With `prefer`, a
    turn of preference tuning: a round more where people have rated, and the newest model's answers for them to rate."""
    Home.open().settle_environment()  # a worker's environment is its user's
    try:
        if request.prefer is None:
            with taken_up(request) as run:
                return conduct(run)
        turn = begin(Home.open(), request)
        get_run_logger().info(turn.told)
        for asked in turn.sweeps():
            with taken_up(asked) as run:
                state = conduct(run)
            if not state.is_completed():
                return state
        return Completed(message=turn.told)
    except Busy as busy:
        return Completed(name=SKIPPED, message=str(busy))


@contextmanager
def taken_up(asked: Request) -> Iterator[Run]:
    """The run of a request, for the time of the block.

    Raises:
        BadInput: whatever is wrong with what was asked for.
        Busy: the sweep is being run, and the request says to skip it then.
    """
    home = Home.open()
    me = UUID(runtime.flow_run.id)
    with get_client(sync_client=True) as client:  # a schedule's runs have names by chance
        try:
            run = prepare_run(home, asked)
        except BadInput:
            client.set_flow_run_name(me, Path(asked.config).stem)
            raise
        client.set_flow_run_name(me, run.dag.sweep)
    require_tracker(home.tracking_uri(run.experiment.tracking.uri))
    begun = threading.Event()
    _end_with_servers(run, begun, run.require_room())
    with taken(run, wait=asked.overlap == "wait", flow_run=me, turn=_turn()) as dead:
        begun.set()
        send_logs_to(run.session.options.log)
        for line in reconcile(dead, spare=me):
            get_run_logger().warning(line)
        forget_the_entry_module()
        ready(run)
        with told_to_end(run.session.stop):
            yield run


@contextmanager
def _turn() -> Iterator[None]:
    """One such sweep at a time on a machine: each counts on all of its memory and cores."""
    place = slots.folder() / "turn"
    with locked(place, wait=False) as had:
        if had:
            yield
            return
    get_run_logger().info("waits for its turn: another sweep is being run on this machine")
    with locked(place):
        yield


def _end_with_servers(run: Run, begun: threading.Event, ground: Ground) -> None:
    """Without whoever started it nobody could cancel this sweep; without the orchestrator, or a disk, its flows would wait for ever."""
    starter, orchestrated = os.getppid(), _orchestrator(run.home)

    def watch() -> None:
        wrong = ""
        while os.getppid() == starter and orchestrated() and not (wrong := run.wrong(ground)):
            time.sleep(LOOK_S)
        if wrong:
            print(wrong, file=sys.stderr, flush=True)
        try:
            if begun.is_set():  # else the stages on the board are another run's
                run.session.stop()
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="palms-servers", daemon=True).start()


def _orchestrator(home: Home) -> Callable[[], bool]:
    """Tells whether the server is there that this process asks: the home's own lives, or one elsewhere has answered of late."""
    own = noted(home, "prefect")
    if own is not None and os.environ.get("PREFECT_API_URL") == f"{own.url}/api":
        return own.is_ours
    answered = time.monotonic()

    def there() -> bool:
        nonlocal answered
        with get_client(sync_client=True) as client:
            if client.api_healthcheck() is None:
                answered = time.monotonic()
        return time.monotonic() - answered < AWAY_LIMIT_S

    return there
