"""The page a rater in a real Chromium: rated by keyboard, kept, merged, saved and read back; and what is refused of files that come back."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from websockets.sync.client import connect

from configs.problems import BadInput
from tasks.ratings.collected import Given
from tasks.ratings.formats import page
from tasks.ratings.project import RANK, RATE, Item, Mode, Packet, Project
from tests.browser import CHROMIUM
from tests.sweeps import wait_for

HOSTILE = (
    "<img src=x onerror=\"window.ran = 1; document.title = 'ran'\">",
    "</script><script>window.ran = 1</script><!-- <script>",
    "\u2028\u202eright to left שלום]]> ${window.ran = 1} &lt;b&gt; " + "x" * 3000,
)
POSITIONS = {
    "health": "Do not diagnose.\n- Explain, but leave diagnosing to others.\n- Oppose untested cures.",
    "abuse_violence": "Oppose violence.\n- Oppose threats.",
    "unused": "Of no item here.",
}


def project(name: str, mode: Mode = RATE, texts: tuple[str, ...] = ("one", "two", "three", "four")) -> Project:
    """Of raters ann and bob, who share nothing. In mode rank a block has all texts but the last."""
    first = [Item(f"t{i}", "health" if i % 2 else "abuse_violence", f"prompt {i}", text, f"b{i}") for i, text in enumerate(texts)]
    if mode == RANK:
        first = [replace(one, prompt="asked", category="health", block="b0") for one in first[:-1]] + first[-1:]
    other = Item("tbob", "health", "asked of bob", "told to bob", "bbob")
    return Project(name, mode, POSITIONS, (Packet("ann", tuple(first)), Packet("bob", (other,))))


def said(given: list[Given]) -> dict[str, tuple[Any, ...]]:
    return {one.item: (one.rating, one.is_answer, one.rank, one.skipped, one.comment) for one in given}


# ---- what is written ---------------------------------------------------------------------------------------------------------


def test_a_file_holds_the_items_of_its_rater_and_nothing_else(tmp_path: Path) -> None:
    files = page.write(project("pheld"), tmp_path / "out")
    assert files == [tmp_path / "out/ann.html", tmp_path / "out/bob.html"]
    text = files[0].read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="held">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    held = json.loads(found[1])
    assert held == {
        "project": "pheld",
        "rater": "ann",
        "mode": "rate",
        "items": [vars(item) for item in project("pheld").packets[0].items],
        "positions": {name: POSITIONS[name] for name in ("abuse_violence", "health")},
    }
    for hidden in ("bob", "tbob", "unused", "Of no item"):
        assert hidden not in text


def test_model_text_stands_in_a_file_as_ascii_that_opens_and_closes_nothing(tmp_path: Path) -> None:
    text = page.write(project("phostile", texts=HOSTILE), tmp_path)[0].read_text(encoding="utf-8")
    body = text.partition('id="held">')[2].partition("</script>")[0]
    assert body.isascii()
    assert not set("<>&") & set(body)
    assert [item["completion"] for item in json.loads(body)["items"]] == list(HOSTILE)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "connect-src" not in policy[1]
    assert "save-to" not in text.partition("<script")[0]


# ---- what is read ------------------------------------------------------------------------------------------------------------

RATED = {
    **{"item": "t1", "rating": 4, "is_answer": True, "rank": None, "skipped": "", "comment": "clear"},
    **{"seconds": 3.5, "at": "2026-11-29T10:00:00.000Z"},
}
SAVED = {"project": "p1", "rater": "ann", "mode": "rate", "group": "nurse", "signed_off": None, "ratings": [RATED]}


def saved(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "p1-ann.json"
    path.write_text(json.dumps(SAVED | changed), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        page.read(path)
    return str(error.value)


def test_a_saved_file_is_read_with_the_place_of_each_rating(tmp_path: Path) -> None:
    path = saved(tmp_path, ratings=[RATED, RATED | {"item": "t2", "rating": None, "skipped": "unclear", "seconds": 2}])
    first = Given("t1", "ann", f"{path}: ratings[0]", 4, True, None, "", "clear", 3.5, RATED["at"], "nurse", "p1")
    assert page.read(path) == [
        first,
        replace(first, item="t2", place=f"{path}: ratings[1]", rating=None, skipped="unclear", seconds=2),
    ]


def test_byte_order_marks_line_ends_unknown_keys_and_repeated_items_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, version=7, signed_off="2026-11-29T10:00:00+00:00", ratings=[RATED | {"colour": "red"}] * 2)
    text = json.dumps(json.loads(path.read_text()), indent=1).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [one.item for one in page.read(path)] == ["t1", "t1"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rating": "4"}, 'ratings[0].rating: "4"; a whole number from 1 to 5, or null, is required'),
        ({"rating": 4.5}, "ratings[0].rating: 4.5; a whole number from 1 to 5, or null, is required"),
        ({"rating": 4.0}, "ratings[0].rating: 4.0; a whole number from 1 to 5, or null, is required"),
        ({"rating": True}, "ratings[0].rating: true; a whole number from 1 to 5, or null, is required"),
        ({"is_answer": 1}, "ratings[0].is_answer: 1; true, false or null is required"),
        ({"rank": "1"}, 'ratings[0].rank: "1"; a whole number from 1, or null, is required'),
        ({"skipped": "tired"}, 'ratings[0].skipped: "tired"; one of unclear, language, upsetting, other, or an empty text'),
        ({"skipped": ["other"]}, 'ratings[0].skipped: ["other"]; one of unclear'),
        ({"comment": None}, "ratings[0].comment: null; a text, which may be empty, is required"),
        ({"seconds": -1}, "ratings[0].seconds: -1; a number from 0, or null, is required"),
        ({"seconds": "3"}, 'ratings[0].seconds: "3"; a number from 0'),
        ({"at": "yesterday"}, 'ratings[0].at: "yesterday"; a time in UTC such as'),
        ({"at": "2026-11-29T10:00:00"}, "ratings[0].at: "),
        ({"item": 7}, "ratings[0].item: 7; an item's id is required"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_would_be_accepted(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    path = saved(tmp_path, ratings=[RATED | changed])
    assert refused(path).startswith(f"{path}: {told}")


def test_everything_wrong_with_a_file_is_told_a_line_each(tmp_path: Path) -> None:
    path = saved(tmp_path, mode="guess", signed_off=3, group=None, ratings=[RATED, 5, {"item": "t1"}])
    assert [line.removeprefix(f"{path}: ").partition(":")[0] for line in refused(path).splitlines()] == [
        *("mode", "group", "signed_off", "ratings[1]"),
        *(f"ratings[2].{name}" for name in ("rating", "is_answer", "rank", "skipped", "comment", "seconds", "at")),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b'{"project": "p1",\n "rater": }',
            ":2: not JSON: Expecting value at column 11; a file that the rating page saved is required",
        ),
        (b"", ":1: not JSON: "),
        (b'{"project": NaN}', ": not JSON: NaN is no number; a file that the rating page saved"),
        (b"[" * 100_000, ": not JSON: "),
        (b"[]", ": []; an object with project, rater, mode, group, signed_off, ratings is required"),
        (b'{"ratings": {}}', ": project: is missing; the project's id is required"),
        (b'{\n"rater": "\xff"}', ":2: byte 0xff is not UTF-8"),
        ("{}".encode("utf-16"), ":1: the file is UTF-16"),
    ],
)
def test_what_is_no_saved_file_is_refused_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}{told}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file or directory; a file that the rating page saved is required" in refused(tmp_path / "none.json")


# ---- in a browser ------------------------------------------------------------------------------------------------------------

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--remote-debugging-port=0", "--window-size=1280,900"),
)
CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "Enter": 13, "Escape": 27, "Tab": 9}
# Every text that is seen with less contrast than AA asks for.
FAINT = """(() => {
const rgb = (text) => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = (text) => {
  const [r, g, b] = rgb(text).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (e) => {
  const colour = e ? getComputedStyle(e).backgroundColor : "white";
  return rgb(colour)[3] === 255 ? colour : behind(e.parentElement);
};
const says = (e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
return [...document.querySelectorAll("body *")].filter(says).map((e) => {
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  return [(a + .05) / (b + .05), e.textContent.slice(0, 40)];
}).filter(([found]) => found < 4.5);
})()"""


class Browser:
    """A Chromium of one profile, driven over its own protocol."""

    def __init__(self, root: Path) -> None:
        self.downloads = root / "downloads"
        self.process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={root / 'profile'}", "about:blank"], stderr=subprocess.DEVNULL
        )
        told = root / "profile/DevToolsActivePort"
        wait_for(lambda: told.exists() and told.read_text().count("\n") == 1)
        port, route = told.read_text().split()
        self.socket = connect(f"ws://127.0.0.1:{port}{route}", max_size=None, proxy=None)
        self.sent, self.events = 0, list[dict[str, Any]]()
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method: str, session: str | None = None, **given: Any) -> Any:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": given} | ({"sessionId": session} if session else {})
        self.socket.send(json.dumps(message))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != self.sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str, width: int = 1280, dark: bool = False, first: str = "") -> Tab:
        return Tab(self, url, width, dark, first)

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


class Tab:
    """A page. `first` is a script that runs before its own."""

    def __init__(self, browser: Browser, url: str, width: int, dark: bool, first: str) -> None:
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.addScriptToEvaluateOnNewDocument", source=first)
        self.go(url)

    def call(self, method: str, **given: Any) -> Any:
        return self.browser.call(method, self.session, **given)

    def go(self, url: str) -> None:
        self._load("Page.navigate", url=url)

    def reload(self) -> None:
        time.sleep(0.5)  # Chromium passes on what a page stores a moment later
        self._load("Page.reload")

    def _load(self, method: str, **given: Any) -> None:
        """Until the page is painted: before that, a browser drops what is pressed."""
        before = self._heard("Page.loadEventFired")
        self.call(method, **given)
        wait_for(lambda: self.browser.call("Browser.getVersion") and self._heard("Page.loadEventFired") > before)
        wait_for(lambda: self.js("performance.getEntriesByName('first-contentful-paint').length"))

    def _heard(self, method: str) -> int:
        return sum(one["method"] == method for one in self.browser.events if one.get("sessionId") == self.session)

    def js(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def keys(self, *names: str, held: bool = False) -> None:
        for name in names:
            text = {"text": name} if len(name) == 1 else {"text": "\r"} if name == "Enter" else {}
            key = {"key": name, "windowsVirtualKeyCode": CODES.get(name, ord(name[0].upper()))}
            self.call("Input.dispatchKeyEvent", type="keyDown", autoRepeat=held, **key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def click(self, selector: str) -> None:
        place = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def sees(self, selector: str) -> bool:
        return bool(self.js(f"document.querySelector({json.dumps(selector)})?.checkVisibility() ?? false"))

    def saved(self, selector: str) -> Path:
        """What a click on this saves, moved where the next of its name does not replace it."""
        self.click(selector)
        wait_for(lambda: list(self.browser.downloads.glob("*.json")))
        [file] = self.browser.downloads.glob("*.json")
        folder = self.browser.downloads / str(self.browser.sent)
        folder.mkdir()
        return file.rename(folder / file.name)

    def load(self, path: Path) -> None:
        node = self.call("DOM.querySelector", nodeId=self.call("DOM.getDocument")["root"]["nodeId"], selector="#load")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
        wait_for(lambda: self.text("#loaded"))

    @property
    def complaints(self) -> list[Any]:
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [one for one in self.browser.events if one.get("sessionId") == self.session and one["method"] in kinds]

    @property
    def asked(self) -> list[str]:
        """What it asked for besides itself."""
        own = [one for one in self.browser.events if one.get("sessionId") == self.session]
        urls = [one["params"]["request"]["url"] for one in own if one["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.endswith(("ann.html", "bob.html"))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


def opened(browser: Browser, folder: Path, given: Project, **how: Any) -> Tab:
    return browser.open(page.write(given, folder)[0].as_uri(), **how)


def begun(browser: Browser, folder: Path, given: Project, **how: Any) -> Tab:
    tab = opened(browser, folder, given, **how)
    tab.click("#begin")
    return tab


def marks(tab: Tab) -> None:
    """That all is as it should be for a page: nothing failed, and nothing was asked for."""
    assert (tab.complaints, tab.asked) == ([], [])


@pytest.mark.browser
def test_nothing_is_shown_before_the_warning_is_accepted_and_then_the_position_stands_beside_the_text(
    browser: Browser, tmp_path: Path
) -> None:
    tab = opened(browser, tmp_path, project("pwarn"))
    assert "self-harm" in tab.text("#start .warned")
    tab.keys("4", "y", "ArrowRight")
    assert not tab.sees("#rate")
    assert "prompt 0" not in tab.text("body")
    tab.click("#begin")
    assert (tab.text("#prompt"), tab.text(".said"), tab.text("#category")) == ("prompt 0", "one", "abuse violence")
    assert (tab.text("#statement"), tab.text("#claims")) == ("Oppose violence.", "Oppose threats.")
    assert not tab.sees("#start")
    marks(tab)


@pytest.mark.browser
def test_rated_by_keyboard_kept_over_a_reload_undone_skipped_and_read_back_as_it_was_given(
    browser: Browser, tmp_path: Path
) -> None:
    tab = opened(browser, tmp_path, project("pkeys"))
    tab.click("#group")
    tab.keys(*"nurse")
    tab.click("#begin")
    tab.keys("y", "4")  # goes on
    assert tab.text("#which") == "Text 2 of 4"
    tab.keys("2")
    assert (tab.text("#which"), tab.text("#told")) == ("Text 2 of 4", "And is it an answer at all?")
    tab.keys("n", "5", held=False)
    assert tab.text("#which") == "Text 3 of 4"
    tab.reload()
    assert not tab.sees("#rate")
    assert "1 of 4" not in tab.text("#begin")
    tab.click("#begin")
    assert (tab.text("#which"), tab.text("#done-words")) == ("Text 3 of 4", "2 of 4 done")
    tab.keys("5", "u", "c", *"odd y4", "Escape", "s")
    assert tab.sees("#reasons")
    tab.keys("2")
    assert tab.text("#which") == "Text 4 of 4"
    tab.keys("y", "1")
    assert tab.text("#end-counts") == "3 rated, 1 skipped, 0 open."
    tab.keys("Backspace")
    assert (tab.text("#which"), tab.js("document.querySelector('[data-answer=\"1\"]').ariaPressed")) == ("Text 4 of 4", "true")
    tab.keys("3")
    file = tab.saved("#sign-off")
    assert file.name == "pkeys-ann.json"
    assert f"Please send {file.name}" in tab.text("#signed")
    given = page.read(file)
    assert said(given) == {
        "t0": (4, True, None, "", ""),
        "t1": (2, False, None, "", ""),
        "t2": (None, None, None, "language", "odd y4"),
        "t3": (3, True, None, "", ""),
    }
    assert {(one.rater, one.group, one.project) for one in given} == {("ann", "nurse", "pkeys")}
    assert all(one.seconds is not None and one.at.endswith("Z") for one in given)
    assert [one.place for one in given] == [f"{file}: ratings[{i}]" for i in range(4)]
    assert json.loads(file.read_text())["signed_off"] >= max(one.at for one in given)
    marks(tab)


@pytest.mark.browser
def test_a_held_key_rates_once_and_single_keys_can_be_switched_off(browser: Browser, tmp_path: Path) -> None:
    tab = begun(browser, tmp_path, project("pheldkey"))
    tab.keys("y", "4")
    tab.keys("y", "4", "y", "4", held=True)
    assert tab.text("#done-words") == "1 of 4 done"
    tab.click("#instructions")
    tab.click("#by-keys")
    tab.click("#begin")
    tab.keys("y", "4", "ArrowRight", "u")
    assert (tab.text("#which"), tab.text("#done-words")) == ("Text 2 of 4", "1 of 4 done")
    tab.click("[data-rating='4']")
    tab.click("[data-answer='0']")
    assert (tab.text("#which"), tab.text("#done-words")) == ("Text 3 of 4", "2 of 4 done")


@pytest.mark.browser
def test_a_copy_may_be_saved_unfinished_and_a_sign_off_holds_until_something_is_changed(browser: Browser, tmp_path: Path) -> None:
    tab = begun(browser, tmp_path, project("pfinish"))
    tab.keys("y", "4")
    copy = tab.saved("nav .save")
    assert copy.name == "pfinish-ann-unfinished.json"
    assert (json.loads(copy.read_text())["signed_off"], list(said(page.read(copy)))) == (None, ["t0"])
    tab.click("#finish")
    assert tab.text("#end-counts") == "1 rated, 0 skipped, 3 open."
    tab.click("#sign-off")
    assert tab.text("#unfinished-words") == "3 of 4 are still open"
    signed = tab.saved("#sign-anyway")
    assert json.loads(signed.read_text())["signed_off"]
    tab.reload()
    tab.click("#begin")
    tab.click("#finish")
    assert tab.text("#signed").startswith("Signed off on ")
    tab.click("#open")
    tab.keys("n", "1")
    changed = tab.saved("nav .save")
    assert (json.loads(changed.read_text())["signed_off"], list(said(page.read(changed)))) == (None, ["t0", "t1"])


@pytest.mark.browser
def test_two_tabs_on_one_file_lose_nothing_and_the_later_word_counts(browser: Browser, tmp_path: Path) -> None:
    one = begun(browser, tmp_path, project("ptabs"))
    two = browser.open(page.write(project("ptabs"), tmp_path)[0].as_uri())
    two.click("#begin")
    one.keys("y", "4")
    two.keys("ArrowRight", "n", "2")
    one.keys("y", "5")  # of text 2, which the other tab has rated: the later counts
    two.keys("y", "1")
    for tab in (one, two):
        wait_for(lambda tab=tab: tab.text("#done-words").startswith("3 of 4 done"))
    wanted = {"t0": (4, True, None, "", ""), "t1": (5, True, None, "", ""), "t2": (1, True, None, "", "")}
    files = [one.saved("nav .save"), two.saved("nav .save")]
    assert [said(page.read(file)) for file in files] == [wanted, wanted]
    assert files[0].read_text() == files[1].read_text()
    two.keys("u")  # what is taken back is so in the other tab too
    wait_for(lambda: one.text("#done-words").startswith("2 of 4 done"))
    two.js("localStorage.clear()")  # whoever does so: the tabs still know
    wait_for(lambda: two.js("Object.keys(localStorage).filter((key) => key.includes('ptabs')).length") == 4)
    one.reload()
    one.click("#begin")
    assert one.text("#done-words").startswith("2 of 4 done")
    marks(one)


@pytest.mark.browser
def test_a_tab_whose_word_was_written_over_writes_it_again(browser: Browser, tmp_path: Path) -> None:
    """Two tabs that speak of one item at once, the earlier of which is written last: the one that hears of it adds what it knows."""
    one = begun(browser, tmp_path, project("prace"))
    one.keys("y", "4")
    other = browser.open(page.write(project("prace"), tmp_path)[1].as_uri())
    place = 'palms ratings ["prace","ann"] '
    for late in (RATED | {"item": "t0", "rating": 1, "at": "2020-01-01T00:00:00Z"}, RATED):
        other.js(f"localStorage.setItem('{place}{late['item']}', {json.dumps(json.dumps(late))})")
    kept = f"['t0', 't1'].map((item) => JSON.parse(localStorage.getItem('{place}' + item)).rating).join()"
    wait_for(lambda: other.js(kept) == "4,4")
    wait_for(lambda: one.text("#done-words") == "2 of 4 done")


@pytest.mark.browser
@pytest.mark.parametrize("how", ["full", "blocked"])
def test_a_browser_that_keeps_nothing_is_told_of_and_nothing_is_lost_of_what_was_said(
    browser: Browser, tmp_path: Path, how: str
) -> None:
    blocked = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});"
    tab = opened(browser, tmp_path, project(f"p{how}"), first=blocked if how == "blocked" else "")
    if how == "full":
        tab.js(
            "for (let size = 2 ** 22; size >= 1; size /= 2) { try { for (let i = 0; ; i++) localStorage.setItem(`fill ${size} ${i}`,"
            " 'x'.repeat(size)); } catch { /* a smaller piece */ } }"
        )
    try:
        tab.click("#group")
        tab.keys(*"nurse")
        tab.click("#begin")
        tab.keys("y", "4", "n", "2")
        assert "does not keep your ratings" in tab.text("#not-kept")
        copy = tab.saved("#not-kept .save")
        assert said(page.read(copy)) == {"t0": (4, True, None, "", ""), "t1": (2, False, None, "", "")}
        assert {one.group for one in page.read(copy)} == {"nurse"}
    finally:
        if how == "full":
            tab.js(
                "Object.keys(localStorage).filter((key) => key.startsWith('fill')).forEach((key) => localStorage.removeItem(key))"
            )
    tab.keys("y", "5")
    assert tab.sees("#not-kept") == (how == "blocked")  # there is room again


@pytest.mark.browser
def test_a_saved_file_is_loaded_into_another_browser_and_what_is_later_stays(browser: Browser, tmp_path: Path) -> None:
    tab = begun(browser, tmp_path, project("pload"))
    tab.keys("y", "4")
    tab.click("#instructions")
    later = RATED | {"item": "t0", "rating": 1, "at": "2020-01-01T00:00:00Z"}, RATED, {"item": "t2", "rating": "high"}
    tab.load(saved(tmp_path, project="pload", ratings=list(later)))
    assert tab.text("#loaded") == (
        "1 loaded from p1-ann.json; of the rest the same or something later is here. 1 could not be read."
    )
    tab.click("#begin")
    copy = tab.saved("nav .save")
    assert said(page.read(copy)) == {"t0": (4, True, None, "", ""), "t1": (4, True, None, "", "clear")}
    assert {one.group for one in page.read(copy)} == {"nurse"}
    tab.click("#instructions")
    tab.load(saved(tmp_path, project="another"))
    wait_for(lambda: "nothing was loaded" in tab.text("#loaded"))


@pytest.mark.browser
def test_how_long_it_will_take_is_told_once_three_are_done(browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path, project("plong"))
    rated = [RATED | {"item": f"t{i}", "seconds": seconds} for i, seconds in enumerate((5, 130, 3000))]
    tab.load(saved(tmp_path, project="plong", ratings=rated))
    assert tab.text("#begin") == "I have read the warning and want to go on: 3 of 4 are done"
    tab.click("#begin")
    assert tab.text("#done-words") == "3 of 4 done · about 2 minutes left"


@pytest.mark.browser
def test_texts_of_a_block_are_ranked_together_with_ties(browser: Browser, tmp_path: Path) -> None:
    tab = begun(browser, tmp_path, project("prank", RANK))
    assert tab.js("[...document.querySelectorAll('.said')].map((one) => one.innerText)") == ["one", "two", "three"]
    tab.keys("2", "1", "9", "2")
    assert tab.text("#told") == "Text C: rank 2. All of this prompt are done"
    tab.keys("ArrowUp", "3", "u")  # B is third after all; no, it is not
    tab.keys("ArrowRight", "s", "3")
    file = tab.saved("nav .save")
    assert said(page.read(file)) == {
        "t0": (None, None, 2, "", ""),
        "t1": (None, None, 1, "", ""),
        "t2": (None, None, 2, "", ""),
        "t3": (None, None, None, "upsetting", ""),
    }
    assert json.loads(file.read_text())["mode"] == "rank"
    tab.reload()
    tab.click("#begin")
    tab.click("#open") if tab.sees("#open") else tab.keys("ArrowLeft", "ArrowLeft")
    tab.click("article:nth-child(2) [data-rank='2']")
    assert tab.js("[...document.querySelectorAll('[aria-pressed=true]')].map((one) => one.innerText).join()") == "2,2,2"
    marks(tab)


@pytest.mark.browser
def test_whatever_a_model_wrote_is_shown_as_it_is_and_nothing_runs(browser: Browser, tmp_path: Path) -> None:
    tab = begun(browser, tmp_path, project("pinert", texts=HOSTILE), width=390)
    for text in HOSTILE:
        assert tab.js("document.querySelector('.said').textContent") == text
        assert tab.js("document.querySelector('.said').children.length") == 0
        assert tab.js("document.documentElement.scrollWidth") == 390
        tab.keys("ArrowRight")
    assert tab.js("window.ran ?? document.title") == "Rating completions"
    marks(tab)
    # and were markup to come in, the policy would not run it
    tab.js("document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.com/x\" onerror=\"window.ran = 1\">')")
    tab.js("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))")
    assert tab.js("fetch('https://example.com/').then(() => 'asked', () => 'refused')") == "refused"
    assert tab.js("window.ran ?? 0") == 0


@pytest.mark.browser
@pytest.mark.parametrize("mode", [RATE, RANK])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True), (320, False)])
def test_a_phone_scrolls_no_side_way_targets_are_large_and_words_have_contrast(
    browser: Browser, tmp_path: Path, mode: Mode, width: int, dark: bool
) -> None:
    tab = opened(browser, tmp_path, project(f"pwide{mode}{width}{dark}", mode), width=width, dark=dark)
    seen = "[...document.querySelectorAll('button, input, textarea')].filter((e) => e.checkVisibility())"
    size = "Math.min(e.getBoundingClientRect().height, e.getBoundingClientRect().width)"
    small = f"{seen}.filter((e) => e.type !== 'checkbox' && {size} < 44).map((e) => e.outerHTML)"
    unnamed = f"{seen}.filter((e) => !e.labels?.length && !e.innerText.trim()).map((e) => e.outerHTML)"

    def sound() -> None:
        assert tab.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert (tab.js(FAINT), tab.js(small), tab.js(unnamed)) == ([], [], [])

    sound()
    tab.click("#begin")
    sound()
    tab.keys("4" if mode == RATE else "1")
    sound()
    tab.keys("s")
    sound()
    tab.keys("1")
    tab.click("#finish")
    sound()


class _Taking(BaseHTTPRequestHandler):
    """Serves the page, and takes what is posted once it is `taking`."""

    text = ""
    taking = False
    posted: list[dict[str, Any]]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204 if self.taking else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.browser
def test_a_page_of_a_server_posts_every_action_until_it_is_taken(browser: Browser) -> None:
    given = project("pserved")
    text = page.render(given, given.packets[0], save_to="/ratings/ann")
    assert "connect-src &#39;self&#39;" in text
    handler = type("Taking", (_Taking,), {"text": text, "posted": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        tab = browser.open(f"http://127.0.0.1:{server.server_port}/ann.html")
        tab.click("#begin")
        tab.keys("y", "4")
        wait_for(lambda: tab.text("#done-words") == "1 of 4 done · not saved on the server yet" and len(handler.posted) > 1)  # type: ignore[attr-defined]
        handler.taking = True  # type: ignore[attr-defined]
        wait_for(lambda: tab.text("#done-words") == "1 of 4 done · saved")
        tab.click("#finish")
        tab.click("#sign-off")
        tab.click("#sign-anyway")
        wait_for(lambda: handler.posted[-1]["signed_off"])  # type: ignore[attr-defined]
        rated = [one for one in handler.posted if one["ratings"]][-1]  # type: ignore[attr-defined]
        assert rated.keys() == SAVED.keys()
        assert [(one["item"], one["rating"], one["is_answer"]) for one in rated["ratings"]] == [("t0", 4, True)]
    finally:
        server.shutdown()
        server.server_close()
