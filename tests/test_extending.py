"""The recipes of docs/extending.md, followed to the letter in a copy of the project: the files and lines that stand there, and nothing else."""

from __future__ import annotations

import csv
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml

from configs.shipped import CONFIGS
from tests import sweeps
from tests.begun import Begin

pytestmark = pytest.mark.slow

PROJECT = CONFIGS.parent
RECIPES = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w/]+\.(?:py|yaml))`[^\n]*:\n\n```\w+\n(.*?)```", RECIPES, re.MULTILINE | re.DOTALL))
LINES = {line.partition(":")[0]: yaml.safe_load(line) for line in re.findall(r"```yaml\n(\w+: \{.*\})\n```", RECIPES)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    folder = tmp_path_factory.mktemp("project")
    begin(folder / "home")
    for package in ("configs", "flows", "tasks", "model_registry"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    cli = folder / "flows" / "cli.py"
    cli.write_text(cli.read_text(encoding="utf-8").replace('"schema"', '"schema", "where"', 1), encoding="utf-8")
    sweeps.tiny_model(folder / "model_registry" / "ladders" / "small")
    return folder


def palms(copy: Path, *arguments: str) -> str:
    environment = sweeps.environment(copy / "home") | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [*sweeps.COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False, cwd=copy
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def swept(copy: Path) -> Path:
    """A sweep with the evaluation as its primary outcome, the method as an arm, over the ladder."""
    config = sweeps.experiment(copy / "experiment", {})
    document = yaml.safe_load(config.read_text())
    document["ladders"] = [{"ladder": "house", "sizes": ["small"]}]
    document["arms"] = {"base": {"method": "none"}, **LINES["biases"]}
    document["suites"].pop("cooccurrence")
    document["evaluations"] = LINES["shouting"]
    document |= {"primary": {"suite": "human_eval", "metric": "capitals"}, "contrasts": ["biases-base"]}
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    palms(copy, "run", str(config))
    return config


def test_the_recipes_name_the_files_that_they_promise() -> None:
    assert set(FILES) == {
        *("tasks/evaluations/shouting/stage.py", "tasks/evaluations/shouting/body.py", "tasks/finetune/methods/bitfit.py"),
        *("model_registry/ladders/house.yaml", "flows/commands/where.py"),
    }
    assert set(LINES) == {"shouting", "biases"}


def test_an_evaluation_is_in_the_numbers_the_tracker_and_the_report(copy: Path, swept: Path) -> None:
    rows = list(csv.DictReader(palms(copy, "metrics", "--format", "csv").splitlines()))
    levels = {row["arm"]: float(row["value"]) for row in rows if (row["metric"], row["group"]) == ("capitals", "all")}
    assert set(levels) == {"base", "biases", "biases-base"}
    assert levels["biases-base"] == pytest.approx(levels["biases"] - levels["base"])
    with sqlite3.connect(copy / "home" / "mlflow" / "mlflow.db") as database:
        assert database.execute("select count(*) from latest_metrics where key = '1_outcome/capitals'").fetchone()[0] == 2
    page = Path(palms(copy, "report").strip()).read_text(encoding="utf-8")
    assert "share of capitals" in page
    assert re.search(r"<h1>[^<]*share of capitals", page)
    assert "Nothing can be compared" not in page


def test_a_rerun_may_begin_at_it(copy: Path, swept: Path) -> None:
    palms(copy, "rerun", "--from", "shouting", "--arm", "base")
    made = [line.split()[1] for line in palms(copy, "status").splitlines() if line.startswith("done")]
    assert any(label.startswith("shouting/house-small/base") for label in made)


def test_a_section_of_the_report_is_declared(copy: Path, swept: Path) -> None:
    texture = "evaluations.texture={suites: [human_eval], type_token_words: 4}"
    palms(copy, "run", str(swept), "--set", texture, "--set", "primary.metric=length_words")
    page = Path(palms(copy, "report").strip()).read_text(encoding="utf-8")
    assert "<h2>Shouting</h2>" in page
    assert "How much of an answer is written in capitals." in page
    assert "Share of capitals of each arm by size" in page or "share of capitals of each arm by size" in page  # its drawing


def test_a_method_of_tuning_trains_what_it_says(copy: Path, swept: Path) -> None:
    rows = list(csv.DictReader(palms(copy, "metrics", "--format", "csv").splitlines()))
    (trained,) = [float(row["value"]) for row in rows if (row["arm"], row["metric"]) == ("biases", "trainable_parameters")]
    assert 0 < trained < 1000  # of some 60,000


def test_a_ladder_is_listed(copy: Path) -> None:
    assert re.search(r"house +small", palms(copy, "models", "ladders"))


def test_a_command_is_listed_and_does_what_it_says(copy: Path) -> None:
    assert "The folder that keeps all that a run leaves." in palms(copy, "--help")
    assert palms(copy, "where").strip() == str(copy / "home")
