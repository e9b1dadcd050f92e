"""The rating pages served to several raters by a real process: who may see and say what, and that nothing that was said is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from configs.problems import BadInput
from flows.engine.home import Home
from flows.rating import accepted, take_in
from flows.serving.rating_server import LIMIT, codes, collected, database, progress
from tasks.ratings.formats.reading import read_any
from tasks.ratings.kept import Task
from tasks.ratings.project import Item, Project, assign
from tests import sweeps
from tests.browser import CHROMIUM
from tests.sweeps import SOON_S, wait_for
from tests.test_rating_page import Browser

SWEEP = "small-0123abcd"
RATERS = ("ana", "bo", "cleo")
JSON = {"Content-Type": "application/json"}
AT = "2026-11-29T10:00:{:02d}.000Z"


def project(seed: int = 0) -> Project:
    """Of three raters and six texts, two ratings each: whoever the seed leaves out of a prompt has none of its texts."""
    items = [Item(f"t{p}{n}", "health", f"asked {p}", f"text {p} {n}", f"b{p}") for p in range(3) for n in range(2)]
    return assign(items, RATERS, 2, seed, positions={"health": "Do not diagnose."})[0]


def kept(home: Path, given: Project) -> None:
    """As an export leaves it."""
    (home / "sweeps" / SWEEP).mkdir(parents=True, exist_ok=True)
    (home / "sweeps" / SWEEP / "state.json").write_text("[]")
    folder = home / "ratings" / SWEEP / "projects"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {name: asdict(Task("0" * 64, item.block, 0, item.category, "arm")) for name, item in given.items.items()}
    shown = {name: {"why": "rated", "of": "", "expects": None} for name in given.items}
    (folder / f"{given.id}.json").write_text(json.dumps({"project": asdict(given), "shown": shown, "tasks": tasks}))


class Running:
    """`palms ratings serve` as a user runs it."""

    started: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, home: Path, port: int = 0) -> None:
        command = [*sweeps.COMMAND, "ratings", "serve", SWEEP, "--port", str(port)]
        self.process = subprocess.Popen(command, env=sweeps.environment(home), stdout=subprocess.PIPE, text=True)
        self.started.append(self.process)
        assert self.process.stdout is not None
        self.told = [self.process.stdout.readline() for _ in range(4)]
        self.links = dict(line.split() for line in self.told[:3])
        self.base = self.links["ana"].rpartition("/r/")[0]
        self.port = int(self.base.rpartition(":")[2])

    def enter(self, rater: str) -> Rater:
        return Rater(self, rater)

    def end(self, number: int = signal.SIGINT) -> str:
        """What it says at its end."""
        self.process.send_signal(number)
        told, _ = self.process.communicate(timeout=SOON_S)
        return told


class Rater:
    """Somebody with a browser of their own, logged in by their link."""

    def __init__(self, server: Running, name: str) -> None:
        self.name, self.client = name, httpx.Client(base_url=server.base, headers={"Origin": server.base}, timeout=30)
        entered = self.client.get(server.links[name])
        assert entered.status_code == 200
        found = re.search(r'url=(/rate/[0-9a-f]{32})"', entered.text)
        assert found is not None
        self.place, self.cookie = found[1], entered.headers["set-cookie"]

    def says(self, item: str, rating: int | None, second: int = 0, **more: Any) -> httpx.Response:
        return self.posts(document(self.name, [one(item, rating, second, **more)]))

    def posts(self, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(self.place, content=json.dumps(body), headers=JSON | headers)

    def saved(self) -> dict[str, Any]:
        """What the page is given, as it is opened."""
        found = re.search(r'id="saved">(.*?)</script>', self.client.get(self.place).text, re.DOTALL)
        assert found is not None
        return dict(json.loads(found[1]))


def one(item: str, rating: int | None, second: int = 0, **more: Any) -> dict[str, Any]:
    empty = {"rank": None, "skipped": "", "comment": "", "seconds": 1.5, "at": AT.format(second)}
    return {"item": item, "rating": rating, "is_answer": None if rating is None else True, **empty, **more}


def document(rater: str, ratings: list[Any], **more: Any) -> dict[str, Any]:
    own = {"project": project().id, "rater": rater, "mode": "rate", "group": "", "signed_off": None, "ratings": ratings}
    return own | more


def items_of(rater: str) -> list[str]:
    return next([item.id for item in packet.items] for packet in project().packets if packet.rater == rater)


def not_of(rater: str) -> str:
    return next(item for item in project().items if item not in items_of(rater))


def kept_ratings(home: Path) -> dict[tuple[str, str], int | None]:
    return {(given.rater, given.item): given.rating for given in collected(Home(home), SWEEP, project().id)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served-home")
    kept(made, project())
    return made


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Running]:
    running = Running(home)
    yield running
    running.end(signal.SIGKILL)


# ---- who may see and say what --------------------------------------------------------------------------------------------------


def test_a_link_logs_in_by_a_cookie_that_goes_to_one_address_alone_and_is_read_by_no_script(server: Running) -> None:
    ana = server.enter("ana")
    _, *rules = ana.cookie.split("; ")
    assert {rule.casefold() for rule in rules} == {"httponly", "samesite=strict", f"path={ana.place}"}
    code = server.links["ana"].rpartition("/")[2]
    assert code not in ana.place
    page = ana.client.get(ana.place)
    assert page.status_code == 200
    assert code not in page.text
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert page.headers["cache-control"] == "no-store"


def test_a_rater_is_shown_their_own_texts_and_nobody_else(server: Running) -> None:
    page = server.enter("ana").client.get(server.enter("ana").place).text
    assert all(f'"{item}"' in page for item in items_of("ana"))
    assert f'"{not_of("ana")}"' not in page
    assert not re.search(r"\bbo\b|cleo", page)
    assert f'<meta name="save-to" content="{server.enter("ana").place}">' in page


def test_two_raters_at_once_each_save_their_own(server: Running, home: Path) -> None:
    raters = [server.enter("ana"), server.enter("bo")]

    def rates(rater: Rater) -> set[int]:
        return {
            rater.says(item, 1 + at % 5, comment=f"by {rater.name}").status_code for at, item in enumerate(items_of(rater.name))
        }

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(rates, raters)) == [{200}, {200}]
    there = kept_ratings(home)
    for rater in raters:
        assert {item: there[rater.name, item] for item in items_of(rater.name)} == {
            item: 1 + at % 5 for at, item in enumerate(items_of(rater.name))
        }
        assert {row["comment"] for row in rater.saved()["ratings"]} == {f"by {rater.name}"}


def test_without_a_cookie_or_with_another_raters_nothing_is_shown_or_saved(server: Running, home: Path) -> None:
    ana, bo = server.enter("ana"), server.enter("bo")
    before = kept_ratings(home)
    stranger = httpx.Client(base_url=server.base)
    body = json.dumps(document("ana", [one(items_of("ana")[0], 1, 50)]))
    name, code = f"palms-{ana.place.rpartition('/')[2]}", server.links["bo"].rpartition("/")[2]
    for cookie, status in (({}, 401), ({name: code}, 403), ({name: "x"}, 403), (dict(bo.client.cookies), 401)):
        held = {"Cookie": "; ".join(f"{key}={value}" for key, value in cookie.items())} if cookie else {}
        assert stranger.get(ana.place, headers=held).status_code == status
        assert stranger.post(ana.place, content=body, headers=JSON | held).status_code == status
    assert stranger.get("/rate/" + "0" * 32).status_code == 404
    assert stranger.get("/r/guessed").status_code == 404
    for path in ("/", "/rate/", "/r/", "/docs", "/rate/../r/x", "/r/%ff%00"):
        assert stranger.get(path).status_code == 404
    assert kept_ratings(home) == before


def test_what_is_said_for_another_rater_or_of_anothers_text_is_refused_and_names_nobody(server: Running, home: Path) -> None:
    ana, before = server.enter("ana"), kept_ratings(home)
    for body in (
        document("bo", [one(items_of("bo")[0], 1, 50)]),
        document("zoe", []),
        document("ana", [one(items_of("ana")[0], 1, 50), one(not_of("ana"), 1, 50)]),
        document("ana", [one("tnone", 1, 50)]),
    ):
        answer = ana.posts(body)
        assert answer.status_code == 403
        assert not re.search(r"\bbo\b|cleo|zoe", answer.text)
    assert kept_ratings(home) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Host": "evil.example.com"},
        {"Host": "127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    ],
)
def test_a_page_of_another_origin_and_a_rebound_name_are_refused_also_with_the_cookie(
    server: Running, home: Path, headers: dict[str, str]
) -> None:
    ana, before = server.enter("ana"), kept_ratings(home)
    body = document("ana", [one(items_of("ana")[0], 1, 50)])
    assert ana.posts(body, **headers).status_code == 403
    for path in (ana.place, server.links["ana"]):
        assert ana.client.get(path, headers=headers).status_code == 403
    assert kept_ratings(home) == before


def test_a_link_in_a_mail_may_be_followed(server: Running) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert httpx.get(server.links["ana"], headers=followed).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_what_a_form_of_any_page_could_send_is_refused(server: Running, kind: str) -> None:
    ana = server.enter("ana")
    assert ana.posts(document("ana", []), **{"Content-Type": kind}).status_code == 415
    assert ana.posts(document("ana", []), **{"Content-Type": "application/json; charset=utf-8"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Expecting value"),
        (b'{"project": ', "Expecting value"),
        (b"\xff\xfe{}", "can't decode byte"),
        (b"[" * 100_000, "recursion"),
        (b"1" * 5000, "digits"),
        (b"[]", "an object with project, rater"),
        (b"null", "an object with project, rater"),
        (json.dumps(document("ana", [7])).encode(), "ratings[0]: 7"),
        (json.dumps(document("ana", {})).encode(), "ratings: {}"),
        (json.dumps(document("ana", [{"item": "t00"}])).encode(), "ratings[0].rating: is missing"),
        (json.dumps(document("ana", [one(items_of("ana")[0], 6)])).encode(), "rating 6; a whole number from 1 to 5"),
        (json.dumps(document("ana", [one(items_of("ana")[0], None, rank=1)])).encode(), "a rank, of a project that asks for"),
        (json.dumps(document("ana", [one(items_of("ana")[0], 4, at="soon")])).encode(), 'ratings[0].at: "soon"'),
        (json.dumps(document("ana", [one(items_of("ana")[0], 4, seconds=float("nan"))])).encode(), "ratings[0].seconds"),
        (json.dumps(document("ana", [one(items_of("ana")[0], 4)], project="pother")).encode(), "of project pother"),
    ],
)
def test_a_malformed_body_is_refused_with_what_is_wrong_and_leaves_all_as_it_was(
    server: Running, home: Path, body: bytes, told: str
) -> None:
    ana, before = server.enter("ana"), kept_ratings(home)
    answer = ana.client.post(ana.place, content=body, headers=JSON)
    assert answer.status_code == 400
    assert told in answer.text
    assert kept_ratings(home) == before


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(server: Running) -> None:
    ana = server.enter("ana")
    large = json.dumps(document("ana", [], group="x" * LIMIT)).encode()
    assert ana.client.post(ana.place, content=large, headers=JSON).status_code == 413
    assert ana.client.post(ana.place, content=iter([large[:LIMIT], large[LIMIT:]]), headers=JSON).status_code == 413
    assert ana.says(items_of("ana")[0], 1).status_code == 200


def test_comments_of_any_kind_come_back_as_they_were_and_open_no_tag(server: Running, home: Path) -> None:
    cleo, item = server.enter("cleo"), items_of("cleo")[0]
    hostile = "</script><!-- <script>alert(1)</script> \u2028 שלום \0 ' ; drop table said"
    assert cleo.says(item, 2, 1, comment=hostile).status_code == 200
    assert [row["comment"] for row in cleo.saved()["ratings"]] == [hostile]
    assert cleo.says(item, 2, 2, comment="half \ud83d").status_code == 200
    assert [given.comment for given in collected(Home(home), SWEEP, project().id) if given.rater == "cleo"] == ["half \ufffd"]


def test_of_posts_at_once_the_later_one_stands_and_all_are_kept_in_the_history(server: Running, home: Path) -> None:
    cleo, item = server.enter("cleo"), items_of("cleo")[1]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda second: server.enter("cleo").says(item, 1 + second % 5, second), [3, 31, 7, 19, 5, 23, 11, 2])
        assert {answer.status_code for answer in answers} == {200}
    assert kept_ratings(home)["cleo", item] == 1 + 31 % 5
    assert cleo.says(item, 5, 30).status_code == 200  # of a browser that comes back with what it kept
    assert cleo.says(item, 5, 30).status_code == 200
    assert kept_ratings(home)["cleo", item] == 1 + 31 % 5
    with closing(sqlite3.connect(database(Home(home), SWEEP, project().id))) as base:
        (count,) = base.execute("select count(*) from history where rater = 'cleo' and item = ?", (item,)).fetchone()
    assert count == 9


# ---- nothing is lost -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A home of its own, with whose test all that it started ends."""
    kept(tmp_path, project())
    before = len(Running.started)
    yield tmp_path
    for process in Running.started[before:]:
        process.kill()
        process.wait(30)


def test_what_was_answered_to_is_there_after_a_kill_in_the_middle_of_saving(own: Path) -> None:
    """Posts go on while the process is killed; whatever was told to be saved is, and what is there was said."""
    port, acknowledged = 0, dict[tuple[str, str], int]()
    second, sent = 0, dict[tuple[str, str], set[int]]()
    for _ in range(3):
        running = Running(own, port)
        port = running.port
        raters = [running.enter("ana"), running.enter("bo")]
        assert {
            (r.name, row["item"]): row["rating"] for r in raters for row in r.saved()["ratings"]
        }.items() >= acknowledged.items()
        killer = threading.Timer(0.7, running.process.kill)
        killer.start()
        while True:
            second += 1
            rater, rating = raters[second % 2], 1 + second % 5
            item = items_of(rater.name)[second // 2 % 4]
            sent.setdefault((rater.name, item), set()).add(rating)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_800_000_000 + second))
            try:
                assert rater.says(item, rating, at=moment).status_code == 200
            except httpx.HTTPError:
                acknowledged.pop((rater.name, item), None)  # either may stand
                break
            acknowledged[rater.name, item] = rating
        killer.join()
        running.process.communicate(timeout=SOON_S)
        there = kept_ratings(own)
        assert acknowledged.items() <= there.items()
        assert all(there[place] in said for place, said in sent.items() if place in there)
    assert second > 30


def test_a_restart_keeps_links_cookies_and_ratings_and_ctrl_c_ends_with_the_command_that_takes_them_in(own: Path) -> None:
    running = Running(own)
    ana = running.enter("ana")
    ana.says(items_of("ana")[0], 4, 1)
    ana.says(items_of("ana")[1], None, 2, skipped="unclear")
    ana.says(items_of("ana")[2], 3, 3)
    ana.posts(document("ana", [one(items_of("ana")[2], None, 4)], group="nurse", signed_off=AT.format(5)))  # taken back
    told = running.end()
    path = database(Home(own), SWEEP, project().id)
    assert told.splitlines() == [
        f"2 ratings of project {project().id}; to take them in:",
        f"palms ratings import {path} --sweep {SWEEP}",
    ]
    assert running.process.returncode == 0
    assert [file.name for file in path.parent.glob("*.sqlite*")] == [path.name]  # whole in one file

    again = Running(own, running.port)
    assert again.links == running.links
    saved = ana.saved()  # by the cookie of before
    assert (saved["group"], saved["signed_off"], len(saved["ratings"])) == ("nurse", AT.format(5), 3)
    ana.posts(document("ana", [], group="nurse"))
    assert ana.saved()["signed_off"] == AT.format(5)
    assert again.end(signal.SIGTERM).startswith("2 ratings of project")

    done = sweeps.palms(own, "ratings", "import", str(path), "--sweep", SWEEP)
    assert done.stdout.startswith(f"2 new ratings of sweep {SWEEP}")
    assert {(one.rater, one.place) for one in accepted(Home(own), SWEEP)} == {
        ("ana", f"served: ana, item {item}") for item in items_of("ana")[:2]
    }
    assert take_in(Home(own), SWEEP, collected(Home(own), SWEEP, project().id)) == []
    assert progress(Home(own), SWEEP, project().id) == {"ana": 2}


def test_what_is_kept_is_its_owners_alone_and_codes_that_others_could_read_are_none(own: Path) -> None:
    running = Running(own)
    running.enter("ana").says(items_of("ana")[0], 4)
    for file in (own / "ratings" / SWEEP).glob("served-*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    running.end()
    held = codes(Home(own), SWEEP, project())
    assert len({*held.values()}) == 3
    assert all(len(code) >= 40 for code in held.values())
    (file,) = (own / "ratings" / SWEEP).glob("*.codes")
    file.chmod(0o640)
    told = sweeps.palms(own, "ratings", "serve", SWEEP, "--port", "0", status=2).stderr
    assert told.startswith(f"error: {file}: others could read or change it; `rm ")
    file.chmod(0o600)
    file.write_text("{}")
    with pytest.raises(BadInput, match=r"damaged; `rm .*`, and the next start makes new links"):
        codes(Home(own), SWEEP, project())


def test_a_port_in_use_a_sweep_without_a_project_and_a_damaged_database_are_said(own: Path, tmp_path: Path) -> None:
    running = Running(own)
    told = sweeps.palms(own, "ratings", "serve", SWEEP, "--port", str(running.port), status=2).stderr
    assert told == f"error: --port: {running.port}: Address already in use; a port of 127.0.0.1 that is free is required\n"
    running.end()
    path = database(Home(own), SWEEP, project().id)
    path.write_text("no database")
    told = sweeps.palms(own, "ratings", "serve", SWEEP, "--port", "0", status=2).stderr
    assert told.startswith(f"error: {path}: file is not a database; ")
    (own / "ratings" / SWEEP / "projects" / f"{project().id}.json").unlink()
    told = sweeps.palms(own, "ratings", "serve", SWEEP, status=2).stderr
    assert told == f"error: sweep {SWEEP}: nothing was given out to be rated; `palms ratings export {SWEEP}` does\n"


def test_what_is_no_database_of_a_server_is_refused_as_an_import(tmp_path: Path) -> None:
    path = tmp_path / "other ?.sqlite"
    with pytest.raises(BadInput, match="no such file"):
        read_any(path)
    path.write_text("no database")
    with pytest.raises(BadInput, match="file is not a database; a database that `palms ratings serve` saved in is required"):
        read_any(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as base:
        base.execute("create table other (x)")
    with pytest.raises(BadInput, match="no such table"):
        read_any(path)


# ---- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_rated_in_a_browser_it_is_saved_at_once_and_another_browser_goes_on(own: Path, tmp_path_factory: Any) -> None:
    running = Running(own)
    first, other = (Browser(tmp_path_factory.mktemp("browser")) for _ in range(2))
    try:
        tab = first.open(running.links["ana"])
        wait_for(lambda: tab.sees("#begin"))
        assert re.fullmatch(r"/rate/[0-9a-f]{32}", tab.js("location.pathname"))
        assert tab.js("document.cookie") == ""
        bo = first.open(running.links["bo"])  # in the same browser, beside it
        wait_for(lambda: bo.sees("#begin"))
        for one_tab in (tab, bo):
            one_tab.click("#begin")
            one_tab.keys("y", "4")
        wait_for(lambda: kept_ratings(own) == {("ana", items_of("ana")[0]): 4, ("bo", items_of("bo")[0]): 4})
        wait_for(lambda: tab.text("#done-words").endswith("saved"))

        later = other.open(running.links["ana"])
        wait_for(lambda: "1 of 4 are done" in later.text("#begin"))
        assert later.text("#loaded").startswith("1 loaded from the server;")
        later.click("#begin")
        assert later.text("#which") == "Text 2 of 4"
        os.kill(running.process.pid, signal.SIGKILL)
        later.keys("n", "2")
        again = Running(own, running.port)
        wait_for(lambda: kept_ratings(own).get(("ana", items_of("ana")[1])) == 2)
        for one_tab in (tab, bo):
            assert one_tab.complaints == []
        again.end()
    finally:
        first.close()
        other.close()
