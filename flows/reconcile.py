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
from prefect.states import Crashed

from flows.dead import Dead
from tasks import tracking

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
        killed = tracking.kill(run.tracking, run.sweep)
        run.settle()
        lines.append(f"sweep {run.sweep}: {gone}; marked {crashed} flow and task runs crashed and {killed} tracked runs killed")
    return lines


def _left_by(client: SyncPrefectClient, run: Dead) -> list[FlowRun]:
    """By its id, else by its name, which is the sweep's: tags would cost every task run a question for a slot."""
    if run.flow_run:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run.flow_run)])))
    begun = FlowRunFilterState(type=FlowRunFilterStateType(any_=BEGUN))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[run.sweep]), state=begun))


def _crash(client: SyncPrefectClient, above: Sequence[FlowRun], why: str) -> int:
    """Flow runs, the ones below them and their task runs; tasks first, so that a flow never ends before what it started."""
    if not above:
        return 0
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    parents = FlowRunFilterParentFlowRunId(any_=[flow.id for flow in above])
    sizes = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parents, state=running))
    flows = [*sizes, *(flow for flow in above if flow.state_type in UNFINISHED)]
    left = TaskRunFilter(
        flow_run_id=TaskRunFilterFlowRunId(any_=[flow.id for flow in (*sizes, *above)]),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=UNFINISHED)),
    )
    tasks = client.read_task_runs(task_run_filter=left)
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=why), force=True)
    for flow in flows:
        client.set_flow_run_state(flow.id, Crashed(message=why), force=True)
    return len(tasks) + len(flows)
