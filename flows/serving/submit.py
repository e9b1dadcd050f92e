"""A sweep handed to the runner, and followed from the terminal as if it ran here: Ctrl-C cancels it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from rich.console import Console

from flows.claim import Busy, left_if_new
from flows.engine.room import NoRoom
from flows.engine.screen import BoardFile, watching
from flows.engine.servers import Server, ask
from flows.prepared import Run
from flows.request import DEPLOYMENT, SKIPPED
from flows.serving.interruption import beside, told_to_end

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

LOOK_S = 0.5


def submitted(run: Run, server: Server, since: float, out: Console) -> State:
    """Hand a prepared sweep to the runner and follow it to its final state. `since`: when that was asked for.

    Raises:
        Busy: another process runs this sweep.
        ServerGone: the orchestrator ended under it.
        NoRoom: its folders cannot be written to any more.
    """
    ground = run.require_room()
    left_if_new(run)  # `palms rerun` finds it, also if the runner never comes to it
    ask(run.home, server)
    with out.status("handing it to the runner"):
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelling
    with get_client(sync_client=True) as client:
        flow_run = _hand_in(run, client)
        out.print(run.headline, highlight=False)
        out.print(f"watch, cancel, retry: {server.url}/runs/flow-run/{flow_run}", highlight=False)
        cancel = partial(client.set_flow_run_state, flow_run, Cancelling())
        with told_to_end(cancel), watching(BoardFile(run.board, since), out):
            state = beside(partial(_await_end, client, flow_run), run.home, server, ground.wrong)
    if state.name == SKIPPED:  # somebody else was faster
        raise Busy(str(state.message))
    if state.is_crashed() and (said := ground.wrong()):  # the runner's watch was faster
        raise NoRoom(said)
    return state


def _hand_in(run: Run, client: SyncPrefectClient) -> UUID:
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    parameters = {"request": run.request.model_dump(mode="json")}
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, name=run.dag.sweep).id


def _await_end(client: SyncPrefectClient, flow_run: UUID) -> State:
    while True:
        state = client.read_flow_run(flow_run).state
        if state is not None and state.is_final():
            return state
        time.sleep(LOOK_S)
