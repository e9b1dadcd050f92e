"""Stages on a cluster: the local run's metrics, whatever node or process is lost meanwhile, and nothing left running."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from configs.problems import BadInput
from flows.engine.board import MADE, read_board
from flows.engine.notes import Unreadable
from flows.engine.runners import Runner
from flows.engine.runners.dask import Dask
from flows.engine.runners.ray import Ray
from flows.engine.session import Session, StageFailed
from flows.engine.stores.manifest import Manifest
from tasks.contract import File, Node, Resources, read_json
from tests import clusters, commands, sweeps, toy

pytestmark = [pytest.mark.external, pytest.mark.slow]
PACKAGES = {"ray": "ray", "dask": "distributed"}
TWO_STAGES = """
import sys
from pathlib import Path
from flows.engine.runners.dask import Dask
from flows.engine.runners.ray import Ray
from tests import toy
engine, address, home, noted = sys.argv[1:]
nodes = [toy.node("a", seconds=600.0, note=noted), toy.node("b", note=noted)]
held = toy.session(Path(home), nodes)
held.runner = {"ray": Ray, "dask": Dask}[engine](address, (Path(home),))
held.runner.ready(nodes)
for node in nodes:
    try:
        toy.make(held, node)
    except toy.StageFailed as failure:
        print(failure, "" if failure.attempts_help else "(final)", flush=True)
print("and went on")
"""


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


def seen(held: Session, node: Node) -> dict[str, Any]:
    """What a stage saw where it ran."""
    toy.make(held, node)
    outcome = held.outcome(node)
    assert isinstance(outcome, Manifest)
    return read_json(outcome.folder / "when.json")


def test_a_worker_that_served_another_home_has_the_hub_s_cache_of_this_one(
    cluster: clusters.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in ("one", "other", "third"):  # of two workers one serves two
        monkeypatch.setenv("HF_HOME", str(tmp_path / home / "hub"))
        node = toy.node("a")
        assert seen(session(cluster, tmp_path / home, [node]), node)["hub"] == str(tmp_path / home / "hub" / "hub")


def test_stages_at_once_get_a_gpu_each_and_one_that_needs_none_sees_none(cluster: clusters.Cluster, tmp_path: Path) -> None:
    cluster.join(threads=4, gpus=2)
    one_each = Resources(gpus=1, memory_gib=0.1)
    nodes = [toy.node(name, value=value, seconds=2.0, resources=one_each) for name, value in [("a", 1.0), ("b", 2.0)]]
    none = toy.node("c", value=3.0)
    held = session(cluster, tmp_path, [*nodes, none])
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(partial(seen, held), [*nodes, none]))
    assert [sorted(one["gpus"] for one in found[:2]), found[2]["gpus"]] == [["0", "1"], ""]


def test_a_node_of_other_code_gets_no_stage_whenever_it_joins(cluster: clusters.Cluster, tmp_path: Path) -> None:
    if cluster.engine == "ray":
        pytest.skip("a Ray worker takes the command's own checkout where it sees it, as every node does here")
    for name in ("configs", "flows", "model_registry", "tasks", "tests"):
        shutil.copytree(commands.ROOT / name, tmp_path / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "code" / "flows" / "engine" / "lock.py").open("a") as module:
        module.write("# as it was yesterday\n")
    small, large = toy.node("a"), toy.node("b", resources=Resources(memory_gib=2.0 * clusters.GIB))
    held = session(cluster, tmp_path / "home", [small])
    other = cluster.join(gib=2 * clusters.GIB, code=tmp_path / "code")
    line = rf"node {platform.node()} has palms-sweep \S+ of code \w+; \S+ of code \w+, as here, is required on every node$"
    held.nodes.append(large)
    with pytest.raises(StageFailed, match=f"^toy/b: {line}") as caught:
        toy.make(held, large)
    assert not caught.value.attempts_help
    with pytest.raises(BadInput, match=rf"^cluster: \w+ at {cluster.address}: {line}"):
        runner(cluster, tmp_path / "home").ready([small])
    cluster.leave(other)


def test_a_file_that_a_node_does_not_see_is_told_before_anything_runs(cluster: clusters.Cluster, tmp_path: Path) -> None:
    node = replace(toy.node("a"), inputs={"prompts": File(tmp_path / "prompts.yaml", "0")})
    with pytest.raises(BadInput, match=rf"node {platform.node()} does not see {tmp_path}/prompts.yaml; it is required there"):
        runner(cluster, tmp_path).ready([node])


@pytest.mark.parametrize("engine", PACKAGES)
def test_stages_whose_head_is_gone_fail_in_seconds_and_the_program_lives(engine: str, tmp_path: Path) -> None:
    """In a program of its own, which Ray, once it is imported, would end."""
    pytest.importorskip(PACKAGES[engine])
    (noted := tmp_path / "noted").mkdir()
    with clusters.cluster(engine) as one:
        one.join()
        asked = [sys.executable, "-c", TWO_STAGES, engine, one.address, str(tmp_path / "home"), str(noted)]
        process = subprocess.Popen(asked, env=sweeps.environment(tmp_path), stdout=subprocess.PIPE, text=True)
        stage = running(noted)
        one.leave(one.started[0])
        told, _ = process.communicate(timeout=sweeps.SOON_S)
        sweeps.wait_for(lambda: not lives(stage), sweeps.SOON_S)
    why = (
        f"cluster: {engine.capitalize()} at {one.address} is gone; with it up again, or with --set engine=local, a rerun goes on"
    )
    assert told.splitlines() == [f"toy/a: {why} (final)", f"toy/b: {why} (final)", "and went on"]
    assert process.returncode == 0


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
