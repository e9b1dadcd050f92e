"""The `palms` command in a process that had imported other people's libraries before it was asked for: forked from a server, one a test process.

Of the 13 CPU seconds of a run that makes nothing, 5 are imports of torch, pandas, scipy and MLflow. Nothing of this project is imported
before the fork, and the command sees nothing that reads PALMS_HOME as it is imported (Prefect, transformers, matplotlib). What a run starts
beside itself grows from seeds that it forks as it begins: its fork server (4.5 CPU seconds of imports in a fresh interpreter) and its
Prefect server. One of a kind; whatever starts in the place of one that died is an interpreter of its own. `sweeps.COMMAND` begins with a
fresh interpreter, as users' commands do, and so does everything that it starts, each with a hash seed of its own.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from multiprocessing import util
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "pandas",
    "scipy.stats",
    "torch",
    "mlflow.store.tracking.sqlalchemy_store",
    "docket",
    "typer",
    "rich.table",
    "jinja2",
    "yaml",
)
OF_STAGES = ("transformers", "peft", "accelerate")  # the fork server's; a command that wants them imports them anew
READ_AT_IMPORT = (*OF_STAGES, "huggingface_hub")
FREE_FROM = 512  # descriptors from here on are held by nobody
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
            # what MLflow and the hub's client read as they are imported; a stage that looked for the hub's cache would find no folder
            env={"HF_HOME": f"{os.devnull}/hub", **environment(Path(os.devnull)), "DO_NOT_TRACK": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return server, ours.makefile("rw")


# ---- in the server ----------------------------------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Fork a process for each line that asks for one, and tell its number and how it ended. Returns in those processes alone."""
    for name in (*LIBRARIES, *OF_STAGES):
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
    as_imported = _of_the_hub(os.environ) == _of_the_hub(environment)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    for descriptor, path in enumerate(told, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    if as_imported:
        util.spawnv_passfds = partial(_fork_server, _Seed())
    _Popen.seeds = [_Seed()]
    subprocess.Popen = _Popen  # type: ignore[misc]
    _unseen.update({name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in READ_AT_IMPORT})


_unseen: dict[str, Any] = {}  # kept: to free them would take time


def _of_the_hub(environment: Mapping[str, str]) -> dict[str, str]:
    """What is read as its client is imported, but for the folder, which every home sets."""
    return {name: value for name, value in environment.items() if name.startswith("HF_") and name != "HF_HOME"}


class _Seed:
    """A process that waits to be told what it is to be, with all that was imported when it was forked; it ends with the one that forked it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid: int | None = os.fork()
        if self.pid:
            theirs.close()
            return
        self._line.close()
        order, held, *_ = socket.recv_fds(theirs, 2**20, 8)
        if not order:
            os._exit(0)
        util.spawnv_passfds, subprocess.Popen = _spawn, _popen  # type: ignore[misc]
        grow(held, **pickle.loads(order))

    def become(self, descriptors: dict[int, int], arguments: Sequence[str], **more: Any) -> int:
        """Its number; `descriptors`: of those that it is to have, by which number, the ones here."""
        order = {"numbers": list(descriptors), "arguments": list(arguments), "mask": signal.pthread_sigmask(signal.SIG_BLOCK, [])}
        socket.send_fds(self._line, [pickle.dumps(order | more)], list(descriptors.values()))
        self._line.close()
        pid, self.pid = self.pid, None
        assert pid is not None
        return pid


_spawn, _popen = util.spawnv_passfds, subprocess.Popen


def _fork_server(seed: _Seed, path: bytes, arguments: Sequence[str], passed: Sequence[int]) -> int:
    """In the place of `multiprocessing.util.spawnv_passfds`."""
    if seed.pid is None or "forkserver" not in arguments[-1]:
        return _spawn(path, arguments, passed)
    return seed.become({one: one for one in passed}, arguments[-2:], environment=dict(os.environ), folder=str(Path.cwd()))


class _Popen(subprocess.Popen[Any]):
    """The Prefect server grows from a seed, as long as there is one."""

    seeds: list[_Seed]

    def __init__(self, args: Any, *more: Any, **given: Any) -> None:
        if not (isinstance(args, list) and args[1:4] == ["-m", "flows.serving.served", "prefect"] and self.seeds):
            super().__init__(args, *more, **given)
            return
        super().__init__("true")  # the state of one that has been started
        self.wait()
        self.args, self.returncode = args, None
        said = given["stdout"].fileno()
        descriptors = {1: said, 2: said} | {one: one for one in given["pass_fds"]}
        self.pid = self.seeds.pop().become(
            descriptors,
            args[1:],
            environment=given["env"],
            folder=str(given["cwd"]),
            begin=given["preexec_fn"],
            umask=given["umask"],
            session=given["start_new_session"],
        )


def grow(
    held: Sequence[int],
    numbers: Sequence[int],
    arguments: Sequence[str],
    mask: set[int],
    environment: dict[str, str],
    folder: str,
    begin: Callable[[], None] = lambda: None,
    umask: int = -1,
    session: bool = False,
) -> NoReturn:
    """Become what `python ARGUMENTS` would be, with these descriptors by these numbers and no others past the standard ones."""
    apart = [fcntl.fcntl(one, fcntl.F_DUPFD, FREE_FROM) for one in held]
    os.closerange(3, FREE_FROM)
    for one, number in zip(apart, numbers, strict=True):
        os.dup2(one, number)
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if session:
        os.setsid()
    if umask >= 0:
        os.umask(umask)
    begin()
    kind, what, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-c":
        end(partial(exec, what, {"__name__": "__main__"}))
    end(partial(runpy.run_module, what, run_name="__main__", alter_sys=True))


def end(main: Callable[[], object]) -> NoReturn:
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
