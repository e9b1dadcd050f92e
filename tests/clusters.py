"""Real clusters on loopback: a Ray head and its raylets, or a Dask scheduler and its workers, each of one thread and 8 GiB, as a user starts them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import commands, sweeps

SETTINGS = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "RAY_AUTH_MODE": "disabled"}
BIN = Path(sys.executable).parent
GIB = 8


class Cluster:
    """`engine`: ray or dask. Its nodes are processes that lead a session each."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.started: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        """The scheduler, with no room for stages."""
        port = self.address.rpartition(":")[2]
        if self.engine == "ray":
            of_its_own = (
                "--include-dashboard=false",
                f"--temp-dir={self.folder}",
                f"--port={port}",
                "--num-cpus=0",
                "--memory=0",
            )
            self._start("ray", "start", "--head", *self._ray(), *of_its_own, until="Ray runtime started")
        else:
            self._start("dask", "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", until="Scheduler at")

    def join(self, threads: int = 1, gib: int = GIB, gpus: int = 0, code: Path = commands.ROOT) -> subprocess.Popen[bytes]:
        """One more node; the GPUs that it declares need not be there. `code`: the checkout that it has."""
        if self.engine == "ray":
            room = (f"--num-cpus={threads}", f"--memory={gib * 2**30}", f"--num-gpus={gpus}")
            node = ("ray", "start", f"--address={self.address}", *self._ray(), *room)
            return self._start(*node, until="Ray runtime started", code=code)
        room = ("--resources", f"threads={threads} memory={gib} gpus={gpus}", "--local-directory", str(self.folder))
        node = ("dask", "worker", self.address, "--no-dashboard", "--nthreads=4", *room)
        return self._start(*node, until="Registered to", code=code)

    @staticmethod
    def _ray() -> tuple[str, ...]:
        return ("--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats", "--block")

    def _start(self, *command: str, until: str, code: Path = commands.ROOT) -> subprocess.Popen[bytes]:
        told = self.folder / f"{len(self.started)}.log"
        environment = sweeps.environment(self.folder) | {"PYTHONPATH": str(code)} | SETTINGS
        with told.open("wb") as log:
            process = subprocess.Popen(
                [BIN / command[0], *command[1:]], stdout=log, stderr=log, start_new_session=True, env=environment
            )
        self.started.append(process)
        sweeps.wait_for(lambda: until in told.read_text() or process.poll() is not None)
        assert process.poll() is None, told.read_text()
        return process

    def leave(self, node: subprocess.Popen[bytes]) -> None:
        """A node is gone from one moment to the next, with all that ran on it."""
        for pid in [*sweeps.living(node.pid), node.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()


@contextmanager
def cluster(engine: str) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="palms", dir="/tmp"))  # sockets lie in it, whose paths must be short
    one = Cluster(engine, folder)
    try:
        one.begin()
        yield one
    finally:
        for process in reversed(one.started):
            one.leave(process)
        shutil.rmtree(folder, ignore_errors=True)
