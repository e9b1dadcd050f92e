"""The gate by itself, and the secret: what passes to the application, and what is answered instead. With servers: test_up.py."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from configs.problems import BadInput
from flows.engine.home import Home
from flows.engine.secret import credentials, file_of
from flows.serving.gate import Gate

HOST = "http://127.0.0.1:4321"
SECRET = "palms:s3cret"
LOGIN = ("palms", "s3cret")


async def passed(request: Request) -> PlainTextResponse:
    return PlainTextResponse("passed")


def client(*, shows: bool = True, base: str = HOST) -> TestClient:
    routes = [Route(path, passed, methods=["GET", "POST"]) for path in ("/", "/health", "/a")]
    gate = Gate(Starlette(routes=routes), "mlflow", 4321, SECRET, shows=shows)
    return TestClient(gate, base_url=base, follow_redirects=False)


def test_who_shows_the_secret_passes() -> None:
    assert client().get("/a").status_code == 401
    assert client().get("/a", auth=("palms", "s3cre")).status_code == 401
    assert client().get("/a", auth=LOGIN).text == "passed"
    assert client(shows=False).get("/a").text == "passed"


@pytest.mark.parametrize("path", ["/health", "/open"])
def test_health_and_the_page_that_logs_in_ask_for_none(path: str) -> None:
    assert client().get(path).status_code == 200
    assert client().get(path, headers={"Host": "evil.example.com"}).status_code == 403
    assert client().post("/health").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example.com", "127.0.0.1", "127.0.0.1:4322", "127.0.0.1:4321.evil.example.com", "[::1]:4321"]
)
def test_a_foreign_host_is_refused(host: str) -> None:
    assert client().get("/a", headers={"Host": host}, auth=LOGIN).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:4321"},
        {"Origin": "http://localhost:4321"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    ],
)
def test_a_page_of_another_origin_is_refused(headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        assert client().request(method, "/a", headers=headers, auth=LOGIN).status_code == 403


def test_a_link_on_another_page_may_be_followed_and_a_form_may_not_be_sent() -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client().get("/a", headers=followed, auth=LOGIN).text == "passed"
    assert client().post("/a", headers=followed, auth=LOGIN).status_code == 403


def test_its_other_name_leads_to_this_one() -> None:
    asked = client(base="http://localhost:4321").get("/a?b=c")
    assert (asked.status_code, asked.headers["location"]) == (307, f"{HOST}/a?b=c")
    assert client(base="http://localhost:4321").post("/a", auth=LOGIN).status_code == 403


def test_pages_may_ask_no_other_host_and_stand_in_no_other_frame() -> None:
    policy = client().get("/a", auth=LOGIN).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self' data: blob: ws://127.0.0.1:4321" in policy
    assert "frame-ancestors 'self'" in policy


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: credentials(Home(tmp_path)), range(8)))
    assert {credentials(Home(tmp_path)) for _ in range(3)} == made
    assert stat.S_IMODE(file_of(Home(tmp_path)).stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "secret"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o622])
def test_a_secret_that_others_could_read_is_none(tmp_path: Path, mode: int) -> None:
    credentials(Home(tmp_path))
    file_of(Home(tmp_path)).chmod(mode)
    with pytest.raises(BadInput, match="others could read or change it; `palms down; rm ") as refused:
        credentials(Home(tmp_path))
    assert len(refused.value.lines) == 1


def test_a_new_home_is_its_owner_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALMS_HOME", str(tmp_path / "new"))
    assert stat.S_IMODE(Home.open().root.stat().st_mode) == 0o700
