"""Where a stage's process runs: on this machine, or on the nodes of a cluster.

The session says what is to be done and hears what comes of it; a runner finds the place, waits until there is room, and has `flows.engine.processes`
start the process there. Keys, retries and the store are no runner's business, and no stage knows which one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from flows.engine.processes import Assignment, Crash, Event
from tasks.contract import Node, Resources


class Runner(Protocol):
    @property
    def room(self) -> Resources | None:
        """What stages may take at once; None where nobody was asked yet."""

    def ready(self, nodes: Iterable[Node]) -> None:
        """Be told what is to be made, before anything is.

        Raises:
            BadInput: there is no such cluster, it does not fit this program, or none of its nodes has what one of these needs.
        """

    def run(
        self, assignment: Assignment, begun: Callable[[], None], on_event: Event, stopped: Callable[[], bool]
    ) -> Crash | None:
        """Do the work once there is room, and return how it failed, or None; `begun` is called as it starts. Called from many threads."""

    def stop(self) -> None:
        """End every process that it started; their partial work stays."""
