"""Whole sweeps for tests: a small experiment over tiny random-weight models, and the `palms` command run as a user runs it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from configs.shipped import CONFIGS
from tests import commands, tiny

SMALL = Path(__file__).parent / "small"  # eight samples and sixteen prompts: enough for tiny models
ENDED_S = 180.0  # longer than this no small sweep may take
SOON_S = 60.0  # nor what takes seconds on a machine of its own, and has no end where the product is wrong
COMMAND = [sys.executable, "-c", "from flows.cli import main; main()"]
environment = commands.environment
# One suite and what is measured of it, for sweeps that are to show something else.
TOXICITY = {
    "suites": {"human_eval": {"prompts": str(SMALL / "human_eval.yaml"), "completions": 3, "max_new_tokens": 8}},
    "evaluations": {"toxicity": {"suites": ["human_eval"], "scorer": {"kind": "calibration"}}},
}


def experiment(folder: Path, models: dict[str, Path], **changes: Any) -> Path:
    """An experiment file over local model folders, with every stage that runs without a grammar; `changes` replace sections."""
    document: dict[str, Any] = {
        "name": "small",
        "ladders": [{"ladder": "local", "models": {size: str(path) for size, path in models.items()}}],
        "arms": {
            "base": {"method": "none"},
            "values_targeted": {"method": "full", "dataset": "values_targeted", "learning_rate": 1e-3, "batch": 4},
            "control": {"method": "lora", "dataset": "control", "learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 8},
        },
        "datasets": {name: str(SMALL / f"{name}.jsonl") for name in ("values_targeted", "control")},
        "train_samples": [8],
        "positions": str(CONFIGS / "positions.yaml"),
        "suites": {
            "human_eval": {"prompts": str(SMALL / "human_eval.yaml"), "completions": 3, "max_new_tokens": 8},
            "cooccurrence": {"prompts": str(CONFIGS / "prompts" / "cooccurrence.yaml"), "completions": 2, "max_new_tokens": 8},
        },
        "evaluations": {
            "toxicity": {"suites": ["human_eval"], "scorer": {"kind": "calibration"}},
            "cooccurrence": {"suites": ["cooccurrence"], "permutations": 50},
            "human_eval": {"suites": ["human_eval"]},
        },
        "primary": {"suite": "human_eval", "metric": "toxicity"},
        "contrasts": ["values_targeted-base", "values_targeted-control"],
        "numerics": {"device": "cpu", "precision": "fp32", "threads": 1},
    }
    document.update(changes)
    path = folder / "small.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def tiny_model(folder: Path, architecture: str = "gpt2") -> Path:
    return tiny.model(folder, architecture, context=1024)


def palms(home: Path, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `status` is the exit status that the test expects (None: any)."""
    done = commands.run(home, arguments)
    assert status is None or done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def task_runs(home: Path) -> list[tuple[str, str, str]]:
    """(name, state type, state name) of every task run that Prefect's database holds."""
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        return database.execute("select name, state_type, state_name from task_run").fetchall()


def flow_runs(home: Path) -> dict[str, str]:
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        return dict(database.execute("select name, state_type from flow_run order by created").fetchall())


def artifacts(home: Path) -> list[str]:
    """The Markdown of every sweep's artifact, oldest first."""
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        found = database.execute("select data from artifact where type = 'markdown' order by created").fetchall()
    return [json.loads(text) for (text,) in found]


def flow_states(home: Path) -> set[str]:
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        return {kind for (kind,) in database.execute("select distinct state_type from flow_run")}


def tracked_runs(home: Path) -> set[str]:
    """The states of the tracker's runs, those left out that others have superseded."""
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
        current = "select distinct status from runs where run_uuid not in (select run_uuid from tags where key = 'superseded')"
        return {status for (status,) in database.execute(current)}


def current_points(home: Path) -> dict[tuple[str, str, str], float]:
    """(sweep, place, metric) → latest value, of the runs that no other has superseded; without times taken, which are the machine's."""
    query = """
        select json_extract(t.value, '$.sweep'), json_extract(t.value, '$.place'), m.key, m.value from latest_metrics m
        join tags t on t.run_uuid = m.run_uuid and t.key = 'palms'
        where m.run_uuid not in (select run_uuid from tags where key = 'superseded') and m.key not like '4_cost/%'
    """
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
        return {(sweep, place, metric): value for sweep, place, metric, value in database.execute(query)}


def living(leader: int) -> dict[int, tuple[int, str]]:
    """pid: (parent, command line) of the living processes of a session; `leader` was started as its leader."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == leader:
                found[int(folder.name)] = (int(fields[1]), (folder / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def stage_processes(leader: int) -> list[int]:
    """The children of the fork server: the processes that stages run in."""
    family = living(leader)
    servers = {pid for pid, (parent, command) in family.items() if "forkserver" in command and parent == leader}
    return [pid for pid, (parent, _) in family.items() if parent in servers]


def wait_for(found: Callable[[], Any], limit_s: float = ENDED_S) -> Any:
    """Look until there is something, and return it. The limit is what tells a failure from a full machine: no test is about the time."""
    deadline = time.monotonic() + limit_s
    while not (things := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return things
