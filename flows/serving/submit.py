"""A sweep handed to the runner, and followed from the terminal as if it ran here: Ctrl-C cancels it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from rich.console import Console
from rich.markup import escape

from flows.outcome import print_outcome
from flows.request import DEPLOYMENT
from flows.runs import Run
from flows.screen import watching
from flows.serving.beside import beside
from flows.serving.servers import Server, ServerGone
from flows.signals import INTERRUPTED, told_to_end
from tasks.board import Entry, read_board

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

LOOK_S = 0.5


def submitted(run: Run, server: Server, what: str, out: Console, err: Console) -> int:
    """Hand a prepared sweep to the runner and follow it; the exit status is that of `palms run`."""
    os.environ["PREFECT_API_URL"] = f"{server.url}/api"
    began = time.monotonic()
    with out.status("handing it to the runner"):
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelling

        board = BoardFile(run.folder / "state.json", time.time())
    try:
        with get_client(sync_client=True) as client:
            flow_run = _hand_in(run, client)
            out.print(what, highlight=False)
            out.print(f"watch, cancel, retry: {server.url}/runs/flow-run/{flow_run}", highlight=False)
            cancel = partial(client.set_flow_run_state, flow_run, Cancelling())
            with told_to_end(cancel), watching(board, out):
                state = beside(partial(_await_end, client, flow_run), run.home, server)
    except ServerGone as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        err.print(f"what was finished is kept: palms rerun {run.dag.sweep}", highlight=False)
        os._exit(1)
    if state.is_cancelled():
        err.print(f"cancelled; what was finished is kept, and `palms rerun {run.dag.sweep}` goes on from there", highlight=False)
        return INTERRUPTED
    if state.name == "Skipped":  # somebody else was faster
        err.print(f"[red]error:[/red] {escape(str(state.message))}", highlight=False)
        return 2
    if not board.entries():  # it ended before it began
        err.print(f"[red]failed[/red]  {escape(str(state.message))}", highlight=False)
        return 1
    print_outcome(run, time.monotonic() - began, out, err)
    if not state.is_completed() and not any(entry.state == "failed" for entry in board.entries()):
        err.print(f"[red]failed[/red]  {escape(str(state.message))}; log: {run.session.options.log}", highlight=False)
    return 0 if state.is_completed() else 1


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


@dataclass(frozen=True)
class BoardFile:
    """The board of a sweep that another process runs, as it writes it; empty until that has begun."""

    path: Path
    since: float  # older states are those of an earlier run

    def entries(self) -> list[Entry]:
        try:
            return read_board(self.path) if self.path.stat().st_mtime >= self.since else []
        except FileNotFoundError:
            return []
