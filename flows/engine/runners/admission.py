"""What stages of one sweep may hold at once: they are let in, in order of arrival, while what they declare fits."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.contract import Resources


class Admission:
    """Lets stages in, in order of arrival, while what they declare fits the machine. One that exceeds it runs alone."""

    def __init__(self, total: Resources) -> None:
        self.total = total
        self._held: list[tuple[float, ...]] = []
        self._queue: list[object] = []
        self._changed = threading.Condition()

    def _fits(self, need: Sequence[float]) -> bool:
        """Summed anew each time: a running sum of memory kept a residue of 1e-16, and what must run alone waited for ever."""
        total = (self.total.threads, self.total.memory_gib, self.total.gpus)
        used = [sum(held) for held in zip(*self._held, strict=True)] or [0.0, 0.0, 0.0]
        return all(u == 0 or u + n <= t for u, n, t in zip(used, need, total, strict=True))

    @contextmanager
    def hold(self, resources: Resources) -> Iterator[None]:
        need, ticket = (resources.threads, resources.memory_gib, resources.gpus), object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._fits(need))
            self._queue.pop(0)
            self._held.append(need)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(need)
                self._changed.notify_all()
