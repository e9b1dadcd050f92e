"""`palms up` as an engineer on call uses it: runs handed over, cancelled, retried, scheduled, told of, and what a dead runner leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.engine.board import FINAL
from tests import sweeps
from tests.begun import Begin
from tests.browser import CHROMIUM
from tests.receiver import Receiver, listening
from tests.up import Up

pytestmark = pytest.mark.slow


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
    yield Up(home, {line.split()[0]: line.split()[1] for line in started.splitlines()})
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
    assert time.monotonic() - cancelled < sweeps.SOON_S
    out, err = run.communicate(timeout=sweeps.ENDED_S)
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


def outputs(home: Path) -> set[tuple[str, str]]:
    """Label and key of everything that the store holds."""
    found = (json.loads(path.read_text()) for path in home.glob("store/*/*/manifest.json"))
    return {(one["label"], one["key"]) for one in found}


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command, pipe = [*sweeps.COMMAND, *arguments], subprocess.PIPE
    return subprocess.Popen(command, env=sweeps.environment(home), stdout=pipe, stderr=pipe, text=True)


def metrics(home: Path) -> str:
    return sweeps.palms(home, "metrics", "--format", "csv").stdout


def test_a_cancelled_and_retried_run_gives_the_metrics_of_one_that_nobody_disturbed(
    up: Up, config: Path, first: dict[str, Any], tmp_path: Path, begin: Begin
) -> None:
    assert first["type"] == "COMPLETED"
    assert first["message"].startswith(f"{len(board(up.home))} stages, ")
    undisturbed = begin(tmp_path)
    sweeps.palms(undisturbed, "run", str(config))
    assert metrics(up.home) == metrics(undisturbed)
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
    links = {word.split(")")[0] for word in last["data"].split("](")[1:]}
    assert links >= tracked
    comparison = sweeps.palms(up.home, "ui").stdout.strip().replace(f"open#{':'.join(up.login)}", "#")
    (report,) = links - tracked - {comparison}
    assert comparison in links
    assert report.removesuffix("/artifacts/compare/report.html") in tracked
    assert httpx.get(next(iter(tracked)), auth=up.login).status_code == 200


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
    anew = {"config": str(config), "start": {"stage": "cooccurrence"}}
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


def test_a_schedule_fires_and_reruns_only_what_a_changed_dataset_touches(
    up: Up, config: Path, first: dict[str, Any], receiver: Receiver
) -> None:
    control = config.parent / "control.jsonl"
    lines = control.read_text().splitlines()
    control.write_text("\n".join([lines[0].replace(".", "!"), *lines[1:]]) + "\n")
    before, held = {run["id"] for run in up.runs()}, outputs(up.home)
    made = sweeps.palms(up.home, "schedule", str(config), "--cron", "* * * * *", "--timezone", "Asia/Kolkata").stdout
    assert made.startswith("schedule small: sweep small-")
    assert made.count(" IST") == 3
    assert (
        "very one"
        in sweeps.palms(up.home, "schedule", str(config), "--cron", "* * * * *", "--timezone", "Asia/Kolkata", status=2).stderr
    )
    assert up.next_firing() <= 60.5  # made at once
    for change in (
        ["calibration", "--cron", "0 2 * * 6"],
        ["pause", "calibration"],
        ["resume", "calibration"],
        ["rm", "calibration"],
    ):
        sweeps.palms(up.home, "schedule", *change)
        assert up.next_firing() <= 60.5, change  # the other one's

    def conducted() -> list[dict[str, Any]]:
        """A change to a schedule in the moment that a run is due can make it twice: the second finds its sweep being run, and is skipped."""
        new = [run for run in up.runs() if run["id"] not in before]
        return [run for run in new if run["state_type"] not in {"PENDING", "RUNNING"} and run["state_name"] != "Skipped"][-1:]

    (fired,) = sweeps.wait_for(conducted)
    assert fired["state_type"] == "COMPLETED"
    sweeps.palms(up.home, "schedule", "pause", "small")
    assert "paused" in sweeps.palms(up.home, "schedule", "list").stdout
    receiver.await_for("/told", lambda told: told["flow_run_id"] == fired["id"])
    assert up.ask("GET", f"/flow_runs/{fired['id']}").json()["name"].startswith("small-")  # a run has its name once it has begun
    made_anew = {label for label, _ in outputs(up.home) - held}
    assert "finetune/local-gpt2/control/n8/seed0" in made_anew
    assert not {"finetune/local-gpt2/values_targeted/n8/seed0", "toxicity/local-gpt2/base/seed0/human_eval"} & made_anew
    sweeps.palms(up.home, "schedule", "resume", "small")
    assert str(config) in sweeps.palms(up.home, "schedule", "list").stdout  # resumed with its parameters
    nameless = {"active": False, "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}}  # as somebody else's client makes it
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    made_there = up.ask("POST", f"/deployments/{deployment}/schedules", [nameless]).json()[0]["id"]
    sweeps.palms(up.home, "down")
    sweeps.palms(up.home, "up", "--detach")
    assert up.next_firing() <= 60.5
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
def test_the_links_open_the_dashboards(up: Up, first: dict[str, Any], tmp_path: Path) -> None:
    base = up.url("prefect")
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    name = next(run["name"] for run in up.runs() if run["id"] == first["id"])
    assert "V2 UI" not in page(up.links["prefect"], tmp_path)  # logs the browser in; the other interface asks hosts outside
    assert httpx.get(f"{base}/ui-settings", auth=up.login).json()["available_uis"] == ["v1"]
    assert name in page(f"{base}/runs/flow-run/{first['id']}", tmp_path)
    form = page(f"{base}/deployments/deployment/{deployment}/run", tmp_path)
    assert all(words in form for words in ("a shipped experiment, or the absolute path", "Train Samples", "Overlap"))
    assert "small" in page(up.links["mlflow"], tmp_path)
    asked = set(re.findall(r'"url":"[a-z]+://([^"/]*)', (tmp_path / "net.json").read_text()))
    theirs = {host for host in asked if not host.endswith(CHROMIUM_ITSELF)}
    assert {host.rpartition("@")[2].split(":")[0] for host in theirs} == {"127.0.0.1"}


CHROMIUM_ITSELF = (".google.com", ".googleapis.com", ".gvt1.com")  # what it asks for by itself


def page(url: str, profile: Path, *options: str) -> str:
    """The document after its scripts have run, and what was asked for over the network in net.json."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}/browser"]
    command += [f"--log-net-log={profile}/net.json", "--net-log-capture-mode=Everything", "--virtual-time-budget=30000"]
    return subprocess.run([*command, *options, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=True).stdout


FOREIGN = "http://evil.example.com"


@pytest.mark.parametrize(
    ("with_secret", "headers", "status"),
    [
        (False, {}, 401),
        (False, {"Authorization": "Basic cGFsbXM6Z3Vlc3NlZA=="}, 401),
        (True, {}, 200),
        (True, {"Host": "evil.example.com"}, 403),  # a name that was bound to 127.0.0.1 after its page had been read
        (True, {"Host": "127.0.0.1:1"}, 403),
        (True, {"Origin": FOREIGN}, 403),
        (True, {"Origin": "null"}, 403),
        (True, {"Origin": "http://127.0.0.1:1"}, 403),  # a page of another user's server
        (True, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        (True, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ],
)
@pytest.mark.parametrize(
    ("server", "method", "path"),
    [
        ("prefect", "GET", "/api/admin/version"),
        ("prefect", "POST", "/api/flow_runs/filter"),
        ("mlflow", "GET", "/version"),
        ("mlflow", "POST", "/ajax-api/2.0/mlflow/experiments/search"),
    ],
)
def test_nobody_else_is_answered(
    up: Up, server: str, method: str, path: str, with_secret: bool, headers: dict[str, str], status: int
) -> None:
    content = {"json": {"limit": 1} if server == "prefect" else {"max_results": 1}} if method == "POST" else {}
    answer = httpx.request(method, up.url(server) + path, headers=headers, auth=up.login if with_secret else None, **content)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_without_a_content_type_runs_nothing(up: Up) -> None:
    """As a page of another origin can send it without asking first."""
    body = json.dumps({"parameters": {"request": {"config": "calibration"}}})
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    url = f"{up.url('prefect')}/api/deployments/{deployment}/create_flow_run"
    assert httpx.post(url, content=body).status_code == 401
    assert httpx.post(url, content=body, headers={"Origin": FOREIGN}, auth=up.login).status_code == 403


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled"])
def test_a_websocket_asks_for_the_secret_too(up: Up, path: str) -> None:
    url = f"{up.url('prefect').replace('http', 'ws')}/api/{path}"
    for header in ({"Origin": FOREIGN}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, subprotocols=[Subprotocol("prefect")], additional_headers=header)
    for token in (None, "palms:guessed"):
        with connect(url, subprotocols=[Subprotocol("prefect")]) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(ConnectionClosedError, match="1008"):
                socket.recv(timeout=sweeps.SOON_S)
    with pytest.raises(InvalidStatus, match="403"):
        connect(url)  # as clients before 3.x did, without showing anything


def test_the_secret_is_in_one_file_that_its_owner_alone_can_read(up: Up, first: dict[str, Any]) -> None:
    secret = up.login[1]
    assert len(secret) > 40
    assert stat.S_IMODE((up.home / "secret").stat().st_mode) == 0o600
    holding = [path for path in up.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert holding == [up.home / "secret"]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            assert secret.encode() not in path.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user takes root")
def test_another_user_can_read_nothing_of_it(up: Up) -> None:
    pid = up.server("prefect")["pid"]
    wanted = ["secret", "prefect/prefect.db", "prefect/server.log", "mlflow/mlflow.db", f"/proc/{pid}/environ"]
    script = """
import os, sys
os.chdir(sys.argv[1])  # as root: whatever lies above it may be open
os.setgid(65534), os.setgroups([]), os.setuid(65534)
for path in sys.argv[2:]:
    try:
        open(path, "rb").read(1)
        print(path)
    except PermissionError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script, str(up.home), *wanted], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_of_another_origin_gets_nothing_from_a_browser_that_is_logged_in(
    up: Up, first: dict[str, Any], tmp_path: Path
) -> None:
    deployment = up.ask("GET", "/deployments/name/sweep/palms").json()["id"]
    api = f"{up.url('prefect')}/api"
    wrong = (
        """
<body><script>
const told = [], json = {'content-type': 'application/json'};
const tries = {
    read: () => fetch(API + '/deployments/DEPLOYMENT', {credentials: 'include'}),
    secrets: () => fetch(API + '/block_documents/filter', {method: 'POST', headers: json, body: '{"include_secrets": true}'}),
    patch: () => fetch(API + '/deployments/DEPLOYMENT', {method: 'PATCH', headers: json, body: '{"description": "pwned"}'}),
    blind: () => fetch(API + '/deployments/DEPLOYMENT/create_flow_run',
        {method: 'POST', mode: 'no-cors', credentials: 'include', body: new Blob(['{"parameters": {"request": {"config": "calibration"}}}'])}),
    tracker: () => fetch(MLFLOW + '/ajax-api/2.0/mlflow/experiments/search', {method: 'POST', headers: json, body: '{"max_results": 1}'}),
};
(async () => {
    for (const [name, ask] of Object.entries(tries))
        try { const got = await ask(); told.push(name + ':' + got.type + ':' + got.status); } catch { told.push(name + ':nothing'); }
    document.body.textContent = told.join(' ');
})();
</script>""".replace("API", f"'{api}'")
        .replace("MLFLOW", f"'{up.url('mlflow')}'")
        .replace("DEPLOYMENT", deployment)
    )
    page(up.links["prefect"], tmp_path)
    before, described = len(up.all_runs()), up.ask("GET", f"/deployments/{deployment}").json()["description"]
    mapped = "--host-resolver-rules=MAP evil.example.com 127.0.0.1"
    with serving(wrong) as port:
        told = page(f"{FOREIGN}:{port}/", tmp_path, mapped)
    assert "read:nothing secrets:nothing patch:nothing blind:opaque:0 tracker:nothing" in told
    assert (len(up.all_runs()), up.ask("GET", f"/deployments/{deployment}").json()["description"]) == (before, described)
    rebound = page(f"{FOREIGN}:{up.server('prefect')['port']}/api/admin/version", tmp_path, mapped)
    assert "This server answers at http://127.0.0.1:" in rebound


@contextmanager
def serving(document: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(document.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_what_is_killed_is_started_again_or_told_of_and_a_rerun_goes_on(
    up: Up, config: Path, first: dict[str, Any], receiver: Receiver, tmp_path: Path, begin: Begin
) -> None:
    """In a home of its own, with the outputs that are there."""
    begin(tmp_path, ["prefect", "mlflow"])
    shutil.copytree(up.home / "store", tmp_path / "store")
    sweeps.palms(tmp_path, "up", "--detach")
    own = Up(tmp_path)
    sweeps.palms(tmp_path, "notify", f"{receiver.url}/killed", "--on", "both")
    run = started(tmp_path, "run", str(config), "--set", "seeds=[1]")
    sweeps.wait_for(own.stages)
    viewer, runner, stages = own.server("mlflow"), own.server("runner"), own.stages()
    os.kill(viewer["pid"], signal.SIGKILL)
    sweeps.wait_for(lambda: [True] if own.is_up_again("mlflow", viewer["pid"]) else [])
    assert own.server("mlflow")["port"] == viewer["port"]
    assert run.poll() is None  # the sweep did not notice
    os.kill(runner["pid"], signal.SIGKILL)
    sweeps.wait_for(lambda: [] if any(Path(f"/proc/{pid}").exists() for pid in stages) else [True], sweeps.SOON_S)
    _, err = run.communicate(timeout=sweeps.ENDED_S)
    assert run.returncode == 1
    assert len(err.splitlines()) == 2
    assert "failed  its runner is gone; log: " in err
    assert "what was finished is kept: palms rerun small-" in err
    sweeps.wait_for(lambda: [True] if own.is_up_again("runner", runner["pid"]) else [])
    log = (tmp_path / "up.log").read_text()
    assert all(f"{name} ended by itself; its log: " in log for name in ("mlflow", "runner"))
    assert receiver.await_at("/killed", 1)[0]["state"] == "Crashed"

    again = started(tmp_path, "rerun")
    sweeps.wait_for(own.stages)
    prefect, up_itself = (own.server(name)["pid"] for name in ("prefect", "up"))
    os.kill(prefect, signal.SIGKILL)
    _, err = again.communicate(timeout=sweeps.ENDED_S)
    assert again.returncode == 1
    assert "the Prefect server ended under the sweep" in err
    assert "palms rerun small-" in err
    # its last words come after its note is gone
    sweeps.wait_for(lambda: [] if Path(f"/proc/{up_itself}").exists() else [True])
    assert not (tmp_path / "up.server.json").exists()
    assert "prefect ended by itself; its log:" in (tmp_path / "up.log").read_text()
    sweeps.palms(tmp_path, "up", "--detach")
    assert [told["state"] for told in receiver.await_at("/killed", 2)] == ["Crashed", "Crashed"]  # found dead by the restart
    done = sweeps.palms(tmp_path, "rerun")
    assert "palms rerun" not in done.stderr
    assert [told["state"] for told in receiver.await_at("/killed", 3)] == ["Crashed", "Crashed", "Completed"]
    assert len({told["flow_run_id"] for told in receiver.at("/killed")}) == 3  # each once
    sweeps.palms(tmp_path, "down")
    assert not sweeps.living(prefect)
    assert {"RUNNING", "PENDING"} & {kind for _, kind, _ in sweeps.task_runs(tmp_path)} == set()
    assert {"RUNNING", "PENDING"} & sweeps.flow_states(tmp_path) == set()


def test_what_was_handed_in_and_not_begun_can_be_rerun(up: Up, config: Path, first: dict[str, Any]) -> None:
    """Cancelled before the runner took it."""
    runner = up.server("runner")["pid"]
    os.kill(runner, signal.SIGSTOP)
    run = started(up.home, "run", str(config), "--set", "primary.metric=toxic_share")
    assert run.stdout is not None
    link = sweeps.wait_for(lambda: [line] if "watch, cancel" in (line := run.stdout.readline()) else [])[0]
    up.set_state(link.split("/")[-1].strip(), type="CANCELLED", name="Cancelled")
    _, err = run.communicate(timeout=sweeps.ENDED_S)
    os.kill(runner, signal.SIGCONT)
    again = re.search(r"palms (rerun small-\w+)", err)
    assert again is not None
    sweeps.palms(up.home, *again[1].split())  # not: no such sweep
