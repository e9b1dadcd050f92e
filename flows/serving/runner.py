"""The deployment of the sweep flow, and the runner that serves it: `python -m flows.serving.runner`, which `palms up` starts.

What is scheduled or handed in while no runner is up waits in the orchestrator's database. Runs that a schedule made for a time at
which none was up are not caught up on.
"""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner

from flows.engine.dead import dead_runs
from flows.engine.home import Home
from flows.engine.ownership import Owner
from flows.engine.reconcile import crash_abandoned, reconcile
from flows.engine.servers import Server, keep
from flows.request import DEPLOYMENT
from flows.serving.unattended import sweep

NAME = DEPLOYMENT.partition("/")[2]
POLL_S = 2.0  # how long what is handed in waits to be picked up, at most


def deployment() -> RunnerDeployment:
    made = RunnerDeployment.from_flow(
        sweep,
        NAME,
        description="A sweep of model sizes. While `palms up` is up, it can be run, scheduled, cancelled and retried from here.",
        version=version("palms-sweep"),
        entrypoint_type=EntrypointType.MODULE_PATH,
        enforce_parameter_schema=True,
    )
    made.model_fields_set.discard(
        "schedules"
    )  # else an empty list is sent, and a schedule without a slug makes the server drop all
    return made


def deployed(client: SyncPrefectClient) -> UUID:
    """The deployment's id; it is made if no runner has been up yet."""
    try:
        return client.read_deployment_by_name(DEPLOYMENT).id
    except ObjectNotFound:
        made = deployment().apply()
        assert isinstance(made, UUID)
        client.pause_deployment(made)  # until a runner is up
        return made


def make_runs(client: SyncPrefectClient, deployment: UUID) -> None:
    """Make the coming runs of its schedules now: the scheduler does it once in a while. Those that are there stay."""
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json={}).raise_for_status()


async def serve(home: Home) -> None:
    """Serve the deployment until this process is told to end; its sweeps are then cancelled."""
    runner = Runner(name=NAME, query_seconds=POLL_S, limit=None, pause_on_shutdown=True)
    served = await runner.aadd_deployment(deployment())
    with get_client(sync_client=True) as client:
        client.pause_deployment(served)  # drops the runs that nobody was there for
        client.resume_deployment(served)
        make_runs(client, served)
        abandoned = crash_abandoned(client, served)
    for line in (*reconcile(dead_runs(home)), f"flow and task runs of an earlier runner marked crashed: {abandoned}"):
        print(line, flush=True)
    me = Owner.me()
    keep(home, Server("runner", me.pid, 0, me.started))
    await runner.start()


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_COLORS", "false")
    asyncio.run(serve(Home.open()))
