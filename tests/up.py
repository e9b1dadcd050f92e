"""What `palms up` started, seen from outside: its servers, its runs and its processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import httpx

from flows.engine.secret import USER
from tests import sweeps


@dataclass
class Up:
    """Everything that `palms up` started, with the orchestrator's own API as its dashboard uses it."""

    home: Path
    links: dict[str, str] = field(default_factory=dict)  # as they were printed

    def server(self, name: str) -> dict[str, Any]:
        return json.loads((self.home / f"{name}.server.json").read_text())

    @property
    def login(self) -> tuple[str, str]:
        return USER, (self.home / "secret").read_text().strip()

    def ask(self, method: str, path: str, listed: list[Any] | None = None, **document: Any) -> httpx.Response:
        """A busy server says 503, and is asked again, as Prefect's own client does."""
        url = f"http://127.0.0.1:{self.server('prefect')['port']}/api{path}"
        for _ in range(20):
            answer = httpx.request(method, url, json=listed or document, timeout=30, auth=self.login)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        return answer

    def hand_in(self, **request: Any) -> httpx.Response:
        deployment = self.ask("GET", "/deployments/name/sweep/palms").json()["id"]
        return self.ask("POST", f"/deployments/{deployment}/create_flow_run", parameters={"request": request})

    def set_state(self, flow_run: str, **state: Any) -> None:
        self.ask("POST", f"/flow_runs/{flow_run}/set_state", state=state).raise_for_status()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server(name)['port']}"

    def is_up_again(self, name: str, before: int) -> bool:
        """Whether another process serves in the place of one that was killed."""
        note = self.home / f"{name}.server.json"
        if not note.exists() or self.server(name)["pid"] == before:
            return False
        try:
            return name == "runner" or httpx.get(f"{self.url(name)}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def all_runs(self) -> list[dict[str, Any]]:
        return self.ask("POST", "/flow_runs/filter", sort="ID_DESC").json()

    def await_end(self, flow_run: str) -> dict[str, Any]:
        def ended() -> list[dict[str, Any]]:
            state = self.ask("GET", f"/flow_runs/{flow_run}").json()["state"]
            return [state] if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else []

        return sweeps.wait_for(ended)[0]

    def runs(self) -> list[dict[str, Any]]:
        """The deployment's, the latest first."""
        found = self.ask("POST", "/flow_runs/filter", sort="START_TIME_DESC", flows={"name": {"any_": ["sweep"]}}).json()
        return [run for run in found if run["deployment_id"] and run["start_time"]]

    def waiting(self) -> list[dict[str, Any]]:
        """The runs that schedules have made and that have not begun, the next first."""
        waiting = {"state": {"type": {"any_": ["SCHEDULED", "PENDING"]}}}
        runs = self.ask("POST", "/flow_runs/filter", flow_runs=waiting).json()
        return sorted(runs, key=lambda run: run["expected_start_time"])

    def begin_now(self, flow_run: str) -> None:
        """A run that waits for its time need not wait any longer; all else of it is as the schedule made it."""
        self.set_state(flow_run, type="SCHEDULED", state_details={"scheduled_time": datetime.now(UTC).isoformat()})

    def next_firing(self) -> float:
        """In how many seconds a schedule makes the next run begin, as far as runs have been made."""
        left = [
            (datetime.fromisoformat(run["expected_start_time"]) - datetime.now(UTC)).total_seconds() for run in self.waiting()
        ]
        return min((one for one in left if one > 0), default=inf)

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
