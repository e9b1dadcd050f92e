"""A real Label Studio: what goes out is imported and annotated there as raters do it, and each of its exports is read back.

Tried with Label Studio 1.23.2 on Python 3.11: 1.0 GB, so it has an environment of its own. The server starts in a minute. It is told to call
nobody; `strace` saw it connect to nothing but its own machine.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.problems import BadInput
from tasks.curation.formats import label_studio as drafts_for_label_studio
from tasks.curation.formats.reading import read_any as read_drafts
from tasks.ratings.collected import accept
from tasks.ratings.formats import label_studio
from tasks.ratings.formats.reading import read_any
from tasks.ratings.project import RANK, RATE, Mode, Project
from tests import test_annotation_forms as drafts
from tests.test_rating_tools import Said, project, said
from tests.tool_exports import chosen, read_json, typed

PROGRAM = Path(os.environ.get("LABEL_STUDIO", "")) / "bin/label-studio"
OWNER, PASSWORD = "owner@example.org", "not-a-secret-here"
QUIET = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
FORMATS = {"JSON": "json", "JSON_MIN": "json", "CSV": "csv", "TSV": "tsv"}
COMMENT = 'so; "so"\nnaïve, =1+1'

pytestmark = [
    pytest.mark.external,
    pytest.mark.slow,
    pytest.mark.skipif(
        not PROGRAM.is_file(),
        reason="LABEL_STUDIO names no environment that has Label Studio; `make test-external` makes one (1 GB)",
    ),
]


def answered(response: httpx.Response) -> httpx.Response:
    assert response.is_success, response.text
    return response


class Studio:
    """A server on loopback, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "log"
        how = ["--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "start", *how, "--username", OWNER, "--password", PASSWORD, "--enable-legacy-api-token"],
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **QUIET},
                stdout=log,
                stderr=log,
            )

    def up(self) -> None:
        until = time.monotonic() + 300
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            while self.process.poll() is None and time.monotonic() < until:
                try:
                    client.get("/health").raise_for_status()
                except httpx.HTTPError:
                    time.sleep(0.5)
                else:
                    return
        raise AssertionError(self.log.read_text(errors="replace"))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def enter(self, page: str, email: str) -> Account:
        """Through the form of a page, as people sign up and log in."""
        client = httpx.Client(base_url=self.url, follow_redirects=True, timeout=60, trust_env=False)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(page).text)
        assert token is not None
        client.post(page, data={"email": email, "password": PASSWORD, "csrfmiddlewaretoken": token[1]})
        client.headers["Authorization"] = f"Token {answered(client.get('/api/current-user/token')).json()['token']}"
        return Account(client)


class Account:
    """Whoever is logged in, and what they do by the API."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def post(self, route: str, **body: Any) -> Any:
        return answered(self.client.post(route, json=body)).json()

    def get(self, route: str, **query: Any) -> Any:
        return answered(self.client.get(route, params=query)).json()

    def imports(self, folder: Path, rater: str) -> int:
        """A project of a rater's, made as README.txt says."""
        interface, told = (next(folder.glob(name)).read_text(encoding="utf-8") for name in ("config.xml", "*.html"))
        made = self.post(
            "/api/projects", title=f"rating {rater}", label_config=interface, expert_instruction=told, show_instruction=True
        )
        tasks = read_json(folder / f"{rater}.tasks.json")
        sent = answered(self.client.post(f"/api/projects/{made['id']}/import", json=tasks))
        assert sent.json()["task_count"] == len(tasks)
        return int(made["id"])

    def annotates(self, project: int, *result: dict[str, Any], skips: bool = False) -> dict[str, str]:
        """Answers the task that is given next, or presses Skip, and returns what it was."""
        task = self.get(f"/api/projects/{project}/next")
        self.post(f"/api/tasks/{task['id']}/annotations", result=list(result), was_cancelled=skips, lead_time=4.25)
        return dict(task["data"])

    def exported(self, project: int, to: Path, **query: Any) -> dict[str, Path]:
        """A file of each format."""
        to.mkdir()
        files = {name: to / f"{name}.{suffix}" for name, suffix in FORMATS.items()}
        for name, path in files.items():
            route = f"/api/projects/{project}/export"
            path.write_bytes(answered(self.client.get(route, params={"exportType": name, **query})).content)
        return files


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("label-studio")
    made = Studio(folder)
    try:
        made.up()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def owner(studio: Studio) -> Account:
    return studio.enter("/user/login/", OWNER)


@pytest.fixture(scope="module")
def raters(studio: Studio, owner: Account) -> dict[str, Account]:
    invited = owner.get("/api/invite")["invite_url"]
    return {name: studio.enter(invited, f"{name}@example.org") for name in ("ana", "bo")}


def given_out(owner: Account, folder: Path, mode: Mode) -> tuple[Project, dict[str, int]]:
    sent = project(mode, ("ana", "bo"))
    label_studio.write(sent, folder)
    return sent, {packet.rater: owner.imports(folder, packet.rater) for packet in sent.packets}


def all_say(exports: Sequence[dict[str, Path]], sent: Project, wanted: dict[tuple[str, str], Said], skipped: str = "") -> None:
    """skipped: the text that was skipped with Label Studio's own button, which JSON alone tells."""
    for name in FORMATS:
        given = [one for files in exports for one in read_any(files[name])]
        also: dict[tuple[str, str], Said] = (
            {(skipped, "ana"): (None, None, None, "other", "")} if name == "JSON" and skipped else {}
        )
        assert said(accept(given, sent, {})) == wanted | also
        assert {one.seconds for one in given} == {4.25}
        assert all(one.at for one in given)


def test_ratings_come_back_alike_in_every_export(owner: Account, raters: dict[str, Account], tmp_path: Path) -> None:
    sent, made = given_out(owner, tmp_path / "out", RATE)
    ana, bo = raters["ana"], raters["bo"]
    asked = [item.id for item in sent.packets[0].items]
    given = [
        ana.annotates(made["ana"], chosen("rating", "4"), chosen("is_answer", "yes"), typed(COMMENT)),
        ana.annotates(made["ana"], chosen("rating", "1"), chosen("is_answer", "no")),
        ana.annotates(made["ana"], chosen("skip", "unclear"), typed("=?", "in Dutch")),
        ana.annotates(made["ana"], chosen("rating", "3"), skips=True),
        ana.annotates(made["ana"], chosen("rating", "2")),
    ]
    assert [data["item"] for data in given] == asked[:5]
    left_open = ana.get(f"/api/projects/{made['ana']}/next")
    assert left_open["data"]["item"] == asked[5]
    ana.post(f"/api/tasks/{left_open['id']}/drafts", result=[chosen("rating", "5")], lead_time=1)
    of_bo = bo.annotates(made["bo"], chosen("rating", "5"), chosen("is_answer", "yes"))
    wanted: dict[tuple[str, str], Said] = {
        (asked[0], "ana"): (4, None, True, "", COMMENT),
        (asked[1], "ana"): (1, None, False, "", ""),
        (asked[2], "ana"): (None, None, None, "unclear", "=?\nin Dutch"),
        (asked[4], "ana"): (2, None, None, "", ""),
        (of_bo["item"], "bo"): (5, None, True, "", ""),
    }
    for at, query in enumerate(({}, {"download_all_tasks": "true"})):
        exports = [owner.exported(number, tmp_path / f"{rater}{at}", **query) for rater, number in made.items()]
        all_say(exports, sent, wanted, skipped=asked[3])

    bo.annotates(made["ana"], chosen("rating", "1"))  # anyone may
    for path in owner.exported(made["ana"], tmp_path / "mixed").values():
        with pytest.raises(
            BadInput, match=r"annotated by \d+, other texts of ana by \d+; annotations by one account for each rater"
        ):
            read_any(path)


def test_ranks_come_back_alike_in_every_export(owner: Account, raters: dict[str, Account], tmp_path: Path) -> None:
    sent, made = given_out(owner, tmp_path / "out", RANK)
    asked = [item.id for item in sent.packets[0].items]
    ranked = [chosen("rank_1", "2"), chosen("rank_2", "1"), chosen("rank_3", "2"), chosen("is_answer_3", "no"), typed(COMMENT)]
    assert raters["ana"].annotates(made["ana"], *ranked)["item_1"] == asked[0]
    assert raters["ana"].annotates(made["ana"], chosen("skip", "upsetting"))["item_1"] == asked[3]
    wanted: dict[tuple[str, str], Said] = {
        (asked[0], "ana"): (None, 2, None, "", COMMENT),
        (asked[1], "ana"): (None, 1, None, "", COMMENT),
        (asked[2], "ana"): (None, 2, False, "", COMMENT),
        **{(item, "ana"): (None, None, None, "upsetting", "") for item in asked[3:6]},
    }
    all_say([owner.exported(made["ana"], tmp_path / "ana")], sent, wanted)


def test_drafts_that_were_checked_come_back_alike_in_every_export(
    owner: Account, raters: dict[str, Account], tmp_path: Path
) -> None:
    drafts_for_label_studio.write(drafts.DRAFTS, ["ana"], drafts.STATED, tmp_path / "out")
    made = owner.imports(tmp_path / "out", "ana")
    for draft in drafts.DRAFTS:
        if draft.id in drafts.SAID:
            assert raters["ana"].annotates(made, *drafts.results(draft, drafts.SAID[draft.id]))["draft"] == draft.id
    for path in owner.exported(made, tmp_path / "ana").values():
        assert drafts.said(read_drafts(path)) == drafts.READ
