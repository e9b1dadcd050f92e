"""The machine's threads, memory and GPUs as slots, shared by all who run stages on it: each slot is a file, held by a lock of the kernel.

A holder that dies, however it does, holds nothing any longer. Slots are of a user: of others' work nothing is known.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from configs.problems import BadInput
from flows.engine.lock import locked
from tasks.contract import Resources

LOOK_S = 0.1
MOST_OF_MEMORY = 256  # slots, each a file; taking some looks at all


def folder() -> Path:
    """Where this user's slots lie, on every machine its own place; made where it is not there.

    Raises:
        BadInput: it is another's.
    """
    place = Path(tempfile.gettempdir()) / f"palms-slots-{os.getuid()}"
    if not os.path.lexists(place):
        place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or not place.is_dir() or place.stat().st_uid != os.getuid():
        raise BadInput(
            f"{place}: is no folder of this user's; it is where the machine's cores are shared out: move it away, or set TMPDIR"
        )
    return place


def memory_slot_gib(machine_gib: float) -> int:
    """How much a slot of memory stands for, of a machine's own memory: the same for whoever runs stages there, whatever he may take."""
    return math.ceil(machine_gib / MOST_OF_MEMORY)


class Slots:
    """`total`: what there is; of memory one slot every `memory_gib`. `gpus`: their names, where they have any but their numbers."""

    def __init__(self, place: Path, total: Resources, gpus: Sequence[str] = (), memory_gib: int = 1) -> None:
        self.place, self.memory_gib = place, memory_gib
        self.names: dict[str, Sequence[int | str]] = {
            "thread": range(total.threads),
            "memory": range(math.ceil(total.memory_gib / memory_gib)),
            "gpu": gpus or range(total.gpus),
        }

    @contextmanager
    def held(
        self, need: Resources, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Mapping[str, list[int | str]] | None]:
        """Hold as many as are needed, all of a kind where that is more than there are; yields which, or None once `stopped`. Nobody takes any
        while another waits for his: who needs much is not passed by for ever."""
        wanted = {"thread": need.threads, "memory": math.ceil(need.memory_gib / self.memory_gib), "gpu": need.gpus}
        had = None
        with ExitStack() as kept:
            while had is None and not stopped():
                with locked(self.place / "queue", wait=False) as mine:
                    while mine and not stopped() and (had := self._taken(wanted, kept)) is None:
                        time.sleep(LOOK_S)
                if not mine:
                    time.sleep(LOOK_S)
            yield had

    def _taken(self, wanted: Mapping[str, int], kept: ExitStack) -> dict[str, list[int | str]] | None:
        """By kind, which were taken, and their locks into `kept`; None, and nothing held, where too few are free."""
        with ExitStack() as locks:
            had = {kind: list(islice(self._free(kind, locks), count)) for kind, count in wanted.items()}
            if any(len(had[kind]) < min(count, len(self.names[kind])) for kind, count in wanted.items()):
                return None
            kept.push(locks.pop_all())
            return had

    def _free(self, kind: str, locks: ExitStack) -> Iterator[int | str]:
        """The slots of a kind that nobody has, each locked as it is given."""
        for name in self.names[kind]:
            with ExitStack() as one:
                if one.enter_context(locked(self.place / f"{kind}.{str(name).replace('/', '_')}", wait=False)):
                    locks.push(one.pop_all())
                    yield name
