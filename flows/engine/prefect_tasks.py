"""A node as a Prefect task run: the one place where the stage contract and the orchestrator meet.

Prefect orders, runs concurrently, retries and shows; the session settles keys and outputs. A hit shows as `Cached`, a node whose
input failed as `Blocked`; a failed one carries its reason. All three are final states. `Blocked` is of Prefect's type Failed: of what did
not complete, `allow_failure` lets nothing else pass to the tasks that wait for it (3.8.8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect import State, Task, allow_failure, runtime, tags, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import exponential_backoff

from flows.engine import explain
from flows.engine.processes import Crash, classify
from flows.engine.session import Blocked, Session, StageFailed, interrupted
from flows.engine.stores.manifest import Manifest
from tasks.contract import Node

AT_ONCE = 256
PAGE = 200  # the server's limit for one answer
RETRIES = 2  # further tries after an error that may pass, or after the process was killed


class Work:
    """A node with its session. A plain class, so that Prefect does not search the whole graph for futures in a parameter."""

    def __init__(self, node: Node, session: Session) -> None:
        self.node, self.session = node, session


def submit(nodes: Sequence[Node], session: Session) -> list[PrefectFuture[Any]]:
    """Give every node its task run once what it reads is settled, and return when all have one; none is given after a stop.

    A task run is a thread, so that no more than AT_ONCE are under way. Nodes that wait for one another do not count: what they wait for could
    not begin.
    """
    told: SimpleQueue[Node | None] = SimpleQueue()  # one of whose inputs is settled; None: a task run has ended
    unsettled = {node: len(node.upstream) for node in nodes}
    for node in nodes:
        for up in node.upstream.values():
            session.then(up, partial(told.put, node))
    futures: dict[Node, PrefectFuture[Any]] = {}
    ready = deque(node for node in nodes if not unsettled[node])
    under_way = 0
    while not session.stopped:
        while ready and (under_way < AT_ONCE or ready[0].together):
            node = ready.popleft()
            futures[node] = _start(node, session, futures)
            if not node.together:
                under_way += 1
                futures[node].add_done_callback(lambda _: told.put(None))
        if len(futures) == len(nodes):
            break
        if (begun := told.get()) is None:
            under_way -= 1
            continue
        unsettled[begun] -= 1
        if not unsettled[begun]:
            (ready.appendleft if begun.together else ready.append)(begun)
    session.task_runs += [future.task_run_id for future in futures.values()]
    return list(futures.values())


def _start(node: Node, session: Session, futures: Mapping[Node, PrefectFuture[Any]]) -> PrefectFuture[Any]:
    waits = [allow_failure(futures[up]) for up in node.upstream.values() if up in futures]  # for the dashboard's graph
    # for each tag a task run asks the server for a slot first: a hit, which needs none, is tagged as it ends
    with tags(*([] if _is_hit(node, session) else run_tags(node))):
        future = stage_run.submit(run_name(node), Work(node, session), wait_for=waits)  # type: ignore[call-overload]
    # a fault of the orchestrator's: what hangs on the node would wait for ever
    future.add_done_callback(lambda _: session.abandon([node], "its task run ended before it"))
    return future


def run_name(node: Node) -> str:
    return " · ".join([node.stage.name, *node.axes.words()])


def run_tags(node: Node) -> list[str]:
    """What the dashboard can be filtered by: `stage:finetune`, `size:gpt2-355m`, `arm:control`."""
    axes = {"stage": node.stage.name, "size": node.axes.model, "arm": node.axes.arm}
    return [f"{axis}:{value}" for axis, value in axes.items() if value is not None]


def _is_hit(node: Node, session: Session) -> bool:
    """Whether its output was found before anything of the sweep was run."""
    return isinstance(session.outcome(node), Manifest)


def _worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailed) and error.attempts_help


@task(
    name="stage",
    task_run_name="{name}",
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_condition_fn=_worth_another_try,
    persist_result=False,
)
def stage_run(name: str, work: Work) -> State[Any]:
    node, session = work.node, work.session
    try:
        return _attempt(node, session)
    except Exception as error:  # a fault of ours too: what hangs on this node must hear of it, or it would wait for ever
        failure = error if isinstance(error, StageFailed) else _fault(node, error)
        if failure.attempts_help and runtime.task_run.run_count <= RETRIES:  # not settled: Prefect will run this again
            session.board.update(node.label, state="waiting", why=f"trying again after: {failure.crash.message}")
        else:
            session.board.update(node.label, state="failed", why=failure.crash.message)
            session.settle(node, failure)
        raise failure from error.__cause__ if failure is error else error


def _fault(node: Node, error: Exception) -> StageFailed:
    kind = classify(error)  # a store that does not answer, for one, may answer again
    return StageFailed(node.label, Crash(kind, f"{type(error).__name__}: {error}"), attempts_help=kind == "transient")


def _attempt(node: Node, session: Session) -> State[Any]:
    if isinstance(found := session.outcome(node), Manifest):
        context = TaskRunContext.get()
        assert context is not None  # this is a task
        context.task_run.tags += run_tags(node)
        return _cached(node, found, session)
    session.wait_for(list(node.upstream.values()))
    if session.stopped:
        raise interrupted(node.label)
    inputs = session.inputs(node)
    if isinstance(inputs, Blocked):
        session.board.update(node.label, state="blocked", why=f"waits for {inputs.because}")
        session.settle(node, inputs)
        return Failed(name="Blocked", message=f"waits for {inputs.because}")
    progress = Progress(node, session)
    while True:
        order = session.order(node, inputs)
        found, why = session.look_up(order)
        if found is not None:
            session.settle(node, found)
            return _cached(node, found, session)
        session.board.update(node.label, key=order.key, why=explain.line(why))
        get_run_logger().info("%s: %s", node.label, explain.line(why))
        session.gather(node)
        if session.stopped:
            raise interrupted(node.label)
        try:
            made = session.group(node).attend(node, order, progress)
        except StageFailed as failure:
            if failure.crash.kind == "memory" and session.store.smaller(order.stage, order.key).exists():
                continue  # the halved shape is another key
            raise
        session.board.update(node.label, state="done")
        progress.end()
        session.settle(node, made)
        return Completed(message=order.key, data=order.key)


def _cached(node: Node, found: Manifest, session: Session) -> State[Any]:
    session.board.update(node.label, state="cached", key=found.key, seconds=found.facts["seconds"])
    return Completed(name="Cached", message=found.key, data=found.key)


class Progress:
    """How far a stage is, in the orchestrator's dashboard: an artifact of its task run, made when the stage first tells of it."""

    def __init__(self, node: Node, session: Session) -> None:
        self._node, self._session = node, session
        self._artifact: UUID | None = None
        self._shown: tuple[int, int] = (0, 0)

    def __call__(self) -> None:
        entry = self._session.board.entry(self._node.label)
        if entry.state == "running" and entry.total and (entry.done, entry.total) != self._shown:
            self._shown = (entry.done, entry.total)
            self._show(100 * entry.done / entry.total, entry.how_far)

    def end(self) -> None:
        if self._artifact is not None:
            self._show(100, "done")

    def _show(self, percent: float, how_far: str) -> None:
        words = f"{self._node.label}: {how_far}"
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, description=words)  # type: ignore[assignment]
            else:
                update_progress_artifact(self._artifact, percent, description=words)
        except (HTTPError, PrefectException) as error:  # a stage does not fail for want of a picture of it
            get_run_logger().warning("its progress could not be shown: %s", error)


def verdict(futures: Sequence[PrefectFuture[Any]], session: Session, nodes: Sequence[Node], remedy: str) -> State[Any]:
    """Wait for task runs, and say what came of them: a flow that only gathered its tasks would end Completed.

    Raises:
        Exception: a fault outside any stage, as the task run left it.
    """
    for future in futures:
        future.wait()
    failures = [outcome for node in nodes if isinstance(outcome := session.outcome(node), StageFailed)]
    if failures and session.stopped:
        return Cancelled(message=f"interrupted; what was finished is kept, and `{remedy}` goes on from there")
    if failures:
        blocked = sum(isinstance(session.outcome(node), Blocked) for node in nodes)
        counts = f"{len(failures)} of {len(nodes)} stages failed" + (
            f", {blocked} could not run because of that" if blocked else ""
        )
        return Failed(message=f"{failures[0]}; {counts}; run again what is missing: {remedy}")
    for future in futures:
        future.result()  # must not pass for success
    cached = sum(session.board.entry(node.label).state == "cached" for node in nodes)
    return Completed(message=f"{len(nodes)} stages, {cached} of them cached")


def unfinished(task_runs: Sequence[UUID]) -> list[UUID]:
    """Which of these Prefect's database does not hold in a final state yet."""
    left = dict.fromkeys(task_runs)
    with get_client(sync_client=True) as client:
        for start in range(0, len(task_runs), PAGE):
            page = TaskRunFilter(id=TaskRunFilterId(any_=list(task_runs[start : start + PAGE])))
            for run in client.read_task_runs(task_run_filter=page, limit=PAGE):
                if run.state is not None and run.state.is_final():
                    left.pop(run.id, None)
    return list(left)
