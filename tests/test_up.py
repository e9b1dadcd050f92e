"""`palms up` as an engineer on call uses it: runs handed over, cancelled, retried, scheduled, told of, and what a dead runner leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine.board import FINAL
from tests import sweeps
from tests.browser import CHROMIUM
from tests.receiver import Receiver, listening

pytestmark = pytest.mark.slow
CANCELLED_S = 10.0


@dataclass
class Up:
    """Everything that `palms up` started, with the orchestrator's own API as its dashboard uses it."""

    home: Path

    def server(self, name: str) -> dict[str, Any]:
        return json.loads((self.home / f"{name}.server.json").read_text())

    def ask(self, method: str, path: str, listed: list[Any] | None = None, **document: Any) -> httpx.Response:
        """A busy server says 503, and is asked again, as Prefect's own client does."""
        url = f"http://127.0.0.1:{self.server('prefect')['port']}/api{path}"
        for _ in range(20):
            answer = httpx.request(method, url, json=listed or document, timeout=30)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        return answer

    def hand_in(self, **request: Any) -> httpx.Response:
        deployment = self.ask("GET", "/deployments/name/sweep/palms").json()["id"]
        return self.ask("POST", f"/deployments/{deployment}/create_flow_run", parameters={"request": request})

    def set_state(self, flow_run: str, **state: Any) -> None:
        self.ask("POST", f"/flow_runs/{flow_run}/set_state", state=state).raise_for_status()

    def await_end(self, flow_run: str) -> dict[str, Any]:
        def ended() -> list[dict[str, Any]]:
            state = self.ask("GET", f"/flow_runs/{flow_run}").json()["state"]
            return [state] if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else []

        return sweeps.wait_for(ended)[0]

    def runs(self) -> list[dict[str, Any]]:
        """The deployment's, the latest first."""
        found = self.ask("POST", "/flow_runs/filter", sort="START_TIME_DESC", flows={"name": {"any_": ["sweep"]}}).json()
        return [run for run in found if run["deployment_id"] and run["start_time"]]

    def stages(self) -> list[int]:
        """The processes that stages run in: children of the sweeps' fork servers."""
        family = sweeps.living(self.server("runner")["pid"])
        return [pid for pid, (parent, _) in family.items() if "forkserver" in family.get(parent, (0, ""))[1]]

    @contextmanager
    def held(self) -> Iterator[None]:
        """The one sweep under way stands still: what is asked of others in the meantime meets a sweep that is not over."""
        family = sweeps.living(self.server("runner")["pid"])
        over = {parent for parent, command in family.values() if "forkserver" in command}
        (sweep,) = (pid for pid in over if "forkserver" not in family[pid][1])  # a stage keeps its fork server's command line
        os.kill(sweep, signal.SIGSTOP)
        yield
        os.kill(sweep, signal.SIGCONT)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    datasets = {name: str(folder / f"{name}.jsonl") for name in ("values_targeted", "control")}
    for path in datasets.values():
        shutil.copy(sweeps.SMALL / Path(path).name, path)
    return sweeps.experiment(folder, {"gpt2": sweeps.tiny_model(folder / "gpt2")}, datasets=datasets)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("home")
    started = sweeps.palms(home, "up", "--detach").stdout
    assert [line.split()[0] for line in started.splitlines()] == ["prefect", "mlflow", "runner", "`palms"]
    yield Up(home)
    sweeps.palms(home, "down")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with listening() as one:
        yield one


@pytest.fixture(scope="module")
def first(up: Up, config: Path, receiver: Receiver) -> dict[str, Any]:
    """A sweep that was handed over, cancelled in the dashboard while a stage ran, and retried there; the flow run's last state."""
    sweeps.palms(up.home, "notify", f"{receiver.url}/told", "--on", "both")
    run = started(up.home, "run", str(config))
    sweeps.wait_for(lambda: [entry for entry in board(up.home) if entry["state"] == "done"])  # partial work to keep
    sweeps.wait_for(up.stages)
    flow_run = up.runs()[0]["id"]
    up.set_state(flow_run, type="CANCELLING", name="Cancelling")
    cancelled = time.monotonic()
    sweeps.wait_for(lambda: [True] if all(entry["state"] in FINAL for entry in board(up.home)) and not up.stages() else [])
    assert time.monotonic() - cancelled < CANCELLED_S
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert f"/runs/flow-run/{flow_run}" in out
    assert "cancelled; what was finished is kept" in err
    sweeps.wait_for(
        lambda: [True] if "successfully" in up.await_end(flow_run)["message"] else []
    )  # the runner's word, after the flow's own
    assert "KILLED" in sweeps.tracked_runs(up.home)
    assert "RUNNING" not in sweeps.tracked_runs(up.home)
    done = [entry["key"] for entry in board(up.home) if entry["state"] == "done"]
    assert done
    up.set_state(flow_run, type="SCHEDULED", name="AwaitingRetry")
    state = up.await_end(flow_run)
    assert {entry["key"] for entry in board(up.home) if entry["state"] == "cached"} >= set(done)
    return {**state, "id": flow_run}


def board(home: Path) -> list[dict[str, Any]]:
    found = max(home.glob("sweeps/*/state.json"), key=lambda path: path.stat().st_mtime, default=None)
    return json.loads(found.read_text()) if found else []


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command, pipe = [*sweeps.COMMAND, *arguments], subprocess.PIPE
    return subprocess.Popen(command, env=sweeps.environment(home), stdout=pipe, stderr=pipe, text=True)


def metrics(home: Path) -> str:
    return sweeps.palms(home, "metrics", "--format", "csv").stdout


def test_a_cancelled_and_retried_run_gives_the_metrics_of_one_that_nobody_disturbed(
    up: Up, config: Path, first: dict[str, Any], tmp_path: Path
) -> None:
    assert first["type"] == "COMPLETED"
    assert first["message"].startswith(f"{len(board(up.home))} stages, ")
    shutil.copytree(up.home / "store" / "scorer", tmp_path / "store" / "scorer")  # ten seconds and more to train
    shutil.copy(up.home / "store" / "format.json", tmp_path / "store")
    sweeps.palms(tmp_path, "run", str(config))
    assert metrics(up.home) == metrics(tmp_path)
    assert sweeps.tracked_runs(up.home) == {"FINISHED"}


def test_its_artifact_links_the_tracked_runs(up: Up, first: dict[str, Any]) -> None:
    found = up.ask("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [first["id"]]}}).json()
    last = max((one for one in found if one["type"] == "markdown"), key=lambda one: one["created"])
    assert last["key"] == "small"
    assert "say nothing about real models" in last["data"]
    with sqlite3.connect(up.home / "mlflow" / "mlflow.db") as database:
        current = "select run_uuid from runs where run_uuid not in (select run_uuid from tags where key = 'superseded')"
        tracked = {
            f"http://127.0.0.1:{up.server('mlflow')['port']}/#/experiments/1/runs/{one}" for (one,) in database.execute(current)
        }
    assert {word.split(")")[0] for word in last["data"].split("](")[1:]} == tracked
    assert httpx.get(next(iter(tracked))).status_code == 200


def test_a_long_stage_shows_its_progress(up: Up, first: dict[str, Any]) -> None:
    found = up.ask("POST", "/artifacts/filter", artifacts={"type": {"any_": ["progress"]}}).json()
    assert any(one["data"] == 100 and one["description"] == "scorer/calibration: done" for one in found)


def test_the_webhook_is_told_of_the_end(up: Up, first: dict[str, Any], receiver: Receiver) -> None:
    told = receiver.await_at("/told", 1)[0]
    assert (told["state"], told["flow_run_id"]) == ("Completed", first["id"])
    assert told["url"].endswith(f"/runs/flow-run/{first['id']}")
    assert told["sweep"].startswith("small-")
    assert receiver.url in sweeps.palms(up.home, "notify", "list").stdout


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"config": "calibraton"}, "request.config"),
        ({"config": "calibration", "seeds": [-1]}, "request.seeds[0]"),
        ({"config": "calibration", "train_samples": [0]}, "request.train_samples[0]"),
        ({"config": "calibration", "overrides": ["epochs"]}, "request.overrides[0]"),
        ({"config": "calibration", "overlap": "perhaps"}, "request.overlap"),
        ({"config": "calibration", "seedz": [1]}, "request"),
        ({"config": "calibration", "start": {"stage": "finetun"}}, "request.start.stage"),
    ],
)
def test_a_bad_value_is_refused_when_it_is_handed_in(up: Up, request_: dict[str, Any], where: str) -> None:
    refused = up.hand_in(**request_)
    assert refused.status_code == 409
    assert f"'{where}'" in refused.json()["detail"]


def test_what_cannot_be_seen_in_the_form_fails_in_one_line(up: Up) -> None:
    state = up.await_end(up.hand_in(config="/nowhere/at.yaml").json()["id"])
    assert state["type"] == "FAILED"
    assert "BadInput: /nowhere/at.yaml: no such file; shipped experiments: " in state["message"]


def test_a_second_run_of_a_sweep_is_skipped_with_a_note_or_waits(up: Up, config: Path, first: dict[str, Any]) -> None:
    anew = {"config": str(config), "start": {"stage": "prepare"}}
    running = up.hand_in(**anew).json()["id"]
    sweeps.wait_for(up.stages)
    with up.held():
        skipped, waiting = (
            up.hand_in(config=str(config)).json()["id"],
            up.hand_in(config=str(config), overlap="wait").json()["id"],
        )
        refused = sweeps.palms(up.home, "run", str(config), status=2).stderr
        state = up.await_end(skipped)
    assert "is being run by another process; `palms status" in refused
    assert (state["type"], state["name"]) == ("COMPLETED", "Skipped")
    assert "is being run by another process" in state["message"]
    assert up.await_end(running)["name"] == up.await_end(waiting)["name"] == "Completed"


def test_a_schedule_fires_and_reruns_only_what_a_changed_dataset_touches(up: Up, config: Path, first: dict[str, Any]) -> None:
    control = config.parent / "control.jsonl"
    lines = control.read_text().splitlines()
    control.write_text("\n".join([lines[0].replace(".", "!"), *lines[1:]]) + "\n")
    before = len(up.runs())
    made = sweeps.palms(up.home, "schedule", str(config), "--cron", "* * * * *", "--timezone", "Asia/Kolkata").stdout
    assert made.startswith("schedule small: sweep small-")
    assert made.count(" IST") == 3
    assert (
        "very one"
        in sweeps.palms(up.home, "schedule", str(config), "--cron", "* * * * *", "--timezone", "Asia/Kolkata", status=2).stderr
    )
    sweeps.wait_for(lambda: up.runs()[before:])
    sweeps.palms(up.home, "schedule", "pause", "small")
    assert "paused" in sweeps.palms(up.home, "schedule", "list").stdout
    assert up.await_end(up.runs()[0]["id"])["type"] == "COMPLETED"
    assert up.runs()[0]["name"].startswith("small-")
    untouched = {entry["label"] for entry in board(up.home) if entry["state"] == "cached"}
    made_anew = {entry["label"] for entry in board(up.home) if entry["state"] == "done"}
    assert "finetune/local-gpt2/control/n8/seed0" in made_anew
    assert {"finetune/local-gpt2/values_targeted/n8/seed0", "toxicity/local-gpt2/base/seed0/human_eval"} <= untouched
    sweeps.palms(up.home, "schedule", "resume", "small")
    assert str(config) in sweeps.palms(up.home, "schedule", "list").stdout  # resumed with its parameters
    nameless = {"active": False, "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}}  # as somebody else's client makes it
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    made_there = up.ask("POST", f"/deployments/{deployment}/schedules", [nameless]).json()[0]["id"]
    sweeps.palms(up.home, "down")
    sweeps.palms(up.home, "up", "--detach")
    known = sweeps.palms(up.home, "schedule", "list").stdout
    assert str(config) in known  # Prefect would have dropped both
    assert "none that this version reads" in known
    sweeps.palms(up.home, "schedule", "rm", "small")
    sweeps.palms(up.home, "schedule", "rm", made_there[:8])
    assert "no schedules" in sweeps.palms(up.home, "schedule", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["schedule", "calibration", "--cron", "0 0 31 2 *"], "never fires; there is no such day"),
        (["schedule", "calibraton", "--cron", "@daily"], 'did you mean "calibration"?'),
        (["schedule", "calibration", "--cron", "@daily", "--set", "seeds=x"], "--set seeds"),
        (["schedule", "rm", "nothing"], "no schedule 'nothing'"),
        (["notify", "ftp://example.org"], "accepted is http://HOST/PATH"),
        (["up"], "is up already"),
        (["mlflow", "rebuild"], "`palms down` first"),
    ],
)
def test_bad_input_is_one_line(up: Up, arguments: list[str], told: str) -> None:
    refused = sweeps.palms(up.home, *arguments, status=2)
    assert told in refused.stderr
    assert (len(refused.stderr.splitlines()), refused.stdout) == (1, "")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_dashboard_shows_the_run_and_the_form(up: Up, first: dict[str, Any]) -> None:
    base = f"http://127.0.0.1:{up.server('prefect')['port']}"
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    name = next(run["name"] for run in up.runs() if run["id"] == first["id"])
    assert name in page(f"{base}/runs/flow-run/{first['id']}")
    form = page(f"{base}/deployments/deployment/{deployment}/run")
    assert all(words in form for words in ("a shipped experiment, or the absolute path", "Train Samples", "Overlap"))


def page(url: str) -> str:
    """The document after its scripts have run."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_killed_runner_takes_everything_along_and_a_rerun_goes_on(
    up: Up, config: Path, first: dict[str, Any], tmp_path: Path
) -> None:
    """A home of its own, with the outputs that are there: its `palms up` does not come back."""
    shutil.copytree(up.home / "store", tmp_path / "store")
    sweeps.palms(tmp_path, "up", "--detach")
    own = Up(tmp_path)
    run = started(tmp_path, "run", str(config), "--set", "seeds=[1]")
    sweeps.wait_for(own.stages)
    stages, prefect = own.stages(), own.server("prefect")["pid"]
    os.kill(own.server("runner")["pid"], signal.SIGKILL)
    sweeps.wait_for(lambda: [] if any(Path(f"/proc/{pid}").exists() for pid in stages) else [True], 5.0)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "palms rerun small-" in err
    sweeps.wait_for(lambda: [] if (tmp_path / "up.server.json").exists() else [True], 60.0)
    assert "runner ended by itself; its log:" in (tmp_path / "up.log").read_text()
    assert not sweeps.living(prefect)
    assert sweeps.palms(tmp_path, "down").stdout == "nothing is up\n"
    done = sweeps.palms(tmp_path, "rerun")
    assert " flow and task runs crashed and " in done.stdout
    assert {"RUNNING", "PENDING"} & {kind for _, kind, _ in sweeps.task_runs(tmp_path)} == set()
    assert {"RUNNING", "PENDING"} & sweeps.flow_states(tmp_path) == set()
