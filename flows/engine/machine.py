"""What this machine has, and what `auto` therefore means. Asks the system, never torch: the parent process stays light."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from configs.schema import Experiment
from tasks.contract import Numerics

GROUP = Path("/sys/fs/cgroup")  # in a container, the container's own
VISIBLE = "CUDA_VISIBLE_DEVICES"
RECORDED = ("torch", "transformers", "peft", "accelerate", "detoxify", "prefect", "mlflow", "pandas", "numpy", "scipy")


def cores(group: Path = GROUP) -> int:
    """Whole cores that this process may use: by its affinity, and by the time that its container is given."""
    there, (given, *period) = len(os.sched_getaffinity(0)), _limit(group / "cpu.max")
    return there if given == "max" else max(1, min(there, int(given) // int(period[0])))


def memory_gib(group: Path = GROUP) -> float:
    """What the machine has, or what its container is given of it."""
    there, (given, *_) = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, _limit(group / "memory.max")
    return there if given == "max" else min(there, int(given) / 2**30)


def _limit(file: Path) -> list[str]:
    """The words of a limit as the kernel's control groups (version 2) tell it; `max` where there is none."""
    return file.read_text(encoding="utf-8").split() if file.is_file() else ["max"]


def memory_limit_gib(experiment: Experiment) -> float:
    """What stages may take in all: what the experiment says, or nine tenths of what there is."""
    asked = experiment.limits.memory_gib
    return memory_gib() * 0.9 if asked == "auto" else asked


@cache
def gpu_names(listed: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """CUDA's names of the devices that the NVIDIA driver lists, or of those of them that the environment leaves visible."""
    count = len(list(listed.glob("*")))
    visible = os.environ.get(VISIBLE)
    if visible is None or not count:
        return tuple(map(str, range(count)))
    return tuple(name for given in visible.split(",") if (name := given.strip()))


@cache
def gpu_models(listed: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """What the NVIDIA driver calls the devices that it lists: `NVIDIA H200`."""
    lines = (line for path in sorted(listed.glob("*/information")) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))


def gpus() -> int:
    """How many CUDA devices there are; 0 without a driver."""
    return len(gpu_names())


@cache
def multiplies_bf16(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has units for products in bf16, by the flags that Linux lists: AMX, AVX512-BF16, or Arm's. Without them bf16 is
    emulated, and slower than fp32; where nothing is listed, none are taken to be there."""
    listed = described.read_text(encoding="utf-8") if described.is_file() else ""
    flags = {flag for line in listed.splitlines() if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return not flags.isdisjoint({"amx_bf16", "avx512_bf16", "bf16"})


def numerics(experiment: Experiment) -> Numerics:
    """The experiment's numerics with every `auto` turned into a value, but for a precision that a check has to settle (`tasks.prepare`)."""
    asked = experiment.numerics
    device = asked.device if asked.device != "auto" else ("cuda" if gpus() else "cpu")
    open_to_bf16 = device == "cuda" or multiplies_bf16()
    precision = "fp32" if asked.precision == "auto" and not open_to_bf16 else asked.precision
    # On CPU the fused attention repeats to the bit (tests/test_loading.py), and keeps no rows × heads × tokens² for the backward pass. On CUDA
    # whether its backward pass does was not tried.
    attention = "sdpa" if device == "cpu" else "eager"
    return Numerics(device, precision, cores() if asked.threads == "auto" else asked.threads, attention)


@cache
def facts() -> dict[str, Any]:
    """Recorded beside every result, never part of its key."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cores": cores(),
        "gpus": gpus(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in RECORDED},
        "commit": commit(),
    }


@cache
def commit() -> str | None:
    """The commit of this source tree, with a `+` where it has uncommitted changes; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else None
