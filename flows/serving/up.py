"""`palms up`: the orchestrator, the tracker and the runner on loopback, started together and stopped together.

They are children of this command and end with it, however it ends. One that sweeps can do without for a while, the tracker's viewer or
the runner, is started again when it ends by itself. Knows how to wait for them; what each is, `flows.serving.servers` knows.
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
from dataclasses import dataclass, field

from rich.console import Console

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.ownership import Owner
from flows.engine.servers import (
    NAMES,
    PORTS,
    STOP_LIMIT_S,
    Server,
    ServerFailed,
    ask,
    keep,
    log_of,
    note_of,
    noted,
    running,
)
from flows.serving.interruption import SIGNALS
from flows.serving.links import opened, shown
from flows.serving.servers import await_health, start

LOOK_S = 0.5
NAME = "up"  # as the command itself is noted
DETACHED_LIMIT_S = 150.0
SWEEPS_LIMIT_S = 60.0
SETTLED_S = 60.0  # one that has been up for so long counts as well again
TRIES = 5  # to start one that ends each time sooner; the pause before each is twice the last one's
PAUSE_S = 1.0


@dataclass
class Part:
    """One of them, with how often it has ended soon after its start."""

    server: Server
    began: float = field(default_factory=time.monotonic)
    ends: int = 0
    again: float | None = None  # when it is to be started anew


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
        me, parts = Owner.me(), list[Part]()
        keep(home, Server(NAME, me.pid, 0, me.started))  # first: `palms down` can end a start
        try:
            for server in _start_all(home, parts, told):
                out.print(_line(server, shown(home, server, out)), highlight=False)
            if not told.is_set():
                out.print("`palms run` and the schedules use them; Ctrl-C (or `palms down`) stops them together", highlight=False)
            while not told.wait(LOOK_S):
                for part in parts:
                    for line in _look_after(home, part):
                        out.print(f"{time.strftime('%F %T')}  {line}", style="yellow", highlight=False)
        finally:
            started = [part.server for part in parts]
            if any(server.name == "runner" for server in started):
                out.print("stopping; running sweeps are cancelled, and what they finished is kept", highlight=False)
            orchestrated = all(server.is_ours() for server in started if server.name == "prefect")
            for server in reversed(started):
                # the runner's sweeps come to their end first; without the orchestrator it would ask for it for a minute
                server.stop(SWEEPS_LIMIT_S if server.name == "runner" and orchestrated else STOP_LIMIT_S)
            for name in (*NAMES, NAME):
                note_of(home, name).unlink(missing_ok=True)


def _look_after(home: Home, part: Part) -> Iterator[str]:
    """Start one anew that has ended by itself, and say so.

    Raises:
        ServerFailed: without this one nothing goes on.
    """
    name, now = part.server.name, time.monotonic()
    if part.server.is_ours():
        return
    ended = f"{name} ended by itself; its log: {log_of(home, name)}"
    if name == "prefect":
        raise ServerFailed(f"{ended}; `palms up` starts everything anew, and `palms rerun` goes on with a sweep")
    if part.again is None:
        part.ends = 1 if now - part.began > SETTLED_S else part.ends + 1
        note_of(home, name).unlink(missing_ok=True)
        if part.ends > TRIES:
            if name == "runner":
                raise ServerFailed(
                    f"{ended}; it did so {part.ends} times in a row: `palms up` tries anew, `palms run` needs no runner"
                )
            part.again = float("inf")
            yield f"{ended}; it did so {part.ends} times in a row and is given up, all else goes on; `palms down` and `palms up` try anew"
            return
        part.again = now + PAUSE_S * 2 ** (part.ends - 1)
        yield f"{ended}; it is started again"
    if now >= part.again:
        part.began, part.again = now, None
        try:
            part.server = start(home, name, part.server.port or None)
            if name != "runner":  # which notes itself once it serves
                keep(home, part.server)
        except OSError as error:  # counts as one more end
            yield f"{name} could not be started: {error}"


def _start_all(home: Home, parts: list[Part], told: threading.Event) -> Iterator[Server]:
    """The runner needs the orchestrator; each is yielded once it answers."""
    for name, port in PORTS.items():
        parts.append(Part(start(home, name, port)))
    for server in [part.server for part in parts]:
        await_health(home, server)
        keep(home, server)
        yield server
        if server.name == "prefect":
            ask(home, server)
            parts.append(Part(start(home, "runner")))
    runner = parts[-1].server
    while not told.is_set() and running(home, "runner") is None:
        if not runner.is_ours():
            raise ServerFailed(f"the runner ended at start; its log: {log_of(home, 'runner')}")
        time.sleep(LOOK_S)
    yield runner


def detach(home: Home, out: Console) -> None:
    """`palms up` in the background; returns when it is up, or was up already.

    Raises:
        ServerFailed: it did not come up.
    """
    log = home.root / "up.log"
    awaited = None
    if running(home, NAME) is None:
        with log.open("ab") as stream:
            command = [sys.executable, "-c", "from flows.cli import main; main()", "up"]
            awaited = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    deadline = time.monotonic() + DETACHED_LIMIT_S
    for name in NAMES:
        with out.status(f"starting {name}"):  # 12 to 25 s all together
            while (server := running(home, name)) is None and awaited is not None:
                if awaited.poll() is not None or time.monotonic() > deadline:
                    awaited.terminate()
                    raise ServerFailed(f"it did not come up; its log: {log}")
                time.sleep(LOOK_S)
        if server is None:
            out.print(f"{name:8} not up; what became of it: {log}", style="yellow", highlight=False)
        else:
            out.print(_line(server, opened(home, server)), highlight=False)
    out.print("`palms down` stops them; whoever has a link may do what you may", highlight=False)


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


def _line(server: Server, where: str) -> str:
    return f"{server.name:8} {where or 'serves sweep/palms'}   (pid {server.pid})"


@contextmanager
def _sole(home: Home) -> Iterator[None]:
    with locked(home.root / ".up", wait=False) as had:
        if not had:
            raise BadInput(f"`palms up` is up already for PALMS_HOME={home.root}; `palms down` stops it")
        yield
