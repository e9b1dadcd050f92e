"""What Prefect's database holds of the task runs of this process."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId

PAGE = 200  # the server's limit for one answer


def unfinished(task_runs: Sequence[UUID]) -> int:
    """How many of these are not recorded in a final state yet."""
    left = len(task_runs)
    with get_client(sync_client=True) as client:
        for start in range(0, len(task_runs), PAGE):
            page = TaskRunFilter(id=TaskRunFilterId(any_=list(task_runs[start : start + PAGE])))
            found = client.read_task_runs(task_run_filter=page, limit=PAGE)
            left -= sum(run.state is not None and run.state.is_final() for run in found)
    return left
