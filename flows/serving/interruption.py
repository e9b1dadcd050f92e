"""How running work is ended from outside: a signal (Ctrl-C, SIGTERM, a terminal that is closed), or a server that is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from flows.engine.home import Home
from flows.engine.room import NoRoom
from flows.engine.servers import Server, ServerGone, log_of

T = TypeVar("T")
LOOK_S = 1.0
INTERRUPTED = 130  # the exit status then, as shells have it: 128 and the number of SIGINT
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told_to_end(act: Callable[[], object]) -> Iterator[None]:
    """Do `act` when this process is told to end, and go on: the block comes to its end in order. A second signal ends it at once."""

    def heard(number: int, frame: object) -> None:
        signal.signal(number, at_once)
        threading.Thread(target=act).start()  # not here: the main thread may hold a lock that this needs

    def at_once(number: int, frame: object) -> None:
        if sys.stdout is not None and sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the bars hid the cursor
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def beside(work: Callable[[], T], home: Home, server: Server, wrong: Callable[[], str]) -> T:
    """Work that needs the Prefect server and a disk, in a thread, for as long as both are there: clients would ask for a minute, or for
    ever. `wrong` says what is wrong with the folders, if something is.

    Not in the main thread, where Prefect puts a signal handler of its own in the place of ours: a SIGTERM passed without effect
    (3.8.8).

    Raises:
        ServerGone: the server ended first. The thread may go on waiting: the process should end by `os._exit`.
        NoRoom: the folders cannot be written to any more; likewise.
    """
    done: Future[T] = Future()

    def carry() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=carry, name="palms-beside", daemon=True).start()
    while not wait([done], timeout=LOOK_S).done and server.is_ours():
        if said := wrong():
            raise NoRoom(said)
    if (said := wrong()) and not (done.done() and done.exception() is None):
        raise NoRoom(said)  # a server that ended of it is no cause
    if not server.is_ours() and not (done.done() and done.exception() is None):
        raise ServerGone(f"the Prefect server ended under the sweep; its log: {log_of(home, 'prefect')}")
    return done.result()
