"""The sweep flow in a work pool, deployed from prefect.yaml and run by a worker of Prefect's: a sweep like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from configs.shipped import CONFIGS
from flows.engine.board import FINAL, Entry, read_board
from flows.engine.notes import Unreadable, sweep_note
from tests import sweeps
from tests.begun import Begin
from tests.up import Up

pytestmark = pytest.mark.slow
PROJECT = CONFIGS.parent


@dataclass
class Pool:
    """A process pool with one worker, beside everything that `palms up` started."""

    up: Up
    worker: subprocess.Popen[bytes]
    environment: dict[str, str]

    def prefect(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def work(self) -> None:
        """Start a worker; its log stays beside the home's others."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "palms"]
        with (self.up.home / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def hand_in(self, deployment: str, **request: Any) -> str:
        there = self.up.ask("GET", f"/deployments/name/sweep/{deployment}").json()["id"]
        return self.up.ask("POST", f"/deployments/{there}/create_flow_run", parameters={"request": request}).json()["id"]

    def board(self) -> list[Entry]:
        try:
            return [entry for path in self.up.home.glob("sweeps/*/state.json") for entry in read_board(path)]
        except Unreadable:
            return []

    def stages(self) -> list[int]:
        """The processes that stages run in, of the sweep that the worker has: a stage keeps its fork server's command line, and has it as parent."""
        every = {int(path.name): path for path in Path("/proc").glob("[0-9]*")}
        found = []
        for pid, path in every.items():
            try:
                inside = f"PALMS_HOME={self.up.home}\0".encode() in (path / "environ").read_bytes()
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if inside and all(b"forkserver" in (every[one] / "cmdline").read_bytes() for one in (pid, parent)):
                    found.append(pid)
            except (OSError, KeyError):  # it has ended since
                continue
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        """The sweep stands still once a stage of it runs: what is asked of others in the meantime meets a sweep that is not over."""
        sweeps.wait_for(self.stages)
        (sweep,) = (self.up.home / "sweeps").iterdir()
        owner = sweep_note(sweep).owner.pid
        os.kill(owner, signal.SIGSTOP)
        yield
        os.kill(owner, signal.SIGCONT)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    return sweeps.experiment(folder, {"tiny": sweeps.tiny_model(folder / "model")}, **sweeps.TOXICITY)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Iterator[Pool]:
    home = begin(tmp_path_factory.mktemp("home"))
    sweeps.palms(home, "up", "--detach")
    up = Up(home)
    user, password = up.login
    environment = sweeps.environment(home) | {
        "PREFECT_API_URL": f"{up.url('prefect')}/api",
        "PREFECT_API_AUTH_STRING": f"{user}:{password}",
        "PREFECT_HOME": str(home / "worker"),
        "DO_NOT_TRACK": "true",
    }
    one = Pool(up, subprocess.Popen(["true"]), environment)
    try:
        one.prefect("work-pool", "create", "palms", "--type", "process")
        template = str(PROJECT / "docs" / "kubernetes" / "job-template.json")
        one.prefect("work-pool", "create", "palms-kubernetes", "--type", "kubernetes", "--base-job-template", template)
        one.prefect("deploy", "--all")
        one.work()
        yield one
    finally:
        one.worker.terminate()
        one.worker.wait()
        sweeps.palms(home, "down")


def test_a_sweep_comes_to_its_end_and_the_next_one_finds_everything(pool: Pool, config: Path) -> None:
    state = pool.up.await_end(pool.hand_in("process", config=str(config)))
    stages = len(pool.board())
    assert (state["type"], state["message"]) == ("COMPLETED", f"{stages} stages, 1 of them cached")  # the scorer
    told = sweeps.palms(pool.up.home, "status").stdout
    assert (told.count("\ndone"), told.count("\ncached")) == (stages - 1, 1)
    (sweep,) = (pool.up.home / "sweeps").iterdir()
    assert sweep_note(sweep).ended
    assert "toxicity/tiny/base" in (sweep / "log.txt").read_text()
    assert sweeps.tracked_runs(pool.up.home) == {"FINISHED"}
    state = pool.up.await_end(pool.hand_in("process", config=str(config)))
    assert state["message"] == f"{stages} stages, {stages} of them cached"
    assert "stages are there" in sweeps.palms(pool.up.home, "rerun").stdout


def test_it_is_the_workers_alone_and_can_be_cancelled_and_gone_on_with(pool: Pool, config: Path) -> None:
    flow_run = pool.hand_in("process", config=str(config), start={"stage": "finetune"})
    with pool.held():
        refused = sweeps.palms(pool.up.home, "run", str(config), status=2).stderr
        pool.up.set_state(flow_run, type="CANCELLING", name="Cancelling")
    assert "is being run by another process; `palms status" in refused
    assert pool.up.await_end(flow_run)["type"] == "CANCELLED"
    sweeps.wait_for(lambda: not pool.stages() and all(entry.state in FINAL for entry in pool.board()), sweeps.SOON_S)
    assert "KILLED" in sweeps.tracked_runs(pool.up.home)
    sweeps.palms(pool.up.home, "rerun")
    assert sweeps.tracked_runs(pool.up.home) == {"FINISHED"}


def test_without_its_worker_a_sweep_ends_and_is_taken_up_again(pool: Pool, config: Path) -> None:
    pool.hand_in("process", config=str(config), start={"stage": "finetune"})
    with pool.held():
        os.kill(pool.worker.pid, signal.SIGKILL)
        pool.worker.wait()
    sweeps.wait_for(lambda: not pool.stages(), sweeps.SOON_S)
    assert "palms rerun" in sweeps.palms(pool.up.home, "status").stdout
    pool.work()
    assert pool.up.await_end(pool.hand_in("process", config=str(config)))["type"] == "COMPLETED"
    assert "RUNNING" not in {run["state_type"] for run in pool.up.all_runs()}
    assert sweeps.tracked_runs(pool.up.home) == {"FINISHED"}


def test_a_request_is_checked_as_it_is_handed_in_and_jobs_by_their_pools_template(pool: Pool) -> None:
    there = {name: pool.up.ask("GET", f"/deployments/name/sweep/{name}").json() for name in ("process", "kubernetes")}
    assert {one["entrypoint"] for one in there.values()} == {"flows.serving.unattended.sweep"}
    run = f"/deployments/{there['kubernetes']['id']}/create_flow_run"
    refused = pool.up.ask("POST", run, parameters={"request": {"config": "calibraton"}})
    assert (refused.status_code, "'request.config'" in refused.text) == (409, True)
    wrong = pool.up.ask("POST", run, parameters={"request": {"config": "calibration"}}, job_variables={"memory": 16})
    assert (wrong.status_code, "16" in wrong.text) == (422, True)
