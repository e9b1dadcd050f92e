"""Work that needs the Prefect server, given up when the server ends: its clients would ask again for a minute, or for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from flows.engine.home import Home
from flows.serving.problems import ServerGone
from flows.serving.servers import Server, log_of

T = TypeVar("T")
LOOK_S = 1.0


def beside(work: Callable[[], T], home: Home, server: Server) -> T:
    """Do the work in a thread, for as long as the server lives.

    Not in the main thread, where Prefect puts a signal handler of its own in the place of ours: a SIGTERM passed without effect
    (3.8.8).

    Raises:
        ServerGone: the server ended first. The thread may go on waiting: the process should end by `os._exit`.
    """
    done: Future[T] = Future()

    def carry() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=carry, name="palms-beside", daemon=True).start()
    while not wait([done], timeout=LOOK_S).done and server.is_ours():
        pass
    if not server.is_ours() and not (done.done() and done.exception() is None):
        raise ServerGone(f"the Prefect server ended under the sweep; its log: {log_of(home, 'prefect')}")
    return done.result()
