"""Many stages at once: nothing is looked through for each of them, threads are bounded, and those that wait for one another still meet."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.engine import board as boards
from flows.engine.board import Board, read_board
from flows.engine.session import Blocked
from tasks.contract import Axes
from tests import sweeps, toy

BOUNDED = """
import json
from flows.engine.home import Home
from flows.engine.servers import ask
from flows.serving.servers import await_health, prefect_server
from tasks.contract import Axes
from tests import toy

home = Home.open()
home.settle_environment()
with prefect_server(home) as server:
    ask(home, server)
    await_health(home, server)
    from dataclasses import replace
    from prefect import flow
    from flows.engine import prefect_tasks
    from flows.engine.processes import warm_up

    prefect_tasks.AT_ONCE = 1
    warm_up()
    first, last = toy.node("first", value=10.0), toy.node("last", value=11.0)
    alone = [toy.node(f"alone{number}", value=float(number)) for number in range(4)]
    pair = [replace(toy.node(f"pair{number}", up), together=Axes(name="pair")) for number, up in enumerate((first, last))]
    broken = toy.node("broken", value=12.0, do="fail")
    below = toy.node("below", broken, last)
    nodes = [first, pair[0], *alone, broken, last, pair[1], below]
    session = toy.session(home.root / "toy", nodes)

    @flow(name="many", validate_parameters=False)
    def many():
        return prefect_tasks.verdict(prefect_tasks.submit(nodes, session), session, nodes, "nothing")

    state = many(return_state=True)
    print(json.dumps([state.message, [entry.state for entry in session.board.entries()], len(session.task_runs)]))
"""


@pytest.mark.slow
def test_with_room_for_one_task_run_those_that_wait_for_one_another_still_meet(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED], env=sweeps.environment(tmp_path), capture_output=True, text=True, check=True
    )
    message, states, task_runs = json.loads(done.stdout.splitlines()[-1])
    assert states == [*["done"] * 6, "failed", "done", "done", "blocked"]
    assert "1 of 10 stages failed, 1 could not run because of that" in message
    assert task_runs == 10


def test_an_outcome_wakes_whoever_waits_for_it_and_acts_at_once_where_it_is_there(tmp_path: Path) -> None:
    nodes = [toy.node(f"n{number}") for number in range(3)]
    held = toy.session(tmp_path, nodes)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.extend(held.wait_for(nodes[:2])))
    waiting.start()
    held.settle(nodes[0], Blocked("a", "b"))
    assert not found
    held.settle(nodes[1], Blocked("c", "d"))
    waiting.join(sweeps.SOON_S)
    assert found == [Blocked("a", "b"), Blocked("c", "d")]
    held.then(nodes[0], lambda: found.append("at once"))
    assert found[-1] == "at once"
    held.then(nodes[2], lambda: found.append("never before"))
    assert found[-1] == "at once"
    held.stop()
    assert found[-1] == "never before"


def test_those_made_together_wait_for_all_of_them_or_for_what_became_of_them(tmp_path: Path) -> None:
    nodes = [replace(toy.node(f"n{number}"), together=Axes(name="all")) for number in range(3)]
    held = toy.session(tmp_path, nodes)
    past = [threading.Thread(target=held.gather, args=(node,)) for node in nodes[:2]]
    for thread in past:
        thread.start()
    time.sleep(0.1)
    assert all(thread.is_alive() for thread in past)
    held.settle(nodes[2], Blocked("n2", "something"))
    for thread in past:
        thread.join(sweeps.SOON_S)
    assert not any(thread.is_alive() for thread in past)
    held.gather(nodes[0])  # at its next try nobody is waited for


def test_of_thousands_of_changes_few_are_written_and_the_last_one_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be all of the board: bytes that grow with its square."""
    written: list[int] = []
    write = boards.replace_file

    def counted(path: Path, text: str) -> None:
        written.append(len(text))
        write(path, text)

    monkeypatch.setattr(boards, "replace_file", counted)
    labels = [f"n{number}" for number in range(2000)]
    one = Board(tmp_path / "state.json", labels)
    for label in labels:
        one.update(label, state="running")
        one.update(label, state="done")
    sweeps.wait_for(lambda: {entry.state for entry in read_board(tmp_path / "state.json")} == {"done"}, sweeps.SOON_S)
    assert len(written) < len(labels) / 4
