"""Running a stage's body in a process of its own: forked from a server that has torch imported, admitted by what it needs.

Knows how a process starts, speaks, ends and is ended. Leaves to `flows.engine.prefect_tasks` what to run and what a failure means for the sweep.
Everything below the line "in the child" runs in the stage's process, which imports neither Prefect nor MLflow.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import importlib
import math
import multiprocessing as mp
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from flows.engine import machine
from flows.engine.stores import folder_of, open_store
from flows.engine.stores.folder import Store, clear
from flows.engine.stores.manifest import Manifest, Order
from tasks.contract import Job, Resources

PRELOAD = [
    "flows.engine.preloaded",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "pandas",
    "scipy.stats",
    "typer",
    "rich.progress",
    "flows.engine.processes",
]

# Of a library that a stage names, what its body imports late and the fork server may have: 0.3 and 0.6 s of every such process.
LATE = {"lm_eval": "lm_eval.tasks", "textblob": "textblob"}
_preload = list(PRELOAD)

LONGER, ALONE = "--set limits.stage_timeout_s=null", "--set limits.memory_gib=1"  # to `palms rerun`

STOP_S = 1.0  # between two looks at whether a process is still wanted
TELL_S = 0.2  # between two words on a stage's progress
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
Kind = Literal["transient", "memory", "deterministic", "killed", "timeout"]


@dataclass(frozen=True)
class Crash:
    """How a stage's process failed: its kind decides whether trying again can help."""

    kind: Kind
    message: str  # the exception's own line
    trace: str = ""


INTERRUPTED = Crash("killed", "interrupted")

# (what, key, value): "committed" None | "progress" (done, total, unit) | "say" text
Event = Callable[[str, str, Any], None]


@dataclass(frozen=True)
class Assignment:
    """What one process is to do: a body over some keys of one store. Travels to the machine that does it."""

    body: str
    orders: tuple[Order, ...]
    store: str  # its address
    log: Path
    resources: Resources
    verify: bool = False


# ---- starting and watching ----------------------------------------------------------------------------------------

_context = mp.get_context("forkserver")
# Starting a process reaps the children of other threads: without one lock around start() and around reading exit codes, 179 of 900
# successful children were seen with exit code 255; with it none.
_starting = threading.Lock()
_alive: set[Any] = set()


def warm_up(libraries: Collection[str] = ()) -> None:
    """Start the fork server, whose imports take five seconds, before it is needed; returns at once. `libraries`: of the stages to come."""
    with _starting, _deaf():
        _preload[:] = [*PRELOAD, *(module for library, module in LATE.items() if library in libraries)]
        _context.set_forkserver_preload(_preload)
        forkserver.ensure_running()


def forget_the_entry_module() -> None:
    """Stage processes import their parent's entry module again, which in a runner of flows or a worker of a cluster has nothing that they need."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    vars(main).pop("__file__", None)


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started in the block hears no Ctrl-C: the terminal sends it to the fork server too, which died of it with a traceback as long
    as it was still importing. What ends is the parent's to decide."""
    resource_tracker.ensure_running()  # before the block: whatever starts it makes this thread hear Ctrl-C again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread; processes inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_all() -> None:
    """End every stage process that is still running; their partial work stays."""
    with _starting:
        for process in list(_alive):
            process.kill()


atexit.register(end_all)


def run(
    assignment: Assignment,
    on_event: Event,
    *,
    stopped: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
) -> Crash | None:
    """Do the work in one process; returns how it failed, or None.

    What was committed before a failure stays committed and was reported through `on_event`. Blocks until the process has ended, and ends it
    once `stopped`. `environment`: of the process, over what the fork server has.
    """
    timeout_s = assignment.resources.timeout_s
    receiver, sender = _context.Pipe(duplex=False)
    made_by = machine.facts()  # asks git, the first time
    with _starting:
        if stopped():  # asked under the lock that end_all takes: nothing starts after it
            return INTERRUPTED
        _context.set_forkserver_preload(_preload)
        process = _context.Process(target=_child, args=(assignment, sender, made_by, environment or {}))
        try:
            with _deaf():
                process.start()
        except (EOFError, ConnectionError) as error:  # the next start brings up another fork server
            return Crash("killed", f"the fork server died ({type(error).__name__})")
        _alive.add(process)
    sender.close()
    deadline: float | None = None  # of the key in work: neither its siblings' time nor waiting for another process's lock counts
    crash: Crash | None = None
    looked = time.monotonic()
    try:
        while True:
            patience = STOP_S if deadline is None else min(STOP_S, max(0.0, deadline - time.monotonic()))
            ready = wait([receiver, process.sentinel], patience)
            if crash is None and time.monotonic() - looked >= STOP_S:  # also at one that never stops talking
                looked = time.monotonic()
                if stopped():
                    process.kill()
                    crash = INTERRUPTED
            if receiver in ready:
                try:
                    what, key, value = receiver.recv()
                except EOFError:
                    break
                if what in {"working", "committed"} and timeout_s is not None:
                    deadline = time.monotonic() + timeout_s
                if what == "crash":
                    crash = value
                elif what != "working":
                    on_event(what, key, value)
            elif process.sentinel in ready:
                break
            elif deadline is not None and time.monotonic() >= deadline:
                process.kill()
                crash = Crash("timeout", f"ran longer than {timeout_s:g} s; {LONGER} gives it all the time it takes")
                deadline = None
        wait([process.sentinel])
    finally:
        with _starting:
            if process.is_alive():
                process.kill()
                wait([process.sentinel], 10)
            code = process.exitcode
            _alive.discard(process)
        receiver.close()
    if crash is None and code != 0:
        crash = Crash("killed", _death(code))
    return crash


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return f"its process was killed (signal 9): by hand, or by the kernel for want of memory; {ALONE} then lets stages run one at a time"
    return (
        f"its process died of {signal.Signals(-code).name}"
        if code is not None and code < 0
        else f"its process exited with status {code}"
    )


# ---- in the child -------------------------------------------------------------------------------------------------


def _child(assignment: Assignment, sender: Connection, made_by: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    gc.enable()  # the fork server has it off
    gc.freeze()  # what the fork server imported stays: a collection would go through a million objects, and copy the pages that they are on
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides what ends
    sending = threading.Lock()

    def send(what: str, key: str, value: Any) -> None:
        with sending:
            sender.send((what, key, value))

    try:
        os.environ.update(environment)
        if any(name.startswith("HF_") for name in environment):  # another home's, on a node that has served one
            importlib.reload(importlib.import_module("huggingface_hub.constants"))  # which the fork server read as it began
        _divert_output(assignment.log)
        _set_threads(assignment.resources.threads)
        keep_freed_memory()
        _do(assignment, send, made_by)
    except Exception as error:  # the boundary of the process: everything is reported, nothing is swallowed
        trace = traceback.format_exc()
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        send(
            "crash",
            "",
            Crash(
                classify(error), _no_room(error, folder_of(assignment.store)) or f"{type(error).__name__}: {first_line}", trace
            ),
        )
        sender.close()
        with suppress(OSError):  # of a log on a full disk
            print(trace, file=sys.stderr, flush=True)
        os._exit(1)


def _do(assignment: Assignment, send: Event, made_by: Mapping[str, Any]) -> None:
    store = open_store(assignment.store)
    with ExitStack() as locks:
        mine = []
        for order in sorted(assignment.orders, key=lambda order: order.key):  # one order of locking everywhere: no deadlock
            if not locks.enter_context(store.lock(order.stage, order.key, wait=False)):
                send("say", order.key, "waiting: another process is working on this key")
                locks.enter_context(store.lock(order.stage, order.key))
            there = None
            if not order.forced:
                there = store.find(order.stage, order.key, verify=assignment.verify)
                there = there if isinstance(there, Manifest) else store.finish(order)
            if isinstance(there, Manifest):  # finished by someone else while we waited
                clear(store.partial(order.stage, order.key))
                send("committed", order.key, None)
            else:
                mine.append(order.key)
        send("working", "", None)
        watch = Stopwatch(made_by)
        jobs = [_job(order, store, send, watch) for order in assignment.orders if order.key in mine]
        if jobs:
            module, function = assignment.body.split(":")
            getattr(importlib.import_module(module), function)(jobs)
            for job in jobs:
                if job.work.exists():
                    raise RuntimeError(f"{assignment.body} returned without committing {job.label}")


def _job(order: Order, store: Store, send: Event, watch: Stopwatch) -> Job:
    def commit(
        volatile: tuple[str, ...] = (), requires: Mapping[str, str] | None = None, among: int = 1, beside_gib: float = 0.0
    ) -> None:
        store.commit(order, watch.facts(among, beside_gib), volatile, requires)
        send("committed", order.key, None)

    return Job(
        label=order.label,
        axes=order.axes,
        settings=order.settings,
        inputs={role: store.read(path) for role, path in order.inputs.items()},
        work=store.begin(order),
        places=order.places,
        numerics=order.numerics,
        commit=commit,
        progress=_now_and_then(lambda *told: send("progress", order.key, told)),
        say=lambda text: send("say", order.key, text),
    )


def _now_and_then(tell: Callable[[int, int, str], None]) -> Callable[[int, int, str], None]:
    """Tells of progress so often as somebody may want to read it, and of the end: 3,000 messages for a stage of a second cost both sides more
    than its work."""
    last = -math.inf

    def told(done: int, total: int, unit: str) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= TELL_S:
            last = time.monotonic()
            tell(done, total, unit)

    return told


class Stopwatch:
    """Seconds, also of all its threads on processors, and the peak of memory since the last commit of this process: bodies work on their jobs
    one after the other, or share these among some, the seconds evenly. `made_by`: of the machine and its software; each process would ask git
    and ten packages anew."""

    def __init__(self, made_by: Mapping[str, Any]) -> None:
        self._made_by = made_by
        self._last, self._peak = time.monotonic(), 0.0
        self._worked = time.process_time()
        forget_peak()

    def facts(self, among: int, beside_gib: float = 0.0) -> dict[str, Any]:
        """What is recorded beside a result and is no part of its identity. `among` so many results, this one and later ones, the time went;
        `beside_gib`: memory of further processes."""
        seconds = (time.monotonic() - self._last) / among
        self._last += seconds
        worked = (time.process_time() - self._worked) / among
        self._worked += worked
        self._peak = max(self._peak, peak_gib())
        peak, self._peak = self._peak, self._peak if among > 1 else 0.0
        forget_peak()
        return {
            "seconds": round(seconds, 3),
            "processor_seconds": round(worked, 3),  # what work beside it slows less
            "peak_memory_gib": round(peak + beside_gib, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **self._made_by,
        }


def peak_gib() -> float:
    """The most memory that this process held, since it was forgotten where the system can forget it."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux


def forget_peak() -> None:
    """Give free memory back, and begin the peak anew from what is held now (proc(5), clear_refs)."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _no_room(error: BaseException, root: Path) -> str:
    """A full or read-only disk in words, whichever library met it: safetensors and torch have exceptions of their own for it."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if getattr(error, "errno", None) == number or (number != errno.EACCES and os.strerror(number) in str(error)):
            free = shutil.disk_usage(root).free / 2**20
            where = getattr(error, "filename", None) or root
            return f"{where}: {os.strerror(number)} ({free:.0f} MiB free); free some, or let it be written to"
    return ""


def classify(error: BaseException) -> Kind:
    """Whether trying again can help: transport errors may pass, too little memory may fit a smaller batch, all else repeats itself."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if kinds & {"builtins.MemoryError", "torch.OutOfMemoryError"}:
        return "memory"
    if kinds & {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "requests.ConnectionError",
        "requests.Timeout",
        "httpx.TransportError",
    }:
        return "transient"
    return "deterministic"


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, in blocks of up to 32 MiB, instead of giving it back and asking for it anew: a draw of 192 tokens from a
    vocabulary of 49,152 met 72,000 page faults and took 160 ms, and takes 60. Other C libraries have no such setting."""
    with suppress(AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, 2**25)
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)


def _set_threads(threads: int) -> None:
    import torch

    if torch.cuda.is_initialized():
        raise RuntimeError("the fork server has initialised CUDA; stages could not use the GPU")
    torch.set_num_threads(threads)


def _divert_output(log: Path) -> None:
    """What libraries print belongs in the log, not on the user's screen."""
    nowhere = os.open(os.devnull, os.O_WRONLY)  # until there is a log: what is wrong with it is told by the parent
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)


def _end_with_parent() -> None:
    """A parent that was killed must not leave a writer behind. PDEATHSIG would watch the fork server instead, which outlives it."""
    parent = mp.parent_process()
    if parent is None:
        raise RuntimeError("a stage's body runs in a child process")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
