"""A sweep as Prefect flows: what all sizes share, every size at once, the comparison; each followed by its tracking.

Order, concurrency, retries and states are Prefect's; what a node is comes from `flows.dag`, how it runs from `tasks.stage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, cast

from prefect import Task, allow_failure, flow, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.runs import Run, open_run
from tasks import tracking
from tasks.contract import Node
from tasks.session import Session
from tasks.stage import finish, submit


def run_sweep(run: Run) -> State[Any]:
    """Run one sweep to its end and return the flow's final state."""
    return sweep.with_options(task_runner=threads(len(run.dag.shared) + 2))(run.dag.sweep, return_state=True)


@flow(name="sweep", flow_run_name="{sweep_id}", validate_parameters=False)
def sweep(sweep_id: str) -> None:
    run = open_run(sweep_id)
    with side_by_side(run) as sizes:
        shared = submit(run.dag.shared, run.session)
        compared = submit([run.dag.comparison], run.session)
    tracked = start(track_sweep, "track", compared, run.session, sweep_id)
    finish([*shared, *compared, tracked], run.session, run.dag.nodes)
    for one in sizes:
        one.result().result()  # the thread's result is the flow's state; a failed one raises


@flow(name="size", flow_run_name="{model}", validate_parameters=False)
def size(sweep_id: str, model: str) -> None:
    run = open_run(sweep_id)
    run.begun[model].set()
    run.go.wait()
    stages = submit(run.dag.sizes[model], run.session)
    tracked = start(track_size, f"track · {model}", stages, run.session, sweep_id, model)
    finish([*stages, tracked], run.session, run.dag.sizes[model])


@task(name="track", persist_result=False)
def track_size(sweep_id: str, model: str) -> None:
    tracking.project_size(open_run(sweep_id).tracked(), model)


@task(name="track", persist_result=False)
def track_sweep(sweep_id: str) -> None:
    tracking.project_sweep(open_run(sweep_id).tracked())


@contextmanager
def side_by_side(run: Run) -> Iterator[list[Future[State[Any]]]]:
    """Every size as a subflow in a thread of its own, the largest first, from here to the end of the block.

    Not as tasks that call the flow, which Prefect would run side by side by itself: a subflow's stages would join the calling task's
    transaction, and one failed stage turned the states of the good ones into `RolledBack` (seen with 3.8.8). They begin one after the
    other, and no stage before all have begun: a flow run that is created while the server records task runs finds SQLite locked and
    is tried again only seconds later.
    """
    with ThreadPoolExecutor(max_workers=len(run.dag.sizes), thread_name_prefix="palms-size") as pool:
        futures: list[Future[State[Any]]] = []
        for model, nodes in reversed(list(run.dag.sizes.items())):
            chosen = size.with_options(task_runner=threads(len(nodes) + 1))
            futures.append(pool.submit(copy_context().run, chosen, run.dag.sweep, model, return_state=True))  # type: ignore[arg-type]
            futures[-1].add_done_callback(partial(_abandon, run, nodes))
            while not futures[-1].done() and not run.begun[model].wait(0.02):
                pass
        run.go.set()
        try:
            yield futures
        except BaseException:
            run.session.stop()  # or the block would wait for sizes that wait for what never comes
            raise


def _abandon(run: Run, nodes: Sequence[Node], _ended: Future[State[Any]]) -> None:
    run.session.abandon(nodes, "the flow of its size ended before it")


def start(
    what: Task[..., Any], name: str, after: Sequence[PrefectFuture[Any]], session: Session, *arguments: Any
) -> PrefectFuture[Any]:
    """Submit a task that is no stage; it runs whatever came of the ones before it."""
    future = what.with_options(task_run_name=name).submit(*arguments, wait_for=[allow_failure(f) for f in after])
    session.task_runs.append(future.task_run_id)
    return future


def threads(count: int) -> TaskRunner[PrefectFuture[Any]]:
    """A thread a task run: they wait for their stage's process, and admission decides how many of those there are at once."""
    return cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=count))
