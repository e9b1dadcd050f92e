"""The Prefect and MLflow servers on loopback: used if they are up, started for the time of a run if not.

Sweeps need a Prefect server with a database of its own: the ephemeral one loses task runs at exit. Knows processes and addresses;
leaves what runs on them to `flows.sweep`.
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
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from flows.home import Home
from flows.owner import process_start
from tasks.contract import canonical, read_json, replace_file

# One transaction an event, as by default, locks SQLite against the flows' own requests: they were answered 503 and retried, and a
# sweep of 164 cached stages took 20 to 32 s. Batches keep the database free.
BATCHES = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "0.5",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
}
START_LIMIT_S = 60.0  # a first start creates the databases: 3 to 12 s were seen on two cores


class ServerFailed(RuntimeError):
    """A server that did not come up; the message names its log."""


class ServerGone(ServerFailed):
    """A server that was there and ended while it was needed."""


@dataclass(frozen=True)
class Server:
    name: str  # prefect | mlflow
    pid: int
    port: int
    started: float  # of the process, as the kernel counts it: a pid alone may have been given to another

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def health(self) -> str:
        return f"{self.url}/api/health" if self.name == "prefect" else f"{self.url}/health"

    def is_ours(self) -> bool:
        return process_start(self.pid) == self.started

    def answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(self.health, timeout=2) as reply:
            return bool(reply.status == 200)
        return False

    def stop(self) -> None:
        if not self.is_ours():
            return
        os.kill(self.pid, signal.SIGTERM)
        for _ in range(100):
            if not self.is_ours():
                return
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)


def running(home: Home, name: str) -> Server | None:
    """The server that `palms ui` left running, if it still answers."""
    path = home.root / f"{name}.server.json"
    if not path.exists():
        return None
    server = Server(**read_json(path))
    return server if server.is_ours() and server.answers() else None


def start(home: Home, name: str, port: int | None = None, *, stays: bool = True) -> Server:
    """Start a server in the background without waiting for it. One that does not stay ends with this process, however it ends."""
    chosen = port if port is not None and _is_free(port) else _free_port()
    folder = home.prefect if name == "prefect" else home.mlflow
    folder.mkdir(parents=True, exist_ok=True)
    if name == "prefect":
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(chosen)]
    else:
        artifacts = folder / "artifacts"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(chosen), "--workers", "1"]
        command += ["--backend-store-uri", home.tracking_uri(), "--default-artifact-root", str(artifacts)]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **BATCHES},
            preexec_fn=None if stays else _end_with_parent,
        )
    return Server(name, process.pid, chosen, process_start(process.pid) or 0.0)


def await_health(home: Home, server: Server) -> None:
    """Raises ServerFailed when the server died or did not answer in time."""
    log = (home.prefect if server.name == "prefect" else home.mlflow) / "server.log"
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


def keep(home: Home, server: Server) -> None:
    """Note a server that stays up, for later commands to find."""
    replace_file(home.root / f"{server.name}.server.json", canonical(asdict(server)))


@contextlib.contextmanager
def prefect_server(home: Home) -> Iterator[Server]:
    """The Prefect server of this home; one that is started here is stopped at the end. Yields before it answers."""
    server = running(home, "prefect")
    if server is not None:
        yield server
        return
    server = start(home, "prefect", stays=False)
    try:
        yield server
    finally:
        server.stop()


def _end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the thread that started this process (the main one) is gone: prctl(PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
