"""What a sweep of thousands of tiny stages costs, and how that grows: prints each point, and exponents between the first and the last.

    python -m benchmarks.many_stages [300 1000 3000] [--task-runs stage|size|none] [--there] [--bookkeeping]

Stages write a number and read one or three; twenty make a size (one, three that read it, fifteen that read one of those, and one that reads
three of these), share its processes, and hang on nothing of another. A point runs in a process of its own, with a home and a Prefect server of
its own: the sweep, then the same again from what is there, then what the dashboard asks. Memory is this process's, of the sweep alone; a
database's bytes are its file's and its log's. `--task-runs size` gives twenty stages one task run between them, `none` uses no Prefect: what is
left is the project's. With `--there` every output is taken to be there from the start: task runs alone, no store and no processes.
`--bookkeeping` is the session and its board alone. Each point has a TMPDIR of its own, so that no slot is waited for.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flows.engine.board import Board
from flows.engine.home import Home
from flows.engine.processes import warm_up
from flows.engine.runners.local import Local
from flows.engine.servers import ask
from flows.engine.session import Blocked, Options, Session
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Manifest
from flows.prepared import _planned
from flows.serving.servers import await_health, prefect_server
from tasks.contract import Axes, Node, Resources
from tests import toy

OF_A_SIZE = 20
ARMS, READERS = 3, 15
HANDS = 32  # threads that run stages where Prefect does not
LIMIT_S = 600.0


def sweep_of(count: int) -> list[Node]:
    """Whole sizes of twenty nodes, in topological order."""
    nodes: list[Node] = []
    for size in range(count // OF_A_SIZE):

        def one(name: str, *up: Node, size: int = size) -> Node:
            axes = Axes(ladder="toy", size=str(size), name=name)
            reads = {f"up{number}": node for number, node in enumerate(up)}
            nodes.append(Node(toy.STAGE, axes, toy.Settings(value=float(size)), reads, resources=Resources(memory_gib=0.1)))
            return nodes[-1]

        first = one("prepare")
        arms = [one(f"arm{number}", first) for number in range(ARMS)]
        readers = [one(f"read{number}", arms[number % ARMS]) for number in range(READERS)]
        one("compare", *readers[:ARMS])
    return nodes


def session_of(folder: Path, nodes: list[Node]) -> Session:
    folder.mkdir(exist_ok=True)
    board = Board(folder / "state.json", [node.label for node in nodes])
    return Session(nodes, Store(folder / "store"), Local(Resources(2, 8.0)), board, Options(log=folder / "log.txt"))


def by_hand(nodes: Sequence[Node], session: Session) -> None:
    """Make nodes without the orchestrator, each when what it reads is there. Raises what the first one raised that failed."""

    def make(node: Node) -> None:
        session.wait_for(list(node.upstream.values()))
        if session.outcome(node) is None:
            toy.make(session, node)
        session.board.update(node.label, state="done")

    with ThreadPoolExecutor(HANDS) as hands:  # topological order: what a hand waits for, another has
        for made in [hands.submit(make, node) for node in nodes]:
            made.result()


def conducted(by: str) -> Callable[[list[Node], Session], None]:
    """How a session is run to its end: with a task run a stage, a task run a size, or none."""
    if by == "none":
        return by_hand
    from prefect import flow, task

    from flows.engine.prefect_tasks import Work, submit, verdict

    @task(persist_result=False)
    def size(work: Work) -> None:
        at = work.session.nodes.index(work.node)
        by_hand(work.session.nodes[at : at + OF_A_SIZE], work.session)

    @flow(name="many", validate_parameters=False)
    def many(work: Work) -> Any:
        nodes, session = work.session.nodes, work.session
        if by == "stage":
            return verdict(submit(nodes, session), session, nodes, "this benchmark")
        futures = [size.submit(Work(node, session)) for node in nodes[::OF_A_SIZE]]
        session.task_runs += [future.task_run_id for future in futures]
        return verdict(futures, session, nodes, "this benchmark")

    return lambda nodes, session: many(Work(nodes[0], session))


@contextmanager
def taken(told: dict[str, float], what: str) -> Iterator[None]:
    """Seconds of the block, and seconds of a core of this process in it."""
    began, before = time.perf_counter(), time.process_time()
    yield
    told[f"{what}, s"], told[f"{what}, of a core"] = time.perf_counter() - began, time.process_time() - before


@contextmanager
def counting_threads(told: dict[str, float]) -> Iterator[None]:
    over, most = threading.Event(), [0]

    def look() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], threading.active_count())

    looking = threading.Thread(target=look)
    looking.start()
    yield
    over.set()
    looking.join()
    told["threads"] = most[0]


@contextmanager
def orchestrated(home: Home) -> Iterator[None]:
    with prefect_server(home) as server:
        ask(home, server)
        await_health(home, server)
        yield


def point(count: int, by: str, folder: Path, *, there: bool) -> dict[str, float]:
    os.environ["PALMS_HOME"] = str(folder)
    home = Home.open()
    home.settle_environment()
    told: dict[str, float] = {}
    with orchestrated(home) if by != "none" else nullcontext():
        run = conducted(by)
        nodes = sweep_of(count)
        told["stages"] = len(nodes)
        first = session_of(folder, nodes)
        if there:
            for node in nodes:
                first.settle(node, Manifest(folder, {"key": node.label, "facts": {"seconds": 0.1}}))
        else:
            warm_up()
            toy.make(session_of(folder / "first", nodes[:1]), nodes[0])  # which waits for the fork server
        before = _size(home)
        with taken(told, "sweep"), counting_threads(told):
            run(nodes, first)
        told["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told["until recorded, s"] = recorded(first)
        told["database, bytes a stage"] = (_size(home) - before) / len(nodes)
        if not there:
            with taken(told, "plan"):
                again = session_of(folder, nodes)
                _planned(nodes, again)
            with taken(told, "rerun"):
                run(nodes, again)
            recorded(again)
        if by != "none":
            told |= dashboard(first)
    return told


def bookkeeping(count: int, folder: Path) -> float:
    """Seconds of a core for what a session keeps of nodes that nobody makes: a thread each waits for what its node reads, and settles it."""
    nodes = sweep_of(count)
    session = session_of(folder, nodes)

    def settle(node: Node) -> None:
        session.wait_for(list(node.upstream.values()))
        session.board.update(node.label, state="running")
        session.board.update(node.label, state="done")
        session.settle(node, Blocked(node.label, ""))

    threading.stack_size(256 * 1024)
    threads = [threading.Thread(target=settle, args=(node,)) for node in reversed(nodes)]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.board.write()  # what it would write later
    return time.process_time() - began


def recorded(session: Session) -> float:
    """Seconds until the server has written down every task run."""
    if not session.task_runs:
        return 0.0
    from flows.engine.prefect_tasks import unfinished

    began, left = time.perf_counter(), session.task_runs
    while left and (left := unfinished(left)):
        assert time.perf_counter() - began < LIMIT_S, f"{len(left)} task runs are not recorded"
        time.sleep(0.2)
    return time.perf_counter() - began


def dashboard(session: Session) -> dict[str, float]:
    """Seconds that the server takes to answer what its pages ask of the sweep's flow run; medians of three."""
    from prefect.client.orchestration import get_client

    told: dict[str, float] = {}
    with get_client(sync_client=True) as client:
        flow_run = client.read_task_run(session.task_runs[0]).flow_run_id
        ours = {"flow_runs": {"id": {"any_": [str(flow_run)]}}}
        asked: dict[str, tuple[Any, ...]] = {
            "flow run": ("GET", f"/flow_runs/{flow_run}"),
            "its graph": ("GET", f"/flow_runs/{flow_run}/graph-v2"),
            "task runs, counted": ("POST", "/task_runs/count", ours),
            "task runs, a page": ("POST", "/task_runs/filter", {**ours, "limit": 200, "sort": "END_TIME_DESC"}),
            "flow runs, a page": ("POST", "/flow_runs/filter", {"limit": 200, "sort": "START_TIME_DESC"}),
        }
        for name, (method, path, *body) in asked.items():
            seconds = []
            for _ in range(3):
                began = time.perf_counter()
                client._client.request(method, path, **({"json": body[0]} if body else {})).raise_for_status()
                seconds.append(time.perf_counter() - began)
            told[f"dashboard: {name}, s"] = statistics.median(seconds)
    return told


def _size(home: Home) -> int:
    return sum(path.stat().st_size for path in home.prefect.glob("prefect.db*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="*", default=[300, 1000, 3000])
    parser.add_argument("--task-runs", choices=["stage", "size", "none"], default="stage")
    parser.add_argument("--there", action="store_true")
    parser.add_argument("--bookkeeping", action="store_true")
    parser.add_argument("--point", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(point(given.point, given.task_runs, Path(folder), there=given.there)))
        return
    if given.bookkeeping:
        for count in given.counts:
            with tempfile.TemporaryDirectory() as folder:
                print(f"{count:8,} nodes: {bookkeeping(count, Path(folder)):.2f} s of a core", flush=True)
        return
    points = [_apart(count, given.task_runs, given.there) for count in given.counts]
    for name in points[0]:
        row = [one[name] for one in points]
        grows = ""
        if name != "stages" and len(points) > 1 and min(row[0], row[-1]) > 0:
            grows = f"   exponent {math.log(row[-1] / row[0]) / math.log(points[-1]['stages'] / points[0]['stages']):.2f}"
        print(f"{name:32}" + "".join(f"{value:12,.3g}" if value < 100 else f"{value:12,.0f}" for value in row) + grows)
    rates = (one["stages"] / one["sweep, s"] for one in points)
    print(f"{'stages a second':32}" + "".join(f"{rate:12.1f}" for rate in rates))


def _apart(count: int, by: str, there: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.many_stages", "--task-runs", by, "--point", str(count)]
    command += ["--there"] if there else []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder}
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    numbers: dict[str, float] = json.loads(said.splitlines()[-1])
    return numbers


if __name__ == "__main__":
    main()
