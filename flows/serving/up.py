"""`palms up`: the orchestrator, the tracker and the runner on loopback, started together and stopped together.

They are children of this command and end with it, however it ends. Knows how to wait for them; what each is, `flows.serving.servers` knows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.ownership import Owner
from flows.engine.servers import NAMES, PORTS, STOP_LIMIT_S, Server, ServerFailed, keep, log_of, note_of, noted, running
from flows.serving.interruption import SIGNALS
from flows.serving.servers import await_health, start

LOOK_S = 0.5
NAME = "up"  # as the command itself is noted
DETACHED_LIMIT_S = 150.0
SWEEPS_LIMIT_S = 60.0


def up_command(home: Home, out: Console) -> None:
    """Start everything, say where it is, and stay until told to end.

    Raises:
        BadInput: it is up already.
        ServerFailed: a part did not come up, or ended by itself.
    """
    told = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: told.set())
    with _sole(home):
        me, started = Owner.me(), list[Server]()
        keep(home, Server(NAME, me.pid, 0, me.started))  # first: `palms down` can end a start
        try:
            for server in _start_all(home, started, told):
                out.print(_line(server), highlight=False)
            if not told.is_set():
                out.print("`palms run` and the schedules use them; Ctrl-C (or `palms down`) stops them together", highlight=False)
            while not told.wait(LOOK_S):
                if gone := next((server for server in started if not server.is_ours()), None):
                    raise ServerFailed(f"{gone.name} ended by itself; its log: {log_of(home, gone.name)}")
        finally:
            if any(server.name == "runner" for server in started):
                out.print("stopping; running sweeps are cancelled, and what they finished is kept", highlight=False)
            orchestrated = all(server.is_ours() for server in started if server.name == "prefect")
            for server in reversed(started):
                # the runner's sweeps come to their end first; without the orchestrator it would ask for it for a minute
                server.stop(SWEEPS_LIMIT_S if server.name == "runner" and orchestrated else STOP_LIMIT_S)
            for name in (*NAMES, NAME):
                note_of(home, name).unlink(missing_ok=True)


def _start_all(home: Home, started: list[Server], told: threading.Event) -> Iterator[Server]:
    """The runner needs the orchestrator; each is yielded once it answers."""
    for name, port in PORTS.items():
        started.append(start(home, name, port))
    for server in list(started):
        await_health(home, server)
        keep(home, server)
        yield server
        if server.name == "prefect":
            os.environ["PREFECT_API_URL"] = f"{server.url}/api"
            started.append(start(home, "runner"))
    runner = started[-1]
    while not told.is_set() and running(home, "runner") is None:
        if not runner.is_ours():
            raise ServerFailed(f"the runner ended at start; its log: {log_of(home, 'runner')}")
        time.sleep(LOOK_S)
    yield runner


def detach(home: Home, out: Console) -> None:
    """`palms up` in the background; returns when it is up.

    Raises:
        ServerFailed: it did not come up.
    """
    log = home.root / "up.log"
    with log.open("ab") as stream:
        command = [sys.executable, "-c", "from flows.cli import main; main()", "up"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    deadline = time.monotonic() + DETACHED_LIMIT_S
    while any(running(home, name) is None for name in (NAME, *NAMES)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            raise ServerFailed(f"it did not come up; its log: {log}")
        time.sleep(LOOK_S)
    for name in NAMES:
        if server := running(home, name):
            out.print(_line(server), highlight=False)
    out.print("`palms down` stops them", highlight=False)


def down(home: Home) -> Iterator[str]:
    """Stop what `palms up` started and wait for its end."""
    server = running(home, NAME)
    if server is None:
        yield "nothing is up"
    else:
        os.kill(server.pid, signal.SIGTERM)
        while server.is_ours():
            time.sleep(LOOK_S)
        yield "stopped"
    for name in (*NAMES, NAME):  # of one that was killed
        if (left := noted(home, name)) is None or not left.is_ours():
            note_of(home, name).unlink(missing_ok=True)


def _line(server: Server) -> str:
    where = f"{server.url}   " if server.port else "serves sweep/palms      "
    return f"{server.name:8} {where}(pid {server.pid})"


@contextmanager
def _sole(home: Home) -> Iterator[None]:
    with locked(home.root / ".up", wait=False) as had:
        if not had:
            raise BadInput(f"`palms up` is up already for PALMS_HOME={home.root}; `palms down` stops it")
        yield
