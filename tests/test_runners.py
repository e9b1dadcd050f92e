"""What is asked of a cluster before it is given work; real ones are in `test_clusters`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configs.problems import BadInput
from flows.engine.runners import remote
from flows.engine.runners.dask import Dask
from flows.engine.runners.ray import Ray
from tasks.contract import Resources
from tests import sweeps, toy


def test_every_node_has_this_program_and_sees_its_folders(tmp_path: Path) -> None:
    with remote.signs([tmp_path / "store", tmp_path]) as signs:
        own = remote.has(signs)
        assert own.lacks is None
        remote.require_same("cluster: Ray at a:1", [own, own], own)
        moved = remote.has([signs[0], tmp_path / "elsewhere" / signs[1].name])
    assert not list((tmp_path / "store").iterdir())
    with pytest.raises(BadInput, match=rf"does not see {tmp_path}/elsewhere; a folder that every node has there is required"):
        remote.require_same("cluster: Ray at a:1", [own, moved], own)
    for name in (*remote.LIBRARIES, "python"):
        other = replace(own, host="b", versions={**own.versions, name: "0.1"})
        with pytest.raises(BadInput, match=rf"^cluster: Ray at a:1: node b has {name} 0\.1; {own.versions[name]}, as here, is"):
            remote.require_same("cluster: Ray at a:1", [own, other], own)
        without = replace(own, versions={key: value for key, value in own.versions.items() if key != name})
        with pytest.raises(BadInput, match=f"has {name} none"):
            remote.require_same("cluster: Ray at a:1", [without], own)


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
