"""One piece of work done by several processes together: ranks of one group of torch.distributed, started, watched and ended as one.

Knows processes; what the ranks compute is left to the work that is given. They are forked: so they hold the stage's locks for as long as they
live, and end with it. What forks them computes nothing itself, since neither torch's threads nor CUDA would survive the fork.
"""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import os
import pickle
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tasks.contract import Numerics

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = timedelta(days=7)  # with which ranks wait for one another: how long a stage may take is for its own limit to say
PR_SET_PDEATHSIG = 1  # prctl(2)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True)
class _Word:
    """A rank's last one: when it was said, the most memory that the rank held, and what failed."""

    at: float
    peak_gib: float
    error: Exception | None = None


def together(numerics: Numerics, scratch: Path, work: Callable[[], None]) -> float:
    """Do the work in `numerics.shards` processes, of `numerics.threads` threads each and, on CUDA, of one of the visible devices each.

    Returns the most memory that they held, in GiB: their peaks summed, pages that they share with this process counted in each.

    Raises what failed first in any of them, and ends the others. Where one is killed this process dies of the same signal: so a stage that lost a
    rank is told, and tried again, as any stage that was killed.
    """
    context = mp.get_context("fork")
    ranks: dict[Connection, Any] = {}
    peak_gib = 0.0
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            for rank in range(numerics.shards):
                receiver, sender = context.Pipe(duplex=False)
                said = (rank, numerics, f"file://{folder}/meeting", os.getpid(), sender, work)
                ranks[receiver] = context.Process(target=_rank, args=said)
                ranks[receiver].start()
                sender.close()
            waiting = dict(ranks)
            while waiting:
                words = [_last_word(receiver, waiting.pop(receiver)) for receiver in wait(list(waiting))]  # type: ignore[arg-type,call-overload]
                if failed := [word for word in words if word.error]:
                    raise min(failed, key=lambda word: word.at).error  # type: ignore[misc]  # the others lost it, and say so
                peak_gib += sum(word.peak_gib for word in words)
        finally:
            for process in ranks.values():
                process.kill()
                process.join()
    return peak_gib


def _last_word(receiver: Connection, process: Any) -> _Word:
    try:
        word: _Word = receiver.recv()
        return word
    except EOFError:
        process.join()
        if process.exitcode < 0:
            os.kill(os.getpid(), -process.exitcode)
        raise RuntimeError(f"a rank exited with status {process.exitcode}") from None


def _rank(rank: int, numerics: Numerics, meeting: str, parent: int, sender: Connection, work: Callable[[], None]) -> None:
    _end_with(parent)
    _give_freed_memory_back()
    error = None
    try:
        torch.set_num_threads(numerics.threads)
        if numerics.device == "cuda":  # before it is first used; libraries take the first device that they see
            names = os.environ.get(VISIBLE) or ",".join(map(str, range(numerics.shards)))
            os.environ[VISIBLE] = names.split(",")[rank]
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody else is to listen to
        dist.init_process_group(
            BACKENDS[numerics.device], init_method=meeting, rank=rank, world_size=numerics.shards, timeout=PATIENCE
        )
        work()
        dist.destroy_process_group()
    except Exception as failure:  # the boundary of the process
        traceback.print_exc()
        error = _told(failure)
    sender.send(_Word(time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, error))  # KiB on Linux


def _told(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot travel."""
    try:
        same: Exception = pickle.loads(pickle.dumps(error))
        return same
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _give_freed_memory_back() -> None:
    """Undo what stages ask of glibc: the whole weights of a layer come and go, and what is kept of them is not used again. Of 85M parameters each
    of two ranks held 2.4 GiB, and holds 1.3."""
    with suppress(AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, 2**20)
        set_option(M_TRIM_THRESHOLD, 2**20)


def _end_with(parent: int) -> None:
    """The kernel kills this process when the one that forked it dies, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had died before
        os._exit(1)
