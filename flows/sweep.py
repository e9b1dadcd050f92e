"""A sweep as Prefect flows: what all sizes share, every size at once, the comparison; each followed by its tracking.

Order, concurrency, retries and states are Prefect's; what a node is comes from `flows.dag`, how it runs from
`flows.engine.prefect_tasks`. The flow here is for the run that a command of this process has prepared; the runner's is
`flows.serving.unattended`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, cast

from prefect import Task, allow_failure, flow, get_client, task
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger

from flows.artifact import publish
from flows.claim import note
from flows.engine import projected
from flows.engine.moved import settle
from flows.engine.prefect_tasks import submit, verdict
from flows.engine.session import Session
from flows.prepared import Run
from flows.request import Request
from tasks.contract import Node

_prepared: dict[Request, Run] = {}  # by a command of this process
_running: dict[str, Run] = {}  # by sweep id


def run_sweep(run: Run) -> State[Any]:
    """Run a prepared sweep to its end and return the flow's final state.

    The flow run is made first, with its name, and noted: a command that was killed between a nameless one and its note left it
    pending for ever.
    """
    _prepared[run.request] = run
    with get_client(sync_client=True) as client:
        parameters = sweep.serialize_parameters({"request": run.request})
        made = client.create_flow_run(sweep, name=run.dag.sweep, parameters=parameters)
    note(run, flow_run=made.id)
    return cast(State[Any], run_flow(sweep, flow_run=made, parameters={"request": run.request}, return_type="state"))


@flow(name="sweep")
def sweep(request: Request) -> State[Any]:
    """The sweep that was prepared for this request."""
    return conduct(_prepared[request])


def conduct(run: Run) -> State[Any]:
    name, session = run.dag.sweep, run.session
    if run.experiment.tracking.uri is None:
        settle(run.home)
    _running[name] = run
    with side_by_side(run) as sizes:
        shared = submit(run.dag.shared, session)
        session.wait_for(list(run.dag.comparison.upstream.values()))  # or it would be shown as running from the first second
        compared = submit([run.dag.comparison], session)
    tracked = start(track_sweep, "track", compared, session, name)
    came_of_it = verdict([*shared, *compared, tracked], session, run.dag.nodes, f"palms rerun {name}")
    try:
        publish(run)
    except Exception:  # what came of the sweep does not hang on its picture
        get_run_logger().exception("the comparison could not be published")
    if came_of_it.is_completed():
        for one in sizes:
            one.result().result()  # a fault outside any stage, such as tracking, raises here
    return came_of_it


@flow(name="size", flow_run_name="{model} of {sweep_id}", validate_parameters=False)
def size(sweep_id: str, model: str) -> State[Any]:
    """One rung of a ladder: the model, its arms, what they say, and how that is judged."""
    run = _running[sweep_id]
    run.begun[model].set()
    run.go.wait()
    stages = submit(run.dag.sizes[model], run.session)
    tracked = start(track_size, f"track · {model}", stages, run.session, sweep_id, model)
    return verdict([*stages, tracked], run.session, run.dag.sizes[model], f"palms rerun {sweep_id}")


@task(name="track", persist_result=False)
def track_size(sweep_id: str, model: str) -> None:
    with _noted(_running[sweep_id]) as run:
        tracked = run.tracked()
        if projected.shown(run.home, tracked) is None:
            from flows.engine import tracking  # with MLflow

            tracking.project_size(tracked, model)


@task(name="track", persist_result=False)
def track_sweep(sweep_id: str) -> None:
    with _noted(_running[sweep_id]) as run:
        tracked = run.tracked()
        if projected.shown(run.home, tracked) is None:
            from flows.engine import registry, tracking

            tracking.project_sweep(tracked)
            registry.register(run.home, tracked)
            projected.keep(run.home, tracked, *tracking.run_ids(tracked))


@contextmanager
def _noted(run: Run) -> Iterator[Run]:
    """That something could not be tracked stays known: `palms rerun` then has something to do, though all stages are there."""
    try:
        yield run
    except Exception:
        run.session.untracked = True
        raise


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
            futures.append(pool.submit(copy_context().run, size, run.dag.sweep, model, return_state=True))  # type: ignore[arg-type]
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
