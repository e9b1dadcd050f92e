"""Being told to end: Ctrl-C, SIGTERM, a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit status then, as shells have it: 128 and the number of SIGINT
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told_to_end(act: Callable[[], object]) -> Iterator[None]:
    """Do `act` when this process is told to end, and go on: the block comes to its end in order. A second signal ends it at once."""

    def heard(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=act).start()  # not here: the main thread may hold a lock that this needs

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
