"""Processes: none is lost, none outlives its parent, a failure stays where it happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.engine import processes
from flows.engine.processes import Assignment, Stopwatch, classify, run
from flows.engine.runners.admission import Admission
from flows.engine.session import Blocked, StageFailed
from flows.engine.stores.manifest import Manifest
from tasks.contract import Axes, Node, Resources
from tests import sweeps, toy


def test_a_failure_is_one_line_and_final(tmp_path: Path) -> None:
    node = toy.node("a", do="fail")
    with pytest.raises(StageFailed, match=r"^toy/a: ValueError: this one always fails$") as caught:
        toy.make(toy.session(tmp_path, [node]), node)
    assert not caught.value.attempts_help
    assert "and says so in two lines" in (tmp_path / "log.txt").read_text()


def test_a_killed_process_is_said_to_be_killed_and_worth_another_try(tmp_path: Path) -> None:
    node = toy.node("a", do="die")
    with pytest.raises(StageFailed, match="killed \\(signal 9\\)") as caught:
        toy.make(toy.session(tmp_path, [node]), node)
    assert caught.value.attempts_help


@pytest.mark.parametrize("fault", [EOFError("unexpected EOF"), ConnectionRefusedError(111, "Connection refused")])
def test_a_fork_server_that_dies_while_a_process_starts_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def dies(process: object) -> None:
        raise fault

    node = toy.node("a")
    session = toy.session(tmp_path, [node])
    with monkeypatch.context() as once:
        once.setattr("multiprocessing.context.ForkServerProcess.start", dies)
        with pytest.raises(StageFailed, match="the fork server died") as caught:
            toy.make(session, node)
    assert caught.value.attempts_help
    assert toy.make(session, node) == "not run before"


@pytest.mark.slow
def test_a_fork_server_hears_no_ctrl_c_from_its_first_moment_on() -> None:
    """Its interpreter writes a traceback to the terminal if one comes before its imports are done."""
    code = (
        "from multiprocessing import forkserver; from flows.engine import processes; processes.warm_up(); "
        "print(open(f'/proc/{forkserver._forkserver._forkserver_pid}/status').read())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    (blocked,) = (int(line.split()[1], 16) for line in told.splitlines() if line.startswith("SigBlk"))
    assert blocked >> (signal.SIGINT - 1) & 1


def test_a_stage_collects_garbage_which_its_fork_server_does_not(tmp_path: Path) -> None:
    node = toy.node("a", do="collect")
    toy.make(toy.session(tmp_path, [node]), node)


def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    told: list[tuple[int, int, str]] = []
    tell = processes._now_and_then(lambda *words: told.append(words))
    for done in range(1, 10_001):
        tell(done, 10_000, "pair")
    assert told[0] == (1, 10_000, "pair")
    assert told[-1] == (10_000, 10_000, "pair")
    assert len(told) < 20


def test_a_transient_error_succeeds_the_second_time_with_its_partial_work(tmp_path: Path) -> None:
    node = toy.node("a", do="transient")
    session = toy.session(tmp_path, [node])
    with pytest.raises(StageFailed) as caught:
        toy.make(session, node)
    assert caught.value.attempts_help
    assert toy.make(session, node) == "not run before"


def test_out_of_memory_halves_the_shape_under_a_key_of_its_own_and_remembers(tmp_path: Path) -> None:
    node = toy.node("a", do="memory", batch=8)
    session = toy.session(tmp_path, [node])
    inputs = session.inputs(node)
    assert isinstance(inputs, dict)
    asked = session.order(node, inputs).key
    for _ in range(2):  # 8 → 4 → 2
        with pytest.raises(StageFailed):
            toy.make(session, node)
    toy.make(session, node)
    order = toy.session(tmp_path, [node]).order(node, inputs)
    assert order.settings.batch == 2
    assert order.key != asked
    assert toy.make(toy.session(tmp_path, [node]), node) == "hit"


@pytest.mark.timeout(60)
def test_a_fault_of_ours_while_a_failure_is_settled_leaves_nobody_waiting(tmp_path: Path) -> None:
    """It hung: the key had been taken out of the batch that the fault was reported to."""
    node = toy.node("a", do="fail", stage=replace(toy.STAGE, shrink="nothing"))
    with pytest.raises(StageFailed, match="AttributeError: 'Settings' object has no attribute 'nothing'"):
        toy.make(toy.session(tmp_path, [node]), node)


def test_a_timeout_ends_the_process(tmp_path: Path) -> None:
    node = toy.node("a", seconds=2 * sweeps.SOON_S, resources=Resources(timeout_s=1.0))
    began = time.monotonic()
    with pytest.raises(StageFailed, match="ran longer than 1 s"):
        toy.make(toy.session(tmp_path, [node]), node)
    assert time.monotonic() - began < sweeps.SOON_S


def test_one_failure_in_a_group_leaves_its_siblings_finished(tmp_path: Path) -> None:
    nodes = [toy.node("g", value=i, do="fail" if i == 1 else "") for i in range(4)]
    session = toy.session(tmp_path, nodes)
    results = together(session, nodes)
    assert [type(result).__name__ for result in results] == ["str", "StageFailed", "str", "str"]


def test_siblings_share_one_process(tmp_path: Path) -> None:
    nodes = [toy.node("g", value=i, note=str(tmp_path / "runs")) for i in range(4)]
    (tmp_path / "runs").mkdir()
    together(toy.session(tmp_path, nodes), nodes)
    assert len(list((tmp_path / "runs").iterdir())) == 4
    assert len({path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()}) == 1


def together(session: toy.Session, nodes: list[Node]) -> list[object]:
    results: list[object] = [None] * len(nodes)

    def one(i: int) -> None:
        try:
            results[i] = toy.make(session, nodes[i])
        except StageFailed as failure:
            results[i] = failure

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(nodes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_nodes_that_are_made_together_wait_for_one_another(tmp_path: Path) -> None:
    """One is ready at once, one late, one fails before; what is of no group or of another waits for nobody."""
    place = Axes(ladder="toy")
    first, late, lost = (replace(toy.node(name), together=place) for name in ("first", "late", "lost"))
    alone, other = toy.node("alone"), replace(toy.node("other"), together=Axes(ladder="other"))
    session = toy.session(tmp_path, [first, late, lost, alone, other])
    session.gather(alone)
    session.gather(other)
    waits = threading.Thread(target=session.gather, args=(first,))
    waits.start()
    session.settle(lost, Blocked("toy/lost", "toy/above"))
    waits.join(0.2)
    assert waits.is_alive()
    session.gather(late)
    waits.join(10)
    assert not waits.is_alive()
    session.gather(first)  # once more, after a failure


def test_results_that_were_made_together_have_an_equal_share_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 104.0, 116.0, 116.5, 117.0, 120.0])
    clock = types.SimpleNamespace(
        monotonic=lambda: next(times), process_time=time.process_time, strftime=time.strftime, gmtime=time.gmtime
    )
    monkeypatch.setattr(processes, "time", clock)
    watch = Stopwatch({})
    assert [watch.facts(among)["seconds"] for among in (1, 3, 2, 1, 1)] == [4.0, 4.0, 4.25, 4.75, 3.0]


def test_a_result_has_the_peak_of_its_own_work_and_not_of_what_was_made_before() -> None:
    watch = Stopwatch({})
    held = np.ones(2**25)  # 256 MiB
    with_it = watch.facts(1)["peak_memory_gib"]
    del held
    between, shared, last = (
        watch.facts(1)["peak_memory_gib"],
        watch.facts(2)["peak_memory_gib"],
        watch.facts(1)["peak_memory_gib"],
    )
    assert between == pytest.approx(with_it, abs=0.01)  # it was still held as this began
    assert shared < with_it - 0.2
    assert last == pytest.approx(shared, abs=0.01)


def test_the_same_key_twice_at_once_runs_once(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    nodes = [toy.node("a", seconds=1.0, note=str(tmp_path / "runs")) for _ in range(2)]
    sessions = [toy.session(tmp_path, [node]) for node in nodes]  # two sweeps that know nothing of each other
    threads = [threading.Thread(target=toy.make, args=(session, node)) for session, node in zip(sessions, nodes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert all(isinstance(session.outcome(node), Manifest) for session, node in zip(sessions, nodes, strict=True))


def test_admission_holds_back_what_does_not_fit_and_lets_the_oversized_run_alone() -> None:
    admission = Admission(Resources(threads=2, memory_gib=4.0))
    inside: list[int] = []
    most: list[int] = []

    def one(threads: int) -> None:
        with admission.hold(Resources(threads=threads, memory_gib=0.1)):
            inside.append(threads)
            most.append(sum(inside))
            time.sleep(0.02)
            inside.remove(threads)

    workers = [threading.Thread(target=one, args=(n,)) for n in [1, 1, 2, 1, 5, 1, 1, 2]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(sweeps.SOON_S)
    assert len(most) == 8
    assert set(most) <= {1, 2, 5}


def test_admission_is_left_as_it_was_found() -> None:
    """0.1 + 0.2 − 0.1 − 0.2 is no zero; what exceeds the machine is let in only at zero."""
    admission = Admission(Resources(threads=8, memory_gib=1.0))
    for _ in range(3):
        with (
            admission.hold(Resources(memory_gib=0.1)),
            admission.hold(Resources(memory_gib=0.2)),
            admission.hold(Resources(memory_gib=0.7)),
        ):
            pass
    done = threading.Event()

    def oversized() -> None:
        with admission.hold(Resources(memory_gib=50.0)):
            done.set()

    threading.Thread(target=oversized, daemon=True).start()
    assert done.wait(sweeps.SOON_S)


@pytest.mark.slow
def test_a_timeout_is_a_key_s_own(tmp_path: Path) -> None:
    nodes = [toy.node("g", value=i, seconds=1.0, resources=Resources(timeout_s=4.5)) for i in range(5)]
    results = together(toy.session(tmp_path, nodes), nodes)
    assert [type(result).__name__ for result in results] == ["str"] * 5


def test_a_stopped_session_ends_what_runs_and_starts_nothing(tmp_path: Path) -> None:
    running, waiting = toy.node("g", seconds=2 * sweeps.SOON_S), toy.node("h", value=2)
    session = toy.session(tmp_path, [running, waiting])
    threading.Timer(1.0, session.stop).start()
    began = time.monotonic()
    results = together(session, [running])
    assert isinstance(results[0], StageFailed)
    assert not results[0].attempts_help
    assert isinstance(together(session, [waiting])[0], StageFailed)
    assert time.monotonic() - began < sweeps.SOON_S


def test_errors_are_classified() -> None:
    import httpx
    import requests
    import torch

    assert classify(requests.exceptions.ReadTimeout()) == "transient"
    assert classify(httpx.ConnectError("x")) == "transient"
    assert classify(ConnectionResetError()) == "transient"
    assert classify(torch.OutOfMemoryError()) == "memory"
    assert classify(ValueError()) == "deterministic"
    assert classify(FileNotFoundError()) == "deterministic"


PARENT = """
import sys
from pathlib import Path
from tests import sweeps, toy
if __name__ == "__main__":
    nodes = [toy.node("a", seconds=60), toy.node("b", value=2, seconds=60)]
    session = toy.session(Path(sys.argv[1]), nodes)
    import threading
    threads = [threading.Thread(target=toy.make, args=(session, node)) for node in nodes]
    for t in threads: t.start()
    for t in threads: t.join()
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_no_stage_process_and_nobody_writing(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": "."}, start_new_session=True
    )
    try:
        beats = sweeps.wait_for(
            lambda: there if len(there := list(tmp_path.glob("store/toy/*.partial/scratch/beat"))) == 2 else []
        )
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    sweeps.wait_for(lambda: not sweeps.living(parent.pid), sweeps.SOON_S / 2)  # its stages would go on for a minute
    last = [beat.read_text() for beat in beats]
    time.sleep(0.5)
    assert [beat.read_text() for beat in beats] == last
    with toy.session(tmp_path, []).store.lock("toy", beats[0].parts[-3].removesuffix(".partial"), wait=False) as had:
        assert had


@pytest.mark.slow
def test_a_thousand_starts_from_several_threads_give_no_false_failure(tmp_path: Path) -> None:
    """Starting a process in one thread must not lose the exit code of another thread's child."""
    store = toy.session(tmp_path, []).store
    failures: list[object] = []
    nothing = Assignment(toy.LIGHT.body, (), store.address, tmp_path / "log.txt", Resources())

    def starts(count: int) -> None:
        for _ in range(count):
            crash = run(nothing, lambda what, key, value: None)
            if crash is not None:
                failures.append(crash)

    threads = [threading.Thread(target=starts, args=(125,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_a_shared_folder_shows_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = toy.node("a")
    session = toy.session(tmp_path, [node])
    find, looks = session.store.find, list[str]()

    def late(stage: str, key: str, **how: bool) -> object:
        looks.append(key)
        return find(stage, key, **how) if len(looks) > 4 else None

    monkeypatch.setattr(session.store, "find", late)
    assert toy.make(session, node) == "not run before"
    assert len(looks) == 5
