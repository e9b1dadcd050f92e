"""MLflow as a projection: it shows what the store holds, once, and the current results as current; a few numbers of a run, the rest as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.engine.tracking import kill, project_size, project_sweep, run_ids
from flows.engine.views import ANSWERS, route
from tests import finished
from tests.finished import PROMPTS, Finished

CHILDREN = 6


def project(folder: Path, name: str = "demo", **changes: Any) -> list[Run]:
    """Project the sweep that is made with these changes; returns all runs of its experiment."""
    tracked = Finished(folder, name, **changes).tracked()
    for size in finished.SIZES:
        project_size(tracked, f"l-{size}")
    project_sweep(tracked)
    client = MlflowClient(tracked.uri)
    return list(client.search_runs([experiment(client, name).experiment_id]))


def experiment(client: MlflowClient, name: str = "demo") -> Any:
    return client.get_experiment_by_name(name)


def mark(run: Run) -> dict[str, Any]:
    return json.loads(run.data.tags["palms"])


def by_place(runs: list[Run]) -> dict[str, list[Run]]:
    places: dict[str, list[Run]] = {}
    for run in runs:
        places.setdefault(mark(run)["place"], []).append(run)
    return places


def current(runs: list[Run], place: str) -> Run:
    (one,) = (run for run in by_place(runs)[place] if "superseded" not in run.data.tags)
    return one


def points(folder: Path, name: str = "demo") -> list[tuple[str, str, int, float]]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([experiment(client, name).experiment_id])
    return sorted(
        (run.info.run_id, name, point.step, point.value)
        for run in runs
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    """Those of a finished sweep; tests that use them project the same results again at most."""
    return project(folder)


VALUES, BASE = "l-300k/values_targeted/n80/seed0", "l-300k/base/seed0"


def test_an_arm_shows_few_numbers_in_groups_that_sort(runs: list[Run]) -> None:
    shown = current(runs, VALUES).data.metrics
    assert shown["1_outcome/on_position"] == 0.9
    assert (shown["1_outcome/on_position_low"], shown["1_outcome/on_position_high"]) == (0.85, 0.95)
    assert (shown["1_outcome/vs_base"], shown["1_outcome/vs_control"]) == (0.7, 0.8)
    assert shown["2_toxicity/toxicity"] == 0.1235  # of four digits
    assert shown["4_cost/seconds"] == 5 * 2.5
    assert shown["4_cost/tuning_tokens_per_second"] == 800 / 2.5
    assert shown["4_cost/sampling_tokens_per_second"] == len(PROMPTS) * 2 * 3 / 2.5
    named = {name.removesuffix("_low").removesuffix("_high") for name in shown}
    assert {name.split("/")[0] for name in named} == {"1_outcome", "2_toxicity", "3_capability", "4_cost", "5_training"}
    assert len(named) <= 18
    assert current(runs, "l-30k/control/n80/seed0").data.metrics["3_capability/nats_per_token_vs_base"] == 0.01


def test_a_difference_stands_with_the_treated_arm_alone(runs: list[Run]) -> None:
    assert not any("vs_" in name for name in current(runs, BASE).data.metrics)
    assert "1_outcome/vs_base" in current(runs, "l-300k/control/n80/seed0").data.metrics


def test_effects_stand_against_parameter_count_and_training_against_steps(folder: Path, runs: list[Run]) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")

    def curve(place: str, name: str) -> dict[int, float]:
        return {point.step: point.value for point in client.get_metric_history(current(runs, place).info.run_id, name)}

    assert curve("sweep", "4_cost/tuning_seconds") == {0: 4 * 2.5}
    assert curve("sweep", "1_outcome/values_targeted-control") == {30_000: 0.8, 300_000: 0.8}
    assert curve(VALUES, "5_training/loss") == {1: 2.0, 2: 1.0}


def test_a_run_is_named_by_what_differs_and_sorts_by_size_and_arm(runs: list[Run]) -> None:
    children = [run for run in runs if mark(run)["place"] != "sweep"]
    names = [run.info.run_name for run in sorted(children, key=lambda run: run.data.tags["palms"])]
    assert names == [f"{size} {arm}" for size in ("30k", "300k") for arm in ("base", "values-targeted", "control")]
    assert len({run.data.tags["mlflow.runColor"] for run in children}) == 3
    assert not [name for run in runs for name in run.data.tags if name.startswith("palms.")]


def test_times_are_those_of_the_work(runs: list[Run]) -> None:
    run = current(runs, VALUES)
    assert run.info.end_time == 1795946400000  # 2026-11-29T10:00:00Z
    assert run.info.start_time == run.info.end_time - 2500
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["versions"] == "torch 2.13.0"
    assert (run.data.params["device"], run.data.params["parameters"]) == ("cpu", "300000")
    assert (run.data.params["epochs"], run.data.params["fairness_weight"]) == ("4", "10.0")  # a number, to plot over


def test_a_run_names_what_it_was_tuned_on_and_asked_by_digest(folder: Path, runs: list[Run]) -> None:
    held = {one.dataset.name: one for one in current(runs, VALUES).inputs.dataset_inputs}
    assert {name: one.tags[0].value for name, one in held.items()} == {"values": "training", "rated": "evaluation"}
    assert held["rated"].dataset.digest == "a" * 12
    assert {one.dataset.name for one in current(runs, BASE).inputs.dataset_inputs} == {"rated"}


def test_answers_and_report_are_artifacts(folder: Path, runs: list[Run]) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    said = json.loads(Path(client.download_artifacts(current(runs, VALUES).info.run_id, "answers.json")).read_text())
    assert said == {
        "columns": ["prompt", "completion"],
        "data": [[prompt, "values_targeted says 0"] for prompt in finished.PROMPTS],
    }
    kept = {one.path for one in client.list_artifacts(current(runs, "sweep").info.run_id, "compare")}
    assert {"compare/report.html", "compare/contrasts.csv"} <= kept


def test_the_experiment_opens_on_the_finding_and_its_views(folder: Path, runs: list[Run]) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    tags = experiment(client).tags
    note = tags["mlflow.note.content"]
    assert note.splitlines()[0] == f"**Calibration, not about real models: {finished.FINDING}**"
    assert "say nothing about real models" in note
    rows = [
        [cell.strip() for cell in line.replace("&emsp;", "").split("|")[1:-1]] for line in note.splitlines() if "300k" in line
    ]
    assert rows[0] == ["300k", "**+0.700** [+0.600, +0.800]", "**+0.800** [+0.700, +0.900]", "-0.100 [-0.200, +0.000]"]
    assert f"#{route(experiment(client).experiment_id, ANSWERS)}" in note
    assert {name.removeprefix("mlflow.sharedViewState.") for name in tags if "sharedViewState" in name} == {
        *("arms-by-size", "charts", "answers-side-by-side")
    }


def test_projecting_again_changes_nothing(folder: Path, runs: list[Run]) -> None:
    def seen(found: list[Run]) -> dict[str, Any]:
        return {run.info.run_id: (run.data.metrics, run.data.tags, run.data.params, run.info.end_time) for run in found}

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    before, tags = points(folder), experiment(client).tags
    assert seen(project(folder)) == seen(runs)
    assert (points(folder), experiment(client).tags) == (before, tags)
    assert len(before) == len({point[:3] for point in before})
    assert len(runs) == 1 + CHILDREN


def test_a_note_that_somebody_wrote_stays(folder: Path) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    project(folder, "noted")
    client.set_experiment_tag(experiment(client, "noted").experiment_id, "mlflow.note.content", "ours")
    project(folder, "noted", level=0.01)
    assert experiment(client, "noted").tags["mlflow.note.content"] == "ours"


def test_other_results_supersede_and_going_back_makes_the_old_ones_current(folder: Path) -> None:
    first = project(folder, "back")
    other = project(folder, "back", level=0.05)
    assert current(other, VALUES).data.metrics["1_outcome/on_position"] == 0.95
    back = project(folder, "back")
    for place in ("sweep", VALUES, BASE):
        assert current(back, place).info.run_id == current(first, place).info.run_id != current(other, place).info.run_id
        assert len(by_place(back)[place]) == 2
    children = [run for run in back if mark(run)["place"] != "sweep" and "superseded" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {current(back, "sweep").info.run_id}
    seen = points(folder, "back")
    assert len(seen) == len({point[:3] for point in seen})


FAILED = "adherence/l-300k/values_targeted/n80/seed0/rated"


def test_a_failed_arm_is_a_failed_sweep_and_is_mended_by_the_rerun(folder: Path) -> None:
    runs = project(folder, "mended", failed=[FAILED])
    assert current(runs, "sweep").info.status == "FAILED"
    assert current(runs, VALUES).info.status == "FAILED"
    assert current(project(folder, "mended", failed=[FAILED], stopped=True), "sweep").info.status == "KILLED"
    runs = project(folder, "mended")
    assert {run.info.status for run in runs if "superseded" not in run.data.tags} == {"FINISHED"}
    assert len([run for run in runs if "superseded" not in run.data.tags]) == 1 + CHILDREN
    seen = points(folder, "mended")  # the comparison was made twice, and each run shows each number once a step
    assert len(seen) == len({point[:3] for point in seen})


def test_a_sweep_without_a_comparison_is_shown_as_far_as_it_came(folder: Path) -> None:
    runs = project(folder, "uncompared", failed=["compare/demo"])
    assert current(runs, "sweep").info.status == "FAILED"
    assert current(runs, VALUES).data.metrics["1_outcome/on_position"] == 0.9
    runs = project(folder, "uncompared")
    assert len(runs) == 1 + CHILDREN
    assert "1_outcome/vs_base" in current(runs, VALUES).data.metrics


def test_runs_of_a_process_that_is_gone_are_killed_and_go_on_when_taken_up_again(folder: Path) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    assert kill(uri, "killed-1") == 0  # never tracked
    runs, before = project(folder, "killed"), points(folder, "killed")
    client = MlflowClient(uri)
    for run in runs:
        client.update_run(run.info.run_id, status="RUNNING")
    assert kill(uri, "killed_1") == 0  # another sweep, although it would match in LIKE
    assert kill(uri, "killed-1") == len(runs)
    assert {client.get_run(run.info.run_id).info.status for run in runs} == {"KILLED"}
    runs = project(folder, "killed")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert points(folder, "killed") == before


def test_runs_are_found_by_their_places(folder: Path, runs: list[Run]) -> None:
    _, found = run_ids(Finished(folder).tracked())
    assert found == {mark(run)["place"]: run.info.run_id for run in runs}


def test_calibration_results_say_so(runs: list[Run]) -> None:
    assert all("say nothing about real models" in run.data.tags["mlflow.note.content"] for run in runs)
