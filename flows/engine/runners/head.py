"""Whether the head node of a cluster, or its scheduler, is still there: asked of its address, whatever the engine's client believes.

Ray's client ends the whole program some time after it lost the head node, and Dask's closes itself. Before that stages fail, each with a line
that says why, and the program lives to write what came of them.
"""

from __future__ import annotations

import socket
import threading
import time

from flows.engine.processes import Crash

ANSWER_LIMIT_S = 5.0
LOOK_S = 1.0  # from one look to the next
TRIES = 3  # a second apart, before it is given up: one that is started anew at once is another cluster's beginning, and no end


class Head:
    """`engine`: as people write it. `address`: `host:port`. Asked from many threads."""

    def __init__(self, engine: str, address: str) -> None:
        self.cluster = f"cluster: {engine} at {address}"
        host, _, port = address.rpartition(":")
        self._place = (host, int(port))
        self._asking = threading.Lock()
        self._looked = 0.0
        self._gone = False

    @property
    def loss(self) -> Crash:
        """What befalls a stage; trying again by itself helps nothing."""
        return Crash("deterministic", f"{self.cluster} is gone; with it up again, or with --set engine=local, a rerun goes on")

    def connect(self) -> None:
        """Raises OSError where nobody answers."""
        socket.create_connection(self._place, ANSWER_LIMIT_S).close()

    def gone(self, *, anew: bool = False) -> bool:
        """Whether nobody answers any longer, however often asked; once gone, it stays so. Blocks for some seconds before it says that. `anew`:
        also where it answered within the last second."""
        with self._asking:
            if not self._gone and (anew or time.monotonic() - self._looked >= LOOK_S):
                self._gone = not any(self._answers() for _ in range(TRIES))
                self._looked = time.monotonic()
            return self._gone

    def _answers(self) -> bool:
        try:
            self.connect()
        except OSError:
            time.sleep(LOOK_S)
            return False
        return True
