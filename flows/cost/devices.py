"""Devices as data: how fast they multiply, how fast they read, how much they hold; from their makers' data sheets, or timed here.

Peaks are of dense products; data sheets of late give them with sparsity, which is twice that. A sheet's peak is reached by nothing: how much of it is
taken to be reached is `work.EFFICIENCY`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from configs.problems import BadInput, accepted
from flows.engine import machine

HERE = "cpu"


@dataclass(frozen=True)
class Device:
    """flops: FLOP a second of products of matrices, by precision. bandwidth: bytes a second. source: where these are from."""

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    memory_gib: float
    source: str

    @property
    def kind(self) -> str:
        """As numerics have it."""
        return "cpu" if self.name == HERE else "cuda"

    @property
    def known(self) -> bool:
        """Whether its figures are; of one that is not known, times can be told beside others alone."""
        return math.isfinite(self.bandwidth)

    @property
    def here(self) -> bool:
        """Whether it is this machine's own, so that what was measured on this host was measured on it."""
        return self.kind == "cpu" or any(self.name.upper() in model.upper() for model in machine.gpu_models())


def _sheet(name: str, fp32: float, bf16: float, bandwidth: float, memory: float, source: str) -> Device:
    """TFLOP/s, GB/s and GB, as sheets have them. Products in fp32 are not rounded to TF32 here (`model_registry.loading`)."""
    return Device(name, {"fp32": fp32 * 1e12, "bf16": bf16 * 1e12}, bandwidth * 1e9, memory * 1e9 / 2**30, source)


SHEETS = {
    one.name: one
    for one in (
        _sheet("h200", 67, 989.5, 4800, 141, "NVIDIA H200 Tensor Core GPU, data sheet, SXM"),
        _sheet("h100", 67, 989.5, 3350, 80, "NVIDIA H100 Tensor Core GPU, data sheet, SXM"),
        _sheet("a100", 19.5, 312, 2039, 80, "NVIDIA A100 Tensor Core GPU, data sheet, 80 GB SXM"),
        _sheet("l40s", 91.6, 362.05, 864, 48, "NVIDIA L40S, data sheet"),
    )
}


def named(name: str, threads: int) -> Device:
    """`threads`: that a stage takes, of this machine's.

    Raises:
        BadInput: there is no such device.
    """
    if name == HERE:
        speed = threads * one_thread()  # bf16 takes torch to be timed, and is taken to be as fast
        return Device(
            HERE, {"fp32": speed, "bf16": speed}, copied(), machine.memory_gib(), f"timed here, {threads} of its threads"
        )
    if name not in SHEETS:
        raise BadInput(f"--device: no such device {name!r}; {accepted(name, [HERE, *SHEETS])}")
    return SHEETS[name]


def own(kind: str, threads: int) -> Device:
    """This machine's device of a kind; of a GPU without a sheet here, nothing is known."""
    if kind == "cpu":
        return named(HERE, threads)
    without = Device(
        next(iter(machine.gpu_models()), "cuda"),
        dict.fromkeys(("fp32", "bf16"), math.inf),
        math.inf,
        math.inf,
        "no data sheet of it",
    )
    return next((one for one in SHEETS.values() if one.here), without)


@cache
def one_thread(clock: Callable[[], float] = time.thread_time) -> float:
    """What one thread does in products of two matrices of 1,024 rows in fp32, the best of five: FLOP a second of its own time on a processor, which
    work beside it disturbs less."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    one = np.ones((1024, 1024), np.float32)
    with threadpool_limits(1):
        return 2 * 1024**3 / _best(lambda: one @ one, clock)


@cache
def copied(clock: Callable[[], float] = time.thread_time) -> float:
    """Bytes a second that one thread reads and writes, copying 64 MiB, the best of five."""
    import numpy as np

    one, other = np.ones(2**23), np.ones(2**23)
    return 2 * one.nbytes / _best(lambda: np.copyto(other, one), clock)


def _best(done: Callable[[], object], clock: Callable[[], float]) -> float:
    took = []
    for _ in range(5):
        began = clock()
        done()
        took.append(clock() - began)
    return min(took)
