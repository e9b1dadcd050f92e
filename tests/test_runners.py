"""What is asked of a cluster before it is given work; real ones are in `test_clusters`."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.engine.runners import remote
from flows.engine.runners.dask import Dask
from flows.engine.runners.ray import Ray
from tasks.contract import File, Resources
from tests import sweeps, toy


def test_every_node_has_this_program_and_sees_its_folders_and_files(tmp_path: Path) -> None:
    host = f"node {platform.node()}"
    runner = Dask("a:1", ())
    own = remote.Terms.of_here([tmp_path / "store", tmp_path], [], runner)
    assert remote.lacks(replace(own, paths=[str(tmp_path)])) == ""
    remote.require_none("cluster: Ray at a:1", ["", ""])
    with pytest.raises(BadInput, match=r"^cluster: Ray at a:1: what it lacks$"):
        remote.require_none("cluster: Ray at a:1", ["", "what it lacks"])
    assert (
        remote.lacks(replace(own, paths=[f"{tmp_path}/x.yaml"]))
        == f"{host} does not see {tmp_path}/x.yaml; it is required there, on every node"
    )
    moved = replace(own, signs=[tmp_path / "elsewhere" / own.signs[1].name])
    assert remote.lacks(moved) == f"{host} does not see {tmp_path}/elsewhere; a folder that every node has there is required"
    for name in (remote.PROJECT, *remote.LIBRARIES, "python"):
        told = remote.lacks(replace(own, versions={**own.versions, name: "0.1"}))
        assert told == f"{host} has {name} {own.versions[name]}; 0.1, as here, is required on every node"
    assert remote.lacks(replace(own, versions={"more": "1"})) == f"{host} has more none; 1, as here, is required on every node"
    del runner
    assert not list((tmp_path / "store").iterdir())


def test_what_an_experiment_names_is_what_inputs_and_settings_say(tmp_path: Path) -> None:
    (model := tmp_path / "model").mkdir()
    (prompts := tmp_path / "prompts.yaml").touch()
    below = toy.node("b", toy.node("a", note="/" + "x" * 5000))
    nodes = [replace(toy.node("c", note=str(model), do="fail"), inputs={"prompts": File.of(prompts)}), below]
    assert remote.named(nodes) == [str(model), str(prompts)]


def test_room_is_on_one_node_not_on_all_together() -> None:
    places = [Resources(2, 24.0), Resources(1, 80.0, gpus=1)]
    fits = [toy.node("a", resources=some) for some in (Resources(2, 24.0), Resources(1, 80.0), Resources(1, 1.0, gpus=1))]
    remote.require_room("cluster: Dask at a:1", fits, places)
    for some, told in [
        (Resources(2, 80.0), "2 threads, 80 GiB"),
        (Resources(2, 1.0, gpus=1), "2 threads, 1 GiB, 1 GPU"),
        (Resources(1, 1.0, gpus=2), "1 thread, 1 GiB, 2 GPUs"),
    ]:
        with pytest.raises(BadInput) as refused:
            remote.require_room("cluster: Dask at a:1", [*fits, toy.node("b", resources=some)], places)
        assert str(refused.value) == (
            f"cluster: Dask at a:1: toy/b needs {told}, and no node has that (1 thread, 80 GiB, 1 GPU; 2 threads, 24 GiB)"
        )


@pytest.mark.parametrize(("engine", "package"), [(Ray, "ray"), (Dask, "distributed")])
def test_a_package_that_is_not_installed_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: type[Ray] | type[Dask], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    named = engine.__name__.lower()
    with pytest.raises(BadInput, match=rf"engine: {named} is not installed; `pip install 'palms-sweep\[{named}\]'` installs it"):
        engine("127.0.0.1:1", (tmp_path,)).ready([toy.node("a")])
    engine("127.0.0.1:1", (tmp_path,)).ready([])  # where all is there, no cluster is asked


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["engine=ray"], "cluster: is missing; with `engine: ray` it is required, as HOST:PORT"),
        (["engine=slurm"], "engine"),
        (["engine=dask", "cluster=http://a"], "cluster"),
    ],
)
def test_a_cluster_without_a_place_is_bad_input(tmp_path: Path, sets: list[str], told: str) -> None:
    done = sweeps.palms(tmp_path, "plan", "calibration", *(word for one in sets for word in ("--set", one)), status=2)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_where_stages_run_makes_no_other_sweep(tmp_path: Path) -> None:
    plain = sweeps.palms(tmp_path, "plan", "calibration").stdout
    assert sweeps.palms(tmp_path, "plan", "calibration", "--set", "engine=ray", "--set", "cluster=a:1").stdout == plain
