"""The machine's threads, memory and GPUs as slots, shared by all who run stages on it: each slot is a file, held by a lock of the kernel.

A holder that dies, however it does, holds nothing any longer. Slots are of a user: of others' work nothing is known.
"""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from configs.problems import BadInput
from flows.engine.lock import locked
from tasks.contract import Resources

LOOK_S = 0.1


def folder() -> Path:
    """Where this user's slots lie, on every machine its own place; made where it is not there.

    Raises:
        BadInput: it is another's.
    """
    place = Path(tempfile.gettempdir()) / f"palms-slots-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise BadInput(
            f"{place}: is not this user's; it is where the machine's cores are shared out: move it away, or set TMPDIR"
        )
    return place


class Slots:
    """`total`: how many there are; of memory one a GiB."""

    def __init__(self, place: Path, total: Resources) -> None:
        self.place = place
        self.total = {"thread": total.threads, "memory": math.ceil(total.memory_gib), "gpu": total.gpus}

    @contextmanager
    def held(self, need: Resources, stopped: Callable[[], bool] = lambda: False) -> Iterator[Mapping[str, list[int]] | None]:
        """Hold as many as are needed, all of a kind where that is more than there are; yields which, or None once `stopped`. Nobody takes any
        while another waits for his: who needs much is not passed by for ever."""
        wanted = {"thread": need.threads, "memory": math.ceil(need.memory_gib), "gpu": need.gpus}
        had = None
        while had is None and not stopped():
            with locked(self.place / "queue", wait=False) as mine:
                while mine and not stopped() and (had := self._taken(wanted)) is None:
                    time.sleep(LOOK_S)
            if not mine:
                time.sleep(LOOK_S)
        try:
            yield None if had is None else {kind: [slot for slot, _ in some] for kind, some in had.items()}
        finally:
            _free(had or {})

    def _taken(self, wanted: Mapping[str, int]) -> dict[str, list[tuple[int, int]]] | None:
        """By kind, slots and the descriptors that hold them; None, and nothing held, where too few are free."""
        had: dict[str, list[tuple[int, int]]] = {}
        for kind, count in wanted.items():
            some = had[kind] = []
            for slot in range(self.total[kind]):
                if len(some) < count and (descriptor := _lock(self.place / f"{kind}.{slot}")) is not None:
                    some.append((slot, descriptor))
            if len(some) < min(count, self.total[kind]):
                _free(had)
                return None
        return had


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _free(had: Mapping[str, list[tuple[int, int]]]) -> None:
    for some in had.values():
        for _, descriptor in some:
            os.close(descriptor)
