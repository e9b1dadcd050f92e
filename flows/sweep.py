"""A sweep as Prefect flows: what all sizes share, then every size at once, then the comparison, each followed by its tracking.

Order, concurrency, retries and states are Prefect's; what a node is comes from `flows.dag`, how it runs from `tasks.stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import Task, allow_failure, flow, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runs import Run, open_run
from tasks import tracking
from tasks.session import Session
from tasks.stage import finish, submit


def run_sweep(run: Run) -> State[Any]:
    """Run one sweep to its end and return the flow's final state."""
    tasks = len(run.dag.shared) + len(run.dag.sizes) + 2
    return sweep.with_options(task_runner=threads(tasks))(run.dag.sweep, return_state=True)


@flow(name="sweep", flow_run_name="{sweep_id}", validate_parameters=False)
def sweep(sweep_id: str) -> None:
    run = open_run(sweep_id)
    shared = submit(run.dag.shared, run.session)
    sizes = [start(one_size, model, [], run.session, sweep_id, model) for model in run.dag.sizes]
    compared = submit([run.dag.comparison], run.session)
    tracked = start(track_sweep, "track", [*shared, *sizes, *compared], run.session, sweep_id)
    finish([*shared, *sizes, *compared, tracked], run.session, run.dag.nodes)


@flow(name="size", flow_run_name="{model}", validate_parameters=False)
def size(sweep_id: str, model: str) -> None:
    run = open_run(sweep_id)
    stages = submit(run.dag.sizes[model], run.session)
    tracked = start(track_size, f"track · {model}", stages, run.session, sweep_id, model)
    finish([*stages, tracked], run.session, run.dag.sizes[model])


@task(name="size", persist_result=False)
def one_size(sweep_id: str, model: str) -> None:
    """A flow inside a task, so that sizes run side by side."""
    stages = len(open_run(sweep_id).dag.sizes[model])
    size.with_options(task_runner=threads(stages + 1))(sweep_id, model)


@task(name="track", persist_result=False)
def track_size(sweep_id: str, model: str) -> None:
    tracking.project_size(open_run(sweep_id).tracked(), model)


@task(name="track", persist_result=False)
def track_sweep(sweep_id: str) -> None:
    tracking.project_sweep(open_run(sweep_id).tracked())


def start(what: Task[..., Any], name: str, after: Sequence[PrefectFuture[Any]], session: Session, *arguments: Any) -> PrefectFuture[Any]:
    """Submit a task that is no stage; it runs whatever came of the ones before it."""
    future = what.with_options(task_run_name=name).submit(*arguments, wait_for=[allow_failure(f) for f in after])
    session.task_runs.append(future.task_run_id)
    return future


def threads(count: int) -> ThreadPoolTaskRunner[Any]:
    """A thread a task run: they wait for their stage's process, and admission decides how many of those there are at once."""
    return ThreadPoolTaskRunner(max_workers=count)
