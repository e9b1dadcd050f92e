"""This machine: stages are let in while what they declare fits what this sweep may take, and what others have left of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flows.engine import machine, processes
from flows.engine.processes import INTERRUPTED, Assignment, Crash, Event
from flows.engine.runners.admission import Admission
from flows.engine.runners.slots import Slots, folder, memory_slot_gib
from tasks.contract import Node, Resources


class Local:
    """`most`: what this sweep's stages may take at once. More than the machine has is taken as if it had that."""

    def __init__(self, most: Resources) -> None:
        self.room: Resources | None = most
        self.admission = Admission(most)
        has = machine.memory_gib()
        total = Resources(max(most.threads, machine.cores()), max(most.memory_gib, has))
        self.slots = Slots(folder(), total, machine.gpu_names(), memory_slot_gib(has))

    def ready(self, nodes: Iterable[Node]) -> None:
        """Start the fork server with what these will import; for none of them, none is needed."""
        if stages := {node.stage for node in nodes}:
            processes.warm_up({library for stage in stages for library in stage.libraries})

    def run(
        self, assignment: Assignment, begun: Callable[[], None], on_event: Event, stopped: Callable[[], bool]
    ) -> Crash | None:
        with self.admission.hold(assignment.resources), self.slots.held(assignment.resources, stopped) as mine:
            if mine is None or stopped():
                return INTERRUPTED
            begun()
            # a stage that holds no GPU sees none
            seen = {machine.VISIBLE: ",".join(map(str, mine["gpu"]))} if machine.gpus() else {}
            return processes.run(assignment, on_event, stopped=stopped, environment=seen)

    def stop(self) -> None:
        processes.end_all()
