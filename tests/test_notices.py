"""Notices against a real server: which endings of which flows call the webhook, with what, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine.secret import USER
from tests.begun import Begin
from tests.receiver import Receiver, listening
from tests.sweeps import environment

pytestmark = pytest.mark.slow

AWKWARD = 'a "quoted" <b>\nsecond line, \\ and {{ braces }} é'
SECRET = "services/T0123456/B0123456/abcdefghijklmnop"

# Flows and notices in a process of their own, since Prefect reads its settings as it is imported: a request a line, an answer a line.
PUPPET = """
import json, os, sys
from dataclasses import asdict

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.servers import ask
from flows.serving.servers import await_health, prefect_server

home = Home.open()
home.settle_environment()
os.environ["PREFECT_UI_URL"] = "http://dashboard"
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"  # logs left over would be offered to the stopped server again and again

def run(name, type, state, message):
    @flow(name=name, flow_run_name="calibration-1a2b")
    def ends():
        return State(type=type, name=state, message=message)
    return str(ends(return_state=True).state_details.flow_run_id)

def run_within(*ending):
    @flow(name="sweep")
    def above():
        run(*ending)
        return State(type="CANCELLED")
    above(return_state=True)

with prefect_server(home) as server:
    await_health(home, server)
    ask(home, server)
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State

    from flows.serving import notices

    calls = {
        "url": lambda: server.url,
        "run": run,
        "run_within": run_within,
        "add": lambda url, *on: asdict(notices.add(url, on)),
        "listed": lambda: [asdict(notice) for notice in notices.listed()],
        "remove": lambda name: asdict(notices.remove(name)),
        "blocks": lambda: [block.name for block in get_client(sync_client=True).read_block_documents()],
    }
    for line in sys.stdin:
        what, *given = json.loads(line)
        try:
            answer = calls[what](*given)
        except BadInput as error:
            answer = {"refused": error.lines}
        print(json.dumps(answer), flush=True)
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with listening() as one:
        yield one


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    return begin(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def ask(home: Path) -> Iterator[Ask]:
    command = [sys.executable, "-c", PUPPET]
    with subprocess.Popen(command, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as puppet:
        assert puppet.stdin is not None
        assert puppet.stdout is not None
        requests, answers = puppet.stdin, puppet.stdout

        def ask(*request: object) -> Any:
            print(json.dumps(request), file=requests, flush=True)
            return json.loads(answers.readline())

        yield ask


def test_the_server_of_a_plain_run_answers_nobody_else(ask: Ask, home: Path) -> None:
    url = f"{ask('url')}/api/admin/version"
    secret = (home / "secret").read_text().strip()
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=(USER, secret), headers={"Host": "evil.example.com"}).status_code == 403
    assert httpx.get(url, auth=(USER, secret)).status_code == 200


def test_failures_of_the_sweep_alone_are_told(ask: Ask, receiver: Receiver) -> None:
    notice = ask("add", f"{receiver.url}/failure", "failure")
    assert notice == {"name": notice["name"], "url": f"{receiver.url}/…", "on": ["failure"], "enabled": True}
    ask("run", "size", "FAILED", "Failed", "a size alone")
    ask("run_within", "size", "FAILED", "Failed", "a size of a sweep")
    ask("run", "sweep", "COMPLETED", "Completed", "all well")
    failed = ask("run", "sweep", "FAILED", "Failed", AWKWARD)
    assert receiver.await_at("/failure", 1) == [
        {
            "text": 'sweep calibration-1a2b: Failed. a "quoted" <b> second line, \\ and {{ braces }} é',
            "sweep": "calibration-1a2b",
            "state": "Failed",
            "message": AWKWARD,
            "flow_run_id": failed,
            "url": f"http://dashboard/runs/flow-run/{failed}",
        }
    ]
    assert {kind for _, kind, _ in receiver.posts} == {"application/json"}


def test_both_kinds_are_told_when_asked_for(ask: Ask, receiver: Receiver) -> None:
    assert ask("add", f"{receiver.url}/both", "completion", "failure")["on"] == ["failure", "completion"]
    ask("run", "sweep", "COMPLETED", "Completed", None)
    ask("run", "sweep", "CRASHED", "Crashed", "gone")
    ask("run", "sweep", "FAILED", "TimedOut", "x" * 1000)
    completed, crashed, late = sorted(receiver.await_at("/both", 3), key=lambda body: body["state"])
    assert (completed["text"], completed["message"]) == ("sweep calibration-1a2b: Completed.", "")
    assert crashed["text"] == "sweep calibration-1a2b: Crashed. gone"
    assert late["state"] == "TimedOut"
    assert len(late["text"]) < 350
    assert late["message"] == "x" * 1000


def test_the_same_url_again_replaces(ask: Ask, receiver: Receiver) -> None:
    before = ask("listed")
    ask("add", f"{receiver.url}/again", "failure")
    notice = ask("add", f"{receiver.url}/again", "completion")
    assert [one for one in ask("listed") if one not in before] == [notice]
    ask("run", "sweep", "FAILED", "Failed", "no longer asked for")
    ask("run", "sweep", "COMPLETED", "Completed", "once")
    ask("add", f"{receiver.url}/after", "completion")
    ask("run", "sweep", "COMPLETED", "Completed", "twice")
    receiver.await_at("/after", 1)
    assert [body["message"] for body in receiver.await_at("/again", 2)] == ["once", "twice"]


def test_a_removed_notice_is_told_nothing(ask: Ask, receiver: Receiver) -> None:
    before, blocks = ask("listed"), ask("blocks")
    notice = ask("add", f"{receiver.url}/removed", "failure")
    ask("add", f"{receiver.url}/kept", "failure")
    assert ask("remove", notice["name"]) == notice
    ask("run", "sweep", "FAILED", "Failed", "x")
    assert len(receiver.await_at("/kept", 1)) == 1
    assert receiver.at("/removed") == []
    assert len(ask("listed")) == len(before) + 1
    assert len(ask("blocks")) == len(blocks) + 1


def test_a_secret_url_is_neither_shown_nor_kept_in_plain(ask: Ask, receiver: Receiver, home: Path) -> None:
    address = receiver.url.replace("http://", "http://user:password@")
    notice = ask("add", f"{address}/{SECRET}", "failure")
    assert notice["url"] == f"{receiver.url}/…{SECRET[-4:]}"
    assert notice in ask("listed")
    ask("run", "sweep", "FAILED", "Failed", "x")
    assert len(receiver.await_at(f"/{SECRET}", 1)) == 1
    assert (home / "prefect" / "prefect.db").exists()
    for file in (home / "prefect").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/secret", "URL scheme should be 'http' or 'https'"),
        ("host/secret", "relative URL without a base"),
        ("http://host:port/secret", "invalid port"),
        ("https://", "empty host"),
        ("", "input is empty"),
    ],
)
def test_what_is_no_url_is_refused_without_showing_it(ask: Ask, url: str, why: str) -> None:
    (line,) = ask("add", url, "failure")["refused"]
    assert line.startswith("notice url: ")
    assert why in line
    assert line.endswith("; accepted is http://HOST/PATH or https://HOST/PATH")
    assert "secret" not in line
    assert "\n" not in line


def test_a_notice_on_nothing_is_refused(ask: Ask, receiver: Receiver) -> None:
    assert ask("add", receiver.url)["refused"] == ["notice on nothing: accepted are failure, completion"]


def test_an_unknown_name_is_refused(ask: Ask, receiver: Receiver) -> None:
    known = ask("add", f"{receiver.url}/known", "failure")["name"]
    (line,) = ask("remove", "zzzzzzzz")["refused"]
    assert line.startswith("no notice 'zzzzzzzz'; known: ")
    assert known in line
