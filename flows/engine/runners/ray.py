"""A Ray cluster: each process is a task of Ray's, which finds a node with the threads, the memory and the GPUs that it declares.

What the process tells comes back as the task's stream of results. Ray tries nothing again by itself: what an error means, and how often a stage is
tried, is the same on every engine. Prefect's own runner for Ray is not used: it sends task runs, one a stage, and stages here share processes.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from flows.engine.processes import INTERRUPTED, Assignment, Crash, Event
from flows.engine.runners import remote
from model_registry.scoring.folder import one_line
from tasks.contract import Node, Resources

ANSWER_LIMIT_S = 5.0
LOOK_LIMIT_S = 120.0  # for a node's first answer: it starts a worker, which imports this program


class Ray:
    """
    Args:
        address: `host:port` of the head node, which this machine is a node of.
        folders: that every node must see: the store, and where the sweep's log is.
    """

    def __init__(self, address: str, folders: Sequence[Path]) -> None:
        self.address, self.folders = address, folders
        self.room: Resources | None = None
        self._live: set[Any] = set()
        self._changing = threading.Lock()

    @cached_property
    def _ray(self) -> Any:
        try:
            import ray
        except ImportError:
            raise BadInput("engine: ray is not installed; `pip install 'palms-sweep[ray]'` installs it") from None
        return ray

    def ready(self, nodes: Iterable[Node]) -> None:
        wanted = list(nodes)
        if not wanted:  # all is there: no cluster is asked
            return
        ray, cluster = self._ray, f"cluster: Ray at {self.address}"
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), ANSWER_LIMIT_S).close()
            if not ray.is_initialized():
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"{cluster} does not take this program ({one_line(error)}); `ray start --head` starts a cluster"
            ) from None
        alive = [node for node in ray.nodes() if node["Alive"]]
        remote.require_room(cluster, wanted, [_place(node["Resources"]) for node in alive])
        with remote.signs(self.folders) as signs:
            asked = [
                self._on(node["NodeID"]).remote(signs)
                for node in alive
                if node["Resources"].get("CPU")  # of one without any, nothing is asked later either
            ]
            try:
                found = ray.get(asked, timeout=LOOK_LIMIT_S)
            except ray.exceptions.RayError as error:
                raise BadInput(
                    f"{cluster}: a node has not this program ({one_line(error)}); its installation is required"
                ) from None
            remote.require_same(cluster, found, remote.has(signs))

    def _on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return self._ray.remote(remote.has).options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )

    def run(
        self, assignment: Assignment, begun: Callable[[], None], on_event: Event, stopped: Callable[[], bool]
    ) -> Crash | None:
        exceptions, need = self._ray.exceptions, assignment.resources
        with self._changing:
            if stopped():
                return INTERRUPTED
            told = (
                self._ray.remote(_told)
                .options(
                    num_cpus=need.threads,
                    num_gpus=need.gpus,
                    memory=int(need.memory_gib * 2**30),
                    max_retries=0,
                    num_returns="streaming",
                    name=assignment.orders[0].label,
                )
                .remote(assignment, remote.environment())
            )
            self._live.add(told)
        try:
            for one in told:
                what, key, value = self._ray.get(one)
                if what == "end":
                    return value if value is None else Crash(*value)
                if what == "begun":
                    begun()
                else:
                    on_event(what, key, value)
        except exceptions.TaskCancelledError:
            return INTERRUPTED
        except exceptions.OutOfMemoryError as error:
            return Crash("memory", one_line(error))
        except exceptions.RayTaskError as error:
            return Crash("deterministic", one_line(error.cause or error), str(error))
        except exceptions.RayError as error:  # a worker or a node that died, by whatever hand
            return INTERRUPTED if stopped() else Crash("killed", f"{type(error).__name__}: {one_line(error)}")
        finally:
            with self._changing:
                self._live.discard(told)
        return Crash("killed", "its node ended without a word")

    def stop(self) -> None:
        with self._changing:
            for told in self._live:
                self._ray.cancel(told, force=True)


def _told(assignment: Assignment, given: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Executed on a node: what the process tells, as it tells it, and last how it ended."""
    events: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()

    def do() -> None:
        try:
            crash = remote.stage(assignment, given, lambda *event: events.put(event), lambda: False)
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
