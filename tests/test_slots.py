"""A machine's slots: what is shared with other processes, and free again however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from flows.engine import machine
from flows.engine.runners.slots import Slots, memory_slot_gib
from tasks.contract import Resources
from tests import sweeps

HOLDER = """
import sys, time
from pathlib import Path
from flows.engine import machine
from flows.engine.runners.slots import Slots, memory_slot_gib
from tasks.contract import Resources
with Slots(Path(sys.argv[1]), Resources(2, 4.0)).held(Resources(int(sys.argv[2]), 1.0)) as mine:
    print(mine["thread"], flush=True)
    time.sleep(600)
"""


def holder(place: Path, threads: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(place), str(threads)], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_programs_share_the_machine_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    first, second = holder(tmp_path, 1), holder(tmp_path, 1)
    try:
        assert {said(first), said(second)} == {"[0]", "[1]"}
        had = threading.Event()

        def third() -> None:
            with Slots(tmp_path, Resources(2, 4.0)).held(Resources(1, 1.0)):
                had.set()

        threading.Thread(target=third, daemon=True).start()
        assert not had.wait(0.5)
        os.kill(first.pid, signal.SIGKILL)
        assert had.wait(sweeps.SOON_S)
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_who_needs_all_is_not_passed_by(tmp_path: Path) -> None:
    """Nobody takes what is free while another waits for more than is."""
    slots = Slots(tmp_path, Resources(2, 4.0))
    order: list[str] = []
    looks, waiting = count(1), threading.Event()

    def looked() -> bool:
        """Asked once before the queue is had, and again in it."""
        if next(looks) > 1:
            waiting.set()
        return False

    def wide() -> None:
        with slots.held(Resources(2, 1.0), looked):
            order.append("wide")

    def narrow() -> None:
        with slots.held(Resources(1, 1.0)):
            order.append("narrow")

    with slots.held(Resources(1, 1.0)):
        threads = [threading.Thread(target=wide)]
        threads[0].start()
        assert waiting.wait(sweeps.SOON_S)
        threads.append(threading.Thread(target=narrow))
        threads[1].start()
        threads[1].join(0.5)
        assert order == []
    for thread in threads:
        thread.join(sweeps.SOON_S)
    assert sorted(order) == ["narrow", "wide"]


def test_what_exceeds_the_machine_gets_all_of_it_and_gpus_are_told_apart(tmp_path: Path) -> None:
    slots = Slots(tmp_path, Resources(2, 4.0, gpus=2))
    with slots.held(Resources(64, 900.0, gpus=1)) as mine:
        assert mine == {"thread": [0, 1], "memory": [0, 1, 2, 3], "gpu": [0]}
    with slots.held(Resources(1, 0.1, gpus=1)) as one, slots.held(Resources(1, 0.1, gpus=1)) as other:
        assert one is not None
        assert other is not None
        assert one["gpu"] + other["gpu"] == [0, 1]


def test_a_machine_of_terabytes_has_some_hundred_slots_of_memory(tmp_path: Path) -> None:
    assert [memory_slot_gib(gib) for gib in (0.5, 24.0, 256.0, 257.0, 2048.0)] == [1, 1, 1, 2, 8]
    slots = Slots(tmp_path, Resources(1, 2048.0), memory_gib=memory_slot_gib(2048.0))
    with slots.held(Resources(1, 1e6)):
        assert len(list(tmp_path.glob("memory.*"))) == 256
    with slots.held(Resources(1, 2040.1)) as mine:
        assert mine is not None
        assert len(mine["memory"]) == 256
    with slots.held(Resources(1, 8.0)) as mine:
        assert mine is not None
        assert mine["memory"] == [0]


def test_of_gpus_those_are_shared_out_that_the_environment_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case, (visible, names) in enumerate(
        [(None, ("0", "1", "2")), ("2", ("2",)), ("GPU-a, MIG-b/1/0", ("GPU-a", "MIG-b/1/0")), ("", ())]
    ):
        listed = tmp_path / str(case)
        for one in range(3):
            (listed / str(one)).mkdir(parents=True)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert machine.gpu_names(listed) == names
        with Slots(tmp_path, Resources(1, 1.0), names).held(Resources(1, 1.0, gpus=1)) as mine:
            assert mine is not None
            assert mine["gpu"] == list(names[:1])


def test_who_is_stopped_waits_no_longer(tmp_path: Path) -> None:
    slots = Slots(tmp_path, Resources(1, 1.0))
    stopped = threading.Event()
    had: list[object] = []

    def waits() -> None:
        with slots.held(Resources(1, 1.0), stopped.is_set) as mine:
            had.append(mine)

    with slots.held(Resources(1, 1.0)):
        waiter = threading.Thread(target=waits)
        waiter.start()
        stopped.set()
        waiter.join(sweeps.SOON_S)
    assert had == [None]
