"""A Dask cluster: each process is a task of Dask's, on a worker that has what it declares free.

Dask's workers tell by themselves what they have (`--resources`), and are daemons unless told otherwise, which may start no processes: `WORKER`
starts one. What a process tells comes back as events of one topic. Why Prefect's own runner is not used stands in `ray`.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from configs.problems import BadInput
from flows.engine import machine
from flows.engine.processes import INTERRUPTED, Assignment, Crash, Event
from flows.engine.runners import remote
from flows.engine.runners.head import ANSWER_LIMIT_S, Head
from flows.engine.runners.slots import Slots, folder
from model_registry.scoring.folder import one_line
from tasks.contract import Node, Resources

LOOK_S = 1.0
LAST_WORDS_S = 30.0  # from a task's end to the arrival of what it told
WORKER = 'DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker HOST:PORT --resources "threads=2 memory=24 gpus=0"'


class Dask:
    """
    Args:
        address: `host:port` of the scheduler.
        folders: that every node must see: the store, and where the sweep's log is.
    """

    def __init__(self, address: str, folders: Sequence[Path]) -> None:
        self.address, self.folders = address, folders
        self.room: Resources | None = None
        self._head = Head("Dask", address)
        self._topic = f"palms-{uuid4().hex}"
        self._heard: dict[str, queue.SimpleQueue[list[Any]]] = {}
        self._stopped = False
        self._client: Any = None

    def ready(self, nodes: Iterable[Node]) -> None:
        wanted = list(nodes)
        if not wanted:  # all is there: no cluster is asked
            return
        try:
            from distributed import Client
        except ImportError:
            raise BadInput("engine: dask is not installed; `pip install 'palms-sweep[dask]'` installs it") from None
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told of in one line of ours
        cluster = self._head.cluster
        try:
            self._client = Client(self.address, timeout=ANSWER_LIMIT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BadInput(f"{cluster} does not answer ({one_line(error)}); `dask scheduler` starts one") from None
        weakref.finalize(self, self._client.close)
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise BadInput(f"{cluster} has no worker; `{WORKER}` starts one")
        if silent := next((worker for worker in workers if not worker["resources"].get("threads")), None):
            raise BadInput(f"{cluster}: worker {silent['id']} does not tell what it has; `{WORKER}` starts one that does")
        remote.require_room(cluster, wanted, [_place(worker["resources"]) for worker in workers])
        self._terms = remote.Terms.of_here(self.folders, wanted, self)
        try:
            daemons = self._client.run(_is_daemon)
            lacking = self._client.run(remote.lacks, self._terms)
        except Exception as error:  # whatever the import of this program raises there
            raise BadInput(
                f"{cluster}: a worker has not this program ({one_line(error)}); its installation is required"
            ) from None
        if stern := next((address for address, daemon in daemons.items() if daemon), None):
            raise BadInput(f"{cluster}: worker {stern} may start no processes; `{WORKER}` starts one that may")
        remote.require_none(cluster, lacking.values())

    def _gone(self) -> bool:
        """The scheduler is asked once the client has lost it, and not before: it would note each connection that is opened for nothing."""
        return self._client.status != "running" and (self._head.gone(anew=True) or self._client.status == "closed")

    def run(
        self, assignment: Assignment, begun: Callable[[], None], on_event: Event, stopped: Callable[[], bool]
    ) -> Crash | None:
        if self._gone():
            return self._head.loss
        name, need = uuid4().hex, assignment.resources
        heard = self._heard[name] = queue.SimpleQueue()
        declared = {"threads": need.threads, "memory": need.memory_gib} | ({"gpus": need.gpus} if need.gpus else {})
        self._client.subscribe_topic(
            self._topic, partial(_sort, self._heard)
        )  # each time: a scheduler that was started anew knows of none
        future = self._client.submit(
            _do,
            assignment,
            self._terms,
            self._topic,
            name,
            key=f"{assignment.orders[0].label}-{name}",
            pure=False,
            resources=declared,
        )
        ended: float | None = None
        try:
            while not (stopped() or self._stopped):
                gone = self._gone()
                try:
                    what, key, value = heard.get(timeout=0 if gone else LOOK_S)
                except queue.Empty:
                    if gone:
                        return self._head.loss
                    if future.status in {"error", "cancelled", "lost"}:
                        return self._head.loss if self._gone() else _lost(future)
                    ended = ended or (time.monotonic() if future.done() else None)
                    if ended is not None and time.monotonic() - ended > LAST_WORDS_S:
                        return Crash("killed", "what its worker told did not arrive")
                    continue
                if what == "end":
                    return None if value is None else Crash(*value)
                if what == "begun":
                    begun()
                else:
                    on_event(what, key, value)
            return INTERRUPTED
        finally:
            future.cancel()
            del self._heard[name]

    def stop(self) -> None:
        self._stopped = True  # each of `run` cancels its own


def _sort(heard: Mapping[str, queue.SimpleQueue[list[Any]]], event: tuple[float, Any]) -> None:
    """Each process's events to who waits for them. No method: a client that held its runner would keep it, and itself, for ever."""
    name, *told = event[1]
    if name in heard:
        heard[name].put(told)


def _do(assignment: Assignment, terms: remote.Terms, topic: str, name: str) -> None:
    """Executed on a worker, which lets a task run on that nobody waits for any longer: it is looked at, and ended."""
    from distributed.worker import WORKER_ANY_RUNNING, get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def tell(*event: Any) -> None:
        worker.log_event(topic, [name, *event])

    def stopped() -> bool:
        task = worker.state.tasks.get(key)  # kept by one that closes, for want of a scheduler
        return task is None or task.state == "cancelled" or worker.status not in WORKER_ANY_RUNNING

    with _gpus(assignment.resources.gpus, int(worker.state.total_resources.get("gpus", 0)), stopped) as gpus:
        crash = remote.stage(assignment, terms, gpus, tell, stopped)
    tell("end", "", crash and [crash.kind, crash.message, crash.trace])


@contextmanager
def _gpus(need: int, declared: int, stopped: Callable[[], bool]) -> Iterator[str]:
    """CUDA's names of those that a stage gets, which none of this machine's workers gives another one meanwhile. Dask only counts them."""
    if not need:
        yield ""
        return
    (place := folder() / "dask").mkdir(exist_ok=True)  # apart: who waits for threads in the folder itself lets nobody by
    slots = Slots(place, Resources(0, 0.0, declared), machine.gpu_names())
    with slots.held(Resources(0, 0.0, need), stopped) as mine:
        yield ",".join(map(str, mine["gpu"])) if mine else ""


def _is_daemon() -> bool:
    return multiprocessing.current_process().daemon


def _lost(future: Any) -> Crash:
    error = future.exception() if future.status == "error" else None
    if error is None or type(error).__name__ == "KilledWorker":
        return Crash("killed", "its worker died" if error is None else f"KilledWorker: {one_line(error)}")
    return Crash("deterministic", f"{type(error).__name__}: {one_line(error)}")


def _place(resources: Mapping[str, float]) -> Resources:
    return Resources(int(resources.get("threads", 0)), float(resources.get("memory", 0)), int(resources.get("gpus", 0)))
