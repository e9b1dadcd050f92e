"""MLflow as a projection: it shows what the store holds, once, and the current results as current."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from flows.engine.tracked import Tracked
from flows.engine.tracking import kill, project_size, project_sweep
from tasks.contract import Axes
from tests import toy


def project(home: Path, value: float, do: str = "") -> list[Run]:
    """Run a sweep of two arms and a comparison whose results hang on `value`, and project it; returns all runs of the tracker."""
    arms = [
        replace(toy.node("x", value=value + i, do=do if i else ""), axes=Axes(ladder="l", size="1", arm=arm, seed=0))
        for i, arm in enumerate(("base", "tuned"))
    ]
    dataset, comparison = toy.node("control", value=80.0), toy.node("compared", value=value)
    session = toy.session(home, [dataset, *arms, comparison])
    for node in (dataset, *arms, comparison):
        try:
            toy.make(session, node)
        except toy.StageFailed as failure:
            session.settle(node, failure)
    tracked = Tracked(
        sweep="demo-1",
        name="demo",
        uri=f"sqlite:///{home}/mlflow.db",
        artifacts=home / "artifacts",
        calibration=True,
        config={"name": "demo"},
        params={"l-1": 10},
        nodes=session.nodes,
        outcome=session.outcome,
    )
    project_size(tracked, "l-1")
    project_sweep(tracked)
    client = MlflowClient(tracked.uri)
    return list(client.search_runs([client.get_experiment_by_name("demo").experiment_id]))


def by_place(runs: list[Run]) -> dict[str, list[Run]]:
    places: dict[str, list[Run]] = {}
    for run in runs:
        places.setdefault(run.data.tags["palms.place"], []).append(run)
    return places


def test_projecting_again_changes_nothing(tmp_path: Path) -> None:
    first = {run.info.run_id: (run.data.metrics, run.data.tags, run.info.end_time) for run in project(tmp_path, 1.0)}
    again = {run.info.run_id: (run.data.metrics, run.data.tags, run.info.end_time) for run in project(tmp_path, 1.0)}
    assert first == again
    assert len(first) == 3


def test_what_was_found_in_a_dataset_stands_with_the_sweep(tmp_path: Path) -> None:
    metrics = by_place(project(tmp_path, 1.0))["sweep"][0].data.metrics
    assert metrics["control.total"] == 80.0
    assert metrics["total"] == 1.0


def test_other_results_supersede_and_going_back_makes_the_old_ones_current(tmp_path: Path) -> None:
    project(tmp_path, 1.0)
    project(tmp_path, 5.0)
    runs = by_place(project(tmp_path, 1.0))
    assert len(runs["sweep"]) == 1
    assert runs["sweep"][0].data.metrics["total"] == 1.0  # the latest point of the sweep's own run
    for place in ("l-1/base/seed0", "l-1/tuned/seed0"):
        current = [run for run in runs[place] if "superseded" not in run.data.tags]
        assert len(runs[place]) == 2
        assert [run.data.metrics["total"] < 5.0 for run in current] == [True]


def test_a_failed_arm_is_a_failed_sweep_and_is_mended_by_the_rerun(tmp_path: Path) -> None:
    runs = by_place(project(tmp_path, 1.0, do="fail"))
    assert [run.info.status for run in runs["sweep"]] == ["FAILED"]
    assert "l-1/tuned/seed0" not in runs
    runs = by_place(project(tmp_path, 1.0))
    assert {run.info.status for place in runs.values() for run in place} == {"FINISHED"}


def test_runs_of_a_process_that_is_gone_are_killed_and_go_on_when_taken_up_again(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert kill(uri, "demo-1") == 0  # a tracker that was never used
    runs = by_place(project(tmp_path, 1.0))
    client = MlflowClient(uri)
    for place in runs.values():
        client.update_run(place[0].info.run_id, status="RUNNING")
    assert kill(uri, "demo-2") == 0
    assert kill(uri, "demo-1") == 3
    assert {client.get_run(place[0].info.run_id).info.status for place in runs.values()} == {"KILLED"}
    runs = by_place(project(tmp_path, 1.0))
    assert {run.info.status for place in runs.values() for run in place} == {"FINISHED"}
    assert all(len(place) == 1 for place in runs.values())


def test_calibration_results_say_so(tmp_path: Path) -> None:
    assert all("say nothing about real models" in run.data.tags["mlflow.note.content"] for run in project(tmp_path, 1.0))
