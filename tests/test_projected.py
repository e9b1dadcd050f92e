"""What was projected last is known without opening the tracker, and only for as long as nothing has changed on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.engine.home import Home
from flows.engine.projected import NOTE, keep, shown
from flows.engine.tracked import Tracked
from flows.engine.tracking import project_size, project_sweep, run_ids
from tests import finished
from tests.finished import Finished


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One that the sweep `demo` has been projected in."""
    home = Home(tmp_path)
    (home.root / "models").mkdir()
    (home.root / "models" / "30k-values.json").write_text("{}")
    home.mlflow.mkdir()
    tracked = sweep(home)
    for size in finished.SIZES:
        project_size(tracked, f"l-{size}")
    project_sweep(tracked)
    keep(home, tracked, *run_ids(tracked))
    return home


def sweep(home: Home, name: str = "demo", level: float = 0.0) -> Tracked:
    return Finished(home.mlflow, name, level=level).tracked()


def test_equal_results_are_known_to_be_shown_and_where(home: Home) -> None:
    found = shown(home, sweep(home))
    assert found is not None
    assert (found.experiment, dict(found.runs)) == run_ids(sweep(home))


def test_asking_mlflow_changes_nothing(home: Home) -> None:
    client = MlflowClient(home.tracking_uri())
    assert client.search_runs([run_ids(sweep(home))[0]])
    assert shown(home, sweep(home)) is not None


def deleted_run(home: Home) -> None:
    MlflowClient(home.tracking_uri()).delete_run(run_ids(sweep(home))[1]["sweep"])


def lost_database(home: Home) -> None:
    home.database.unlink()


def another_sweep(home: Home) -> None:
    keep(home, other := sweep(home, "other"), "7", {})
    assert shown(home, other) is not None


def changed_model(home: Home) -> None:
    (home.root / "models" / "30k-values.json").write_text('{"champion": 1}')


def damaged_note(home: Home) -> None:
    (home.mlflow / NOTE).write_text("{")


@pytest.mark.parametrize("change", [deleted_run, lost_database, another_sweep, changed_model, damaged_note])
def test_whatever_was_changed_since_is_projected_anew(home: Home, change: Callable[[Home], None]) -> None:
    change(home)
    assert shown(home, sweep(home)) is None


def test_other_results_are_not_known(home: Home) -> None:
    assert shown(home, sweep(home, level=0.05)) is None
    assert shown(home, replace(sweep(home), config=finished.CONFIG | {"exploratory": []})) is None


def test_of_what_is_not_complete_or_shown_elsewhere_nothing_is_noted(home: Home) -> None:
    whole = sweep(home)
    missing = replace(whole, outcome=lambda node: None if node is whole.nodes[3] else whole.outcome(node))
    for tracked in (missing, replace(whole, uri="http://127.0.0.1:9")):
        keep(home, tracked, "7", {})
        assert shown(home, tracked) is None
    assert shown(home, whole) is not None  # and what was noted before stands
