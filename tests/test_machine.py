"""What a process may use: the machine's, or what its container is given of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.engine import machine


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "gib"),
    [
        (None, None, len(os.sched_getaffinity(0)), machine.memory_gib(Path("/nowhere"))),
        ("max 100000", "max", len(os.sched_getaffinity(0)), machine.memory_gib(Path("/nowhere"))),
        ("100000 100000", "1073741824", 1, 1.0),
        ("50000 100000", "536870912", 1, 0.5),  # half a core is one thread's
        ("100000000 100000", f"{2**60}", len(os.sched_getaffinity(0)), machine.memory_gib(Path("/nowhere"))),
    ],
)
def test_a_container_is_given_no_more_than_its_share(
    tmp_path: Path, cpu: str | None, memory: str | None, cores: int, gib: float
) -> None:
    for name, text in (("cpu.max", cpu), ("memory.max", memory)):
        if text:
            (tmp_path / name).write_text(text + "\n")
    assert machine.cores(tmp_path) == cores
    assert machine.memory_gib(tmp_path) == gib
