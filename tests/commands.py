"""The `palms` command in a process that had imported other people's libraries before it was asked for: forked from a server, one a test process.

Of the 13 CPU seconds of a run that makes nothing, 5 are imports of torch, pandas, scipy and MLflow. Nothing of this project is imported
before the fork, and nothing that reads PALMS_HOME as it is imported (Prefect, transformers, matplotlib). `sweeps.COMMAND` begins with a
fresh interpreter, as users' commands do.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).parents[1]
LIBRARIES = ("pandas", "scipy.stats", "torch", "mlflow.store.tracking.sqlalchemy_store", "typer", "rich.table", "jinja2", "yaml")
SERVER = "from tests.commands import end, serve; serve({}); from flows.cli import main; end(main)"


def environment(home: Path) -> dict[str, str]:
    """Whatever the shell says, this project's modules are compiled once, and not by the process of every stage anew."""
    once = {"PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **once, "PALMS_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def run(home: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with nothing to read."""
    _, line = _server()
    with tempfile.TemporaryDirectory() as folder:
        told = [Path(folder) / name for name in ("stdout", "stderr")]
        asked = [list(arguments), environment(home), str(Path.cwd()), *map(str, told)]
        print(json.dumps(asked), file=line, flush=True)
        pid = int(line.readline())
        try:
            status = line.readline()
        except BaseException:  # the test's time is over
            os.kill(pid, signal.SIGKILL)
            line.readline()
            raise
        out, err = (path.read_text(encoding="utf-8") for path in told)
    return subprocess.CompletedProcess(list(arguments), int(status), out, err)


@cache
def _server() -> tuple[subprocess.Popen[bytes], IO[str]]:
    """It, and the line to it: it ends when this process does."""
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER.format(theirs.fileno())],
            env=environment(Path(os.devnull)) | {"DO_NOT_TRACK": "true"},  # which MLflow reads as it is imported
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return server, ours.makefile("rw")


# ---- in the server ----------------------------------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Fork a process for each line that asks for one, and tell its number and how it ended. Returns in those processes alone."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # or each process copies what it inherits, page by page, for the collector's marks
    line = socket.socket(fileno=descriptor)
    for asked in line.makefile():
        if not (pid := os.fork()):
            _become(*json.loads(asked))
            return
        line.sendall(f"{pid}\n".encode())
        line.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    sys.exit()


def _become(arguments: list[str], environment: dict[str, str], folder: str, *told: str) -> None:
    """The process of a command: its words, its environment, its folder, its outputs."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    for descriptor, path in enumerate(told, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)


def end(main: Callable[[], None]) -> NoReturn:
    """Run it, and end as an interpreter does, but for taking apart what was inherited: 0.4 s, and 2 s before it was frozen."""
    status: object = 0
    try:
        main()
    except SystemExit as told:
        status = told.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)
