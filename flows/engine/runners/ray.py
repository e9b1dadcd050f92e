"""A Ray cluster: each process is a task of Ray's, which finds a node with the threads, the memory and the GPUs that it declares.

What the process tells comes back as the task's stream of results. Ray tries nothing again by itself: what an error means, and how often a stage is
tried, is the same on every engine. Prefect's own runner for Ray is not used: it sends task runs, one a stage, and stages here share processes.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from flows.engine import machine
from flows.engine.processes import INTERRUPTED, Assignment, Crash, Event
from flows.engine.runners import remote
from flows.engine.runners.head import Head
from model_registry.scoring.folder import one_line
from tasks.contract import Node, Resources

LOOK_S = 1.0
LOOK_LIMIT_S = 120.0  # for a node's first answer: it starts a worker, which imports this program
# After 60 s without the head node Ray would end this process, whatever it still has to write; read as ray is imported.
OUTLIVE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3600"}


class Ray:
    """
    Args:
        address: `host:port` of the head node, which this machine is a node of.
        folders: that every node must see: the store, and where the sweep's log is.
    """

    def __init__(self, address: str, folders: Sequence[Path]) -> None:
        self.address, self.folders = address, folders
        self.room: Resources | None = None
        self._head = Head("Ray", address)
        self._stopped = False

    @cached_property
    def _ray(self) -> Any:
        os.environ.update(OUTLIVE)
        try:
            import ray
        except ImportError:
            raise BadInput("engine: ray is not installed; `pip install 'palms-sweep[ray]'` installs it") from None
        return ray

    @cached_property
    def _task(self) -> Any:
        """Made once: Ray asks the head node to keep each function that it is given, and waits for that."""
        return self._ray.remote(_told)

    def ready(self, nodes: Iterable[Node]) -> None:
        wanted = list(nodes)
        if not wanted:  # all is there: no cluster is asked
            return
        ray, cluster = self._ray, self._head.cluster
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        try:
            self._head.connect()
            if not ray.is_initialized():
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise BadInput(
                f"{cluster} does not take this program ({one_line(error)}); `ray start --head` starts a cluster"
            ) from None
        alive = [node for node in ray.nodes() if node["Alive"]]
        remote.require_room(cluster, wanted, [_place(node["Resources"]) for node in alive])
        self._terms = remote.Terms.of_here(self.folders, wanted, self)
        asked = [
            ray.remote(remote.lacks)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(self._terms)
            for node in alive
            if node["Resources"].get("CPU")  # of one without any, nothing is asked later either
        ]
        try:
            lacking = ray.get(asked, timeout=LOOK_LIMIT_S)
        except ray.exceptions.RayError as error:
            raise BadInput(f"{cluster}: a node has not this program ({one_line(error)}); its installation is required") from None
        remote.require_none(cluster, lacking)

    def run(
        self, assignment: Assignment, begun: Callable[[], None], on_event: Event, stopped: Callable[[], bool]
    ) -> Crash | None:
        if self._head.gone():
            return self._head.loss
        exceptions, need = self._ray.exceptions, assignment.resources
        told = self._task.options(
            num_cpus=need.threads,
            num_gpus=need.gpus,
            memory=int(need.memory_gib * 2**30),
            max_retries=0,
            num_returns="streaming",
            name=assignment.orders[0].label,
        ).remote(assignment, self._terms)
        try:
            for what, key, value in self._heard(told, lambda: self._stopped or stopped()):
                if what == "end":
                    return value if value is None else Crash(*value)
                if what == "begun":
                    begun()
                else:
                    on_event(what, key, value)
        except exceptions.OutOfMemoryError as error:
            return Crash("memory", one_line(error))
        except exceptions.RayTaskError as error:
            return Crash("deterministic", one_line(error.cause or error), str(error))
        except exceptions.RayError as error:  # a worker or a node that died, by whatever hand
            return (
                self._head.loss if self._head.gone(anew=True) else Crash("killed", f"{type(error).__name__}: {one_line(error)}")
            )
        self._ray.cancel(told, force=True)
        if self._stopped or stopped():
            return INTERRUPTED
        return self._head.loss if self._head.gone(anew=True) else Crash("killed", "its node ended without a word")

    def _heard(self, told: Any, stopped: Callable[[], bool]) -> Iterator[tuple[str, str, Any]]:
        """What a task tells, until it ends, or is no longer wanted, or the head is gone and nothing that it told is left."""
        while not stopped():
            gone = self._head.gone()
            if self._ray.wait([told], timeout=0 if gone else LOOK_S)[0]:
                if (one := next(told, None)) is None:
                    return
                yield self._ray.get(one)
            elif gone:
                return

    def stop(self) -> None:
        self._stopped = True  # each of `run` cancels its own


def _told(assignment: Assignment, terms: remote.Terms) -> Iterator[tuple[str, str, Any]]:
    """Executed on a node: what the process tells, as it tells it, and last how it ended."""
    events: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
    gpus = os.environ.get(machine.VISIBLE, "") if assignment.resources.gpus else ""  # Ray sets it for each task that holds any

    def do() -> None:
        try:
            crash = remote.stage(assignment, terms, gpus, lambda *event: events.put(event), lambda: False)
        except Exception as error:
            events.put(("fault", "", error))
        else:
            events.put(("end", "", crash and (crash.kind, crash.message, crash.trace)))

    threading.Thread(target=do, daemon=True).start()
    while True:
        what, key, value = events.get()
        if what == "fault":
            raise value
        yield what, key, value
        if what == "end":
            return


def _place(resources: Mapping[str, float]) -> Resources:
    return Resources(int(resources.get("CPU", 0)), resources.get("memory", 0.0) / 2**30, int(resources.get("GPU", 0)))
