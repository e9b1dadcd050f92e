"""What a run that died left behind, brought to an end: its flow and task runs crashed, its tracked runs killed.

A run notes its process when it starts and that it has ended when it has; one whose process is gone without the second note was
killed, or its machine went away. Locks need no care: the kernel frees them. Partial work stays, and the next run goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from flows.engine.dead import Dead
from flows.engine.prefect_tasks import PAGE

BEGUN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]
UNFINISHED = [kind for kind in StateType if kind not in TERMINAL_STATES]


def reconcile(dead: Sequence[Dead], *, spare: UUID | None = None) -> list[str]:
    """Bring dead runs to an end, and say so, a line each. The Prefect server must be up.

    `spare` is the flow run that this is done in: it bears the sweep's name as well.
    """
    lines = []
    for run in dead:
        gone = f"its process (pid {run.owner.pid}) is gone"
        with get_client(sync_client=True) as client:
            flows = [flow for flow in _left_by(client, run) if flow.id != spare]
            crashed = _crash(client, flows, gone)
        marked = f"sweep {run.sweep}: {gone}; marked {crashed} flow and task runs crashed"
        from flows.engine import tracking  # with MLflow, of which a home without dead runs has no need

        try:
            killed = tracking.kill(run.tracking, run.sweep)
        except Exception as error:  # of whatever client the tracker has; another sweep must not wait for this one's
            first_line = (str(error).splitlines() or [""])[0]
            lines.append(f"{marked}; its tracker could not be told ({type(error).__name__}: {first_line})")
            continue  # and will be told by the next one
        run.settle()
        lines.append(f"{marked} and {killed} tracked runs killed")
    return lines


def crash_abandoned(client: SyncPrefectClient, deployment: UUID) -> int:
    """Bring to an end what an earlier runner had begun; for a new runner, before it begins anything."""
    begun = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=BEGUN)),
    )
    return _crash(client, _flow_runs(client, begun), "its runner is gone")


def _left_by(client: SyncPrefectClient, run: Dead) -> list[FlowRun]:
    """By its id, else by its name, which is the sweep's: tags would cost every task run a question for a slot."""
    if run.flow_run:
        return _flow_runs(client, FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run.flow_run)])))
    begun = FlowRunFilterState(type=FlowRunFilterStateType(any_=BEGUN))
    return _flow_runs(client, FlowRunFilter(name=FlowRunFilterName(any_=[run.sweep]), state=begun))


def _flow_runs(client: SyncPrefectClient, wanted: FlowRunFilter) -> list[FlowRun]:
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(found), sort=FlowRunSort.ID_DESC):
        found += page
    return found


def _crash(client: SyncPrefectClient, above: Sequence[FlowRun], why: str) -> int:
    """Flow runs, the ones below them and their task runs; tasks first, so that a flow never ends before what it started."""
    if not above:
        return 0
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    parents = FlowRunFilterParentFlowRunId(any_=[flow.id for flow in above])
    sizes = _flow_runs(client, FlowRunFilter(parent_flow_run_id=parents, state=running))
    flows = [*sizes, *(flow for flow in above if flow.state_type in UNFINISHED)]
    left = TaskRunFilter(
        flow_run_id=TaskRunFilterFlowRunId(any_=[flow.id for flow in (*sizes, *above)]),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=UNFINISHED)),
    )
    crashed = 0
    while tasks := client.read_task_runs(task_run_filter=left, limit=PAGE):
        for task in tasks:
            client.set_task_run_state(task.id, Crashed(message=why), force=True)
        crashed += len(tasks)
    for flow in flows:
        client.set_flow_run_state(flow.id, Crashed(message=why), force=True)
    return crashed + len(flows)
