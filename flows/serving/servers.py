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

from flows.engine.home import Home
from flows.engine.ownership import process_start
from flows.engine.servers import PORTS, Server, ServerFailed, folder_of, log_of, running

# One transaction an event, as by default, locks SQLite against the flows' own requests: they were answered 503 and retried, and a
# sweep of 164 cached stages took 20 to 32 s. Batches keep the database free. Whole seconds: Prefect 3.8.8 cuts 0.5 to 0, and its idle
# server then took a whole core (1.00 against 0.02).
BATCHES = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
}
START_LIMIT_S = 60.0  # a first start creates the databases: 3 to 12 s were seen on two cores


def start(home: Home, name: str, port: int | None = None) -> Server:
    """Start one without waiting for it; it ends with this process, however that ends."""
    chosen = 0
    if name in PORTS:
        chosen = port if port is not None and _is_free(port) else _free_port()
    folder = folder_of(home, name)
    folder.mkdir(parents=True, exist_ok=True)
    with log_of(home, name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *_command(home, name, chosen)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **BATCHES, "PALMS_HOME": str(home.root), **_own_address(name, chosen)},
            preexec_fn=_end_with_parent,
        )
    return Server(name, process.pid, chosen, process_start(process.pid) or 0.0)


def _own_address(name: str, port: int) -> dict[str, str]:
    """Without it Prefect's dashboard asks port 4200, whichever it is served from, and notices name no page."""
    if name != "prefect":
        return {}
    # the database from its own folder: a `?` in the home's name has no place in such an address
    database = "sqlite+aiosqlite:///prefect.db"
    return {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_DATABASE_CONNECTION_URL": database}


def _command(home: Home, name: str, port: int) -> list[str]:
    if name == "prefect":
        return ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    if name == "mlflow":
        from flows.engine import tracking

        tracking.settle(home)
        # from its own folder: a `?` in the home's name has no place in such an address
        where = ["--backend-store-uri", "sqlite:///mlflow.db", "--default-artifact-root", (home.mlflow / "artifacts").as_uri()]
        return ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *where]
    return ["flows.serving.runner"]


def await_health(home: Home, server: Server) -> None:
    """Raises ServerFailed when the server died or did not answer in time."""
    log = log_of(home, server.name)
    deadline = time.monotonic() + START_LIMIT_S
    while not server.answers():
        if not server.is_ours():
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


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def orchestrator(out: Console) -> Iterator[Home]:
    """The Prefect server of this home, in PREFECT_API_URL as Prefect's clients read it.

    Raises:
        ServerFailed: it did not come up.
    """
    home = Home.open()
    home.settle_environment()
    with prefect_server(home) as server:
        os.environ["PREFECT_API_URL"] = f"{server.url}/api"
        with out.status("starting the orchestrator"):
            await_health(home, server)
        yield home
