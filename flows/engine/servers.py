"""The servers beside sweeps, as they noted themselves, and whether something answers at an address.

Starts none: `flows.serving.servers` does.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

import certifi

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.notes import read_note
from flows.engine.ownership import process_start
from flows.engine.secret import credentials
from tasks.contract import canonical, replace_file

PORTS = {"prefect": 4200, "mlflow": 5000}  # if they are free; the runner's own is for its children alone, with a token each
NAMES = (*PORTS, "runner")
STOP_LIMIT_S = 10.0
ANSWER_LIMIT_S = 10.0
LIMIT_S = 3.0
TRIES, BETWEEN_S = 3, 1.0


class ServerFailed(RuntimeError):
    """A server that did not come up, or not any more; the message names its log."""


class ServerGone(ServerFailed):
    """A server that was there and ended while it was needed."""


@dataclass(frozen=True)
class Server:
    name: str  # prefect | mlflow | runner
    pid: int
    port: int  # 0: it listens to nobody
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
        if not self.port:
            return self.is_ours()
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(self.health, timeout=2) as reply:
            return bool(reply.status == 200)
        return False

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        if not self.is_ours():
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if not self.is_ours():
                return
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.killpg(self.pid, signal.SIGKILL)  # its session's leader: its workers as well


def running(home: Home, name: str) -> Server | None:
    """The one that `palms up` started, if it still answers."""
    server = noted(home, name)
    deadline = time.monotonic() + ANSWER_LIMIT_S  # a busy one is no reason to start another over the same database
    while server is not None and server.is_ours():
        if server.answers():
            return server
        if time.monotonic() > deadline:
            break
    return None


def noted(home: Home, name: str) -> Server | None:
    """The one that was noted last, whether or not it lives. Raises Unreadable."""
    note = note_of(home, name)
    return (
        read_note(note, Server, f"{'rm -r' if note.is_dir() else 'rm'} {shlex.quote(str(note))}")
        if os.path.lexists(note)
        else None
    )


def keep(home: Home, server: Server) -> None:
    """Note one that is up, for commands to find."""
    replace_file(note_of(home, server.name), canonical(asdict(server)))


def ask(home: Home, server: Server) -> None:
    """Have Prefect's clients ask this server, with the home's secret: they read both as they are imported."""
    os.environ.update(
        PREFECT_API_URL=f"{server.url}/api",
        PREFECT_API_AUTH_STRING=credentials(home),
        PREFECT_API_SSL_CERT_FILE=str(_one_authority(home)),
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="false",  # our server asks for no such token: a hundred clients of a sweep asked it first
    )


def _one_authority(home: Home) -> Path:
    """A file of one certificate. Every client loads the authorities that it would trust, although it asks 127.0.0.1 in the clear: all of
    certifi's took 28 ms instead of 0.5, some ninety times in a sweep of 22 stages.
    """
    path = home.prefect / "authority.pem"
    if not path.is_file():
        first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")
        replace_file(path, first + end)
    return path


def link(home: Home, server: Server, route: str = "") -> str:
    """Its address, which logs a browser in and leads on to one of its pages; what stands behind # is sent to no server."""
    return f"{server.url}/open#{credentials(home)}{route}" if server.port else ""


def note_of(home: Home, name: str) -> Path:
    return home.root / f"{name}.server.json"


def folder_of(home: Home, name: str) -> Path:
    return home.mlflow if name == "mlflow" else home.prefect


def log_of(home: Home, name: str) -> Path:
    return folder_of(home, name) / ("runner.log" if name == "runner" else "server.log")


def unanswered(url: str, limit_s: float = LIMIT_S) -> str:
    """Why nothing answers there, in a few words; empty if something does, be it with a refusal."""
    why = [f"no answer within {limit_s:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=limit_s):
                why[0] = ""
        except urllib.error.HTTPError as error:
            why[0] = f"status {error.code}" if error.code >= 500 else ""
        except (OSError, ValueError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            why[0] = str(getattr(cause, "strerror", None) or cause)

    asking = threading.Thread(target=ask, daemon=True)  # apart: looking a name up has no time limit of its own
    asking.start()
    asking.join(limit_s)
    return why[0]


def require_tracker(uri: str) -> None:
    """Before a sweep: MLflow's client would ask a server that is not there for minutes, after the first size has been made.

    Raises:
        BadInput: a tracking server is named and does not answer. Databases are not asked.
    """
    if not uri.startswith("http"):
        return
    for _ in range(TRIES):
        if not (why := unanswered(f"{uri.rstrip('/')}/health")):
            return
        time.sleep(BETWEEN_S)
    raise BadInput(f"tracking.uri: {uri} does not answer ({why}); start it, or leave the key out for a database under PALMS_HOME")
