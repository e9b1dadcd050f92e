"""Stages on a cluster: the local run's metrics, whatever node or process is lost meanwhile, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.engine.board import MADE, read_board
from flows.engine.notes import Unreadable
from flows.engine.runners import Runner
from flows.engine.runners.dask import Dask
from flows.engine.runners.ray import Ray
from flows.engine.session import Session, StageFailed
from flows.engine.stores.manifest import Manifest
from tasks.contract import Node, Resources
from tests import clusters, sweeps, toy

pytestmark = [pytest.mark.external, pytest.mark.slow]
PACKAGES = {"ray": "ray", "dask": "distributed"}


@pytest.fixture(scope="module", params=PACKAGES)
def cluster(request: pytest.FixtureRequest) -> Iterator[clusters.Cluster]:
    """One with two nodes, as far as no test takes one away."""
    pytest.importorskip(PACKAGES[request.param])
    with clusters.cluster(request.param) as one:
        one.join()
        one.join()
        yield one
        if request.param == "ray":
            import ray

            ray.shutdown()


def runner(cluster: clusters.Cluster, home: Path) -> Runner:
    return {"ray": Ray, "dask": Dask}[cluster.engine](cluster.address, (home / "store", home))


def session(cluster: clusters.Cluster, home: Path, nodes: list[Node]) -> Session:
    held = toy.session(home, nodes)
    held.runner = runner(cluster, home)
    held.runner.ready(nodes)
    return held


def running(folder: Path) -> int:
    """The process of the only stage that noted itself."""
    return int(sweeps.wait_for(lambda: list(folder.iterdir()))[0].name.partition("-")[0])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_sweep_gives_the_local_metrics_while_a_node_leaves_and_another_joins(cluster: clusters.Cluster, tmp_path: Path) -> None:
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
    sweeps.palms(tmp_path / "here", "run", str(config))
    there = tmp_path / "there"
    asked = ["run", str(config), "--set", f"engine={cluster.engine}", "--set", f"cluster={cluster.address}"]
    with (tmp_path / "told.txt").open("w") as told:
        process = subprocess.Popen([*sweeps.COMMAND, *asked], env=sweeps.environment(there), stdout=told, stderr=told)

    def made() -> int:
        try:
            return sum(entry.state in MADE for path in there.glob("sweeps/*/state.json") for entry in read_board(path))
        except Unreadable:
            return 0

    sweeps.wait_for(lambda: made() >= 3 or process.poll() is not None)
    cluster.leave(cluster.started[-1])
    cluster.join()
    assert process.wait(sweeps.ENDED_S) == 0, (tmp_path / "told.txt").read_text()
    assert sweeps.current_points(there) == sweeps.current_points(tmp_path / "here")
    assert sweeps.palms(there, "status").stdout.count("\ndone") == 22
    again = sweeps.palms(there, *asked).stdout
    assert "22 stages: 22 cached" in again
    assert all(path.stat().st_size for path in there.glob("sweeps/*/log.txt"))


def test_a_worker_that_is_killed_costs_a_try_and_leaves_no_writer(cluster: clusters.Cluster, tmp_path: Path) -> None:
    (noted := tmp_path / "noted").mkdir()
    node = toy.node("a", seconds=4.0, note=str(noted))
    held = session(cluster, tmp_path / "home", [node])
    outcomes: list[str] = []

    def make() -> None:
        for _ in range(3):
            try:
                outcomes.append(toy.make(held, node))
                return
            except StageFailed as failure:
                outcomes.append(failure.crash.kind if failure.attempts_help else "final")

    making = threading.Thread(target=make)
    making.start()
    stage = running(noted)
    os.kill(parent(parent(stage)), signal.SIGKILL)  # of the fork server, whose parent is the worker
    sweeps.wait_for(lambda: not lives(stage), sweeps.SOON_S)
    making.join(sweeps.ENDED_S)
    assert outcomes in (["killed", "not run before"], ["not run before"])  # Dask gives it to another worker by itself
    assert len(list(noted.iterdir())) == 2
    assert isinstance(held.outcome(node), Manifest)


def test_what_is_stopped_ends_on_its_node(cluster: clusters.Cluster, tmp_path: Path) -> None:
    (noted := tmp_path / "noted").mkdir()
    node = toy.node("a", seconds=600.0, note=str(noted))
    held = session(cluster, tmp_path / "home", [node])
    failed: list[str] = []

    def make() -> None:
        with pytest.raises(StageFailed) as failure:
            toy.make(held, node)
        failed.append(failure.value.crash.message)

    making = threading.Thread(target=make)
    making.start()
    stage = running(noted)
    held.stop()
    making.join(sweeps.SOON_S)
    sweeps.wait_for(lambda: not lives(stage), sweeps.SOON_S)
    assert failed == ["interrupted"]


def test_a_failure_is_what_it_is_on_this_machine(cluster: clusters.Cluster, tmp_path: Path) -> None:
    node = toy.node("a", do="fail")
    with pytest.raises(StageFailed, match=r"^toy/a: ValueError: this one always fails$") as caught:
        toy.make(session(cluster, tmp_path, [node]), node)
    assert not caught.value.attempts_help
    assert "and says so in two lines" in (tmp_path / "log.txt").read_text()


def test_a_stage_that_no_node_has_room_for_is_refused_before_anything_runs(cluster: clusters.Cluster, tmp_path: Path) -> None:
    node = toy.node("a", resources=Resources(threads=2, memory_gib=900.0))
    with pytest.raises(BadInput, match=r"toy/a needs 2 threads, 900 GiB, and no node has that \(") as refused:
        runner(cluster, tmp_path).ready([node])
    assert len(str(refused.value).splitlines()) == 1


def test_a_cluster_that_is_not_there_is_told_in_one_line_before_anything_starts(
    cluster: clusters.Cluster, tmp_path: Path
) -> None:
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
    done = sweeps.palms(
        tmp_path / "home", "run", str(config), "--set", f"engine={cluster.engine}", "--set", "cluster=127.0.0.1:1", status=2
    )
    assert done.stderr.startswith(f"error: cluster: {cluster.engine.capitalize()} at 127.0.0.1:1 ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home" / "prefect" / "prefect.db").exists()
    assert not [*(tmp_path / "home").glob("sweeps/*/*")]  # nor is it noted as begun
