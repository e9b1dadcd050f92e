"""The processes that stand beside sweeps, on loopback: the Prefect server, the MLflow server, the runner of deployments.

Sweeps need a Prefect server with a database of its own: the ephemeral one loses task runs at exit. One that `palms up` has started
is used, else one is started for the time of a run. Leaves what runs on them to `flows.sweep`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from rich.console import Console

from flows.engine.databases import require_databases
from flows.engine.home import Home
from flows.engine.ownership import process_start
from flows.engine.room import LEAST_MIB, NoRoom, full
from flows.engine.servers import PORTS, Server, ServerFailed, ask, folder_of, log_of, running

START_LIMIT_S = 60.0  # a first start creates the databases: 3 to 12 s were seen on two cores


def start(home: Home, name: str, port: int | None = None) -> Server:
    """Start one without waiting for it; it ends with this process, however that ends.

    Raises:
        BadInput: a database that is named for it, or for the tracker, does not answer.
    """
    require_databases()
    folder = folder_of(home, name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the databases hold what others may not read, such as the addresses of webhooks
    with contextlib.ExitStack() as held:
        command, passed, chosen = ["flows.serving.runner"], list[int](), 0
        if name in PORTS:
            # taken here and handed on: between a look for a free port and its use another user could listen there, and be told the secret
            listening = held.enter_context(_listening(port))
            passed, chosen = [listening.fileno()], listening.getsockname()[1]
            command = ["flows.serving.served", name, str(listening.fileno())]
        log = held.enter_context(log_of(home, name).open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PALMS_HOME": str(home.root)},
            pass_fds=passed,
            umask=0o077 if passed else -1,  # what sweeps make is the user's to share
            preexec_fn=_end_with_parent,
        )
    return Server(name, process.pid, chosen, process_start(process.pid) or 0.0)


def await_health(home: Home, server: Server) -> None:
    """Raises ServerFailed when the server died or did not answer in time, NoRoom where a full disk may be why."""
    log = log_of(home, server.name)
    deadline = time.monotonic() + START_LIMIT_S
    while not server.answers():
        if not server.is_ours():
            if said := full(home.root, LEAST_MIB):
                raise NoRoom(said)
            raise ServerFailed(f"the {server.name} server ended at start; its log: {log}")
        if time.monotonic() > deadline:
            server.stop()
            raise ServerFailed(
                f"the {server.name} server did not answer on {server.url} within {START_LIMIT_S:g} s; its log: {log}"
            )
        time.sleep(0.1)


@contextlib.contextmanager
def prefect_server(home: Home) -> Iterator[Server]:
    """The Prefect server of this home; one that is started here is stopped at the end. Yields before it answers."""
    server = running(home, "prefect")
    if server is not None:
        yield server
        return
    server = start(home, "prefect")
    try:
        yield server
    finally:
        server.stop()


_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the thread that started this process (the main one) is gone: prctl(PR_SET_PDEATHSIG)."""
    _libc.prctl(1, signal.SIGTERM)


def _listening(port: int | None) -> socket.socket:
    """On that port if it is free, else on any."""
    for wanted in (port or 0, 0):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", wanted))
    raise ServerFailed("no port of 127.0.0.1 can be listened on")


@contextlib.contextmanager
def orchestrator(out: Console) -> Iterator[Home]:
    """The Prefect server of this home, in PREFECT_API_URL as Prefect's clients read it.

    Raises:
        ServerFailed: it did not come up.
    """
    home = Home.open()
    home.settle_environment()
    with prefect_server(home) as server:
        ask(home, server)
        with out.status("starting the orchestrator"):
            await_health(home, server)
        yield home
