"""Answers side by side: which are shown, what stands beside them, how they fit the page, and that no browser runs what a model wrote."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
import zlib
from pathlib import Path

import pytest

from tasks.compare import body
from tasks.compare.answers import answers
from tasks.compare.report import answers as page
from tests.arms import ARMS
from tests.browser import CHROMIUM
from tests.imagined import OUTCOME, SETTINGS, Imagined, axes, build, names
from tests.jobs import make_job

HOSTILE = (
    "<script>window.ran = true</script><img src='http://evil.example.com/x.png' onerror='window.ran = true'>",
    "שלום <b>עולם</b> \u202eabc\u202c",
    "👩‍👩‍👧‍👦 🏳️‍🌈 é",
    "</script></section><script>window.ran = true</script>",
    "x" * 100_000,
    "",
)


def test_of_several_runs_the_one_with_most_samples_and_the_first_seed_is_shown(tmp_path: Path) -> None:
    home = Imagined(tmp_path)
    home.sampled(axes("base"), {"p-1": ["base"]})
    for samples in (20, 80):
        for seed in (1, 2):
            home.sampled(axes("control", samples=samples, seed=seed), {"p-1": [f"{samples} {seed}"]})
    (only,) = answers(home.found().sources, OUTCOME)
    assert {arm: only.of(arm, "p-1")[0].text for arm in only.runs} == {"base": "base", "control": "80 1"}


def test_label_and_tested_score_stand_beside_each_answer(tmp_path: Path) -> None:
    (small, large) = answers(build(tmp_path, dict.fromkeys(names(3), 0.25)).found().sources, OUTCOME, ("toxicity",))
    assert (small.size, large.size, large.metric) == ("small", "large", "on_position")
    told = [(one.labels, one.scores) for one in large.of("values_targeted", "p-001", draws=None)]
    scores = (("toxicity", 0.125),)  # and no other class of the scorer
    assert told == [(("on position",), scores)] * 2 + [(("off grammar",), scores)] * 2
    assert large.difference(ARMS.leading[0], "p-001") == 0.25
    assert large.of("control", "p-404") == []


def test_a_suite_without_a_tested_score_shows_the_first_and_moves_by_the_first_outcome(tmp_path: Path) -> None:
    home = build(tmp_path, dict.fromkeys(names(2), 0.25))
    for arm in ARMS.names:
        home.sampled(axes(arm, suite="other"), {p: ["well"] for p in names(2)})
        home.scored(axes(arm, suite="other"), dict.fromkeys(names(2), 0.5), column="sentiment")
    *_, other = answers(home.found().sources, OUTCOME, ("toxicity",))
    assert (other.suite, other.metric) == ("other", None)  # sentiment is no outcome that the experiment knows
    assert other.of("base", "p-000")[0].scores == (("threat", 0.5),)
    assert other.difference(ARMS.leading[0], "p-000") is None


def test_examples_stand_at_the_quartiles_whatever_was_answered(tmp_path: Path) -> None:
    rises = dict(zip(names(9), (0.5, 0.25, 0.0, 0.75, 0.0, 0.25, 0.5, 0.75, 0.0), strict=True))
    found = [
        page.examples(build(tmp_path / str(i), rises, said).found()) for i, said in enumerate((("a",), ("b", "", "c" * 300)))
    ]
    chosen = [[example.prompt for example in one.rows] for one in found if one]
    assert chosen == [["What of p-008?", "What of p-005?", "What of p-006?"]] * 2
    assert found[1] is not None
    assert (found[1].size, found[1].arms) == ("large", ARMS.names)
    assert "values-targeted vs base in on-position answers" in found[1].how
    assert {shown.more for example in found[1].rows for shown in example.answers.values()} == {0, 60}


def test_examples_where_little_is_there(tmp_path: Path) -> None:
    assert page.examples(Imagined(tmp_path / "none").found()) is None
    assert page.section(Imagined(tmp_path / "nothing").found(), 1000) == ""
    alone = Imagined(tmp_path / "alone")
    alone.sampled(axes("control"), {p: ["well"] for p in names(2)})
    found = page.examples(alone.found())
    assert found is not None
    assert ([example.prompt for example in found.rows], found.arms) == (["What of p-000?", "What of p-001?"], ("control",))
    assert "in the order of the suite" in found.how


def test_a_large_sweep_fits_the_page(tmp_path: Path) -> None:
    """7 sizes × 3 arms × 160 prompts of 800 characters that repeat nothing: cut as far as they must be, and the page says so."""
    rng, home = random.Random(0), Imagined(tmp_path)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4000)]
    for size in range(7):
        for arm in ARMS.names:
            home.sampled(axes(arm, f"s{size}"), {p: [" ".join(rng.choices(words, k=125))] for p in names(160)})
    found = home.found()
    held = list(answers(found.sources, OUTCOME))
    (wide, whole), (packed, longest) = (page.pack(found, held, room) for room in (3_000_000, 700_000))
    assert len(packed) < 700_000 < len(wide)
    assert (whole, longest) == (2000, 250)
    suite = json.loads(zlib.decompress(base64.b64decode(packed)))["suites"][0]
    assert [len(suite["answers"]), *{len(arm) for size in suite["answers"] for arm in size}] == [7, 160]
    told = page.section(found, 700_000)
    assert len(told.encode()) < 700_000
    assert f"longer than {longest} characters are cut" in told


# ---- in a browser -----------------------------------------------------------------------------------------------------------

PROBE = """
<script>
const wrong = [], told = {};
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
console.error = (...words) => wrong.push(words.join(" "));
const by = (words) => [...document.querySelectorAll("#answers-filters label")].find((one) => one.textContent.startsWith(words)).control;
const set = (words, value) => { const one = by(words); one.value = value; one.dispatchEvent(new Event("change")); };
const cards = () => [...document.querySelectorAll("#answers-list > li")];
const ids = () => cards().map((one) => one.querySelector(".answer-about").textContent.match(/p-\\d+/)[0]);
const probe = () => {
  const said = () => [...document.querySelectorAll("#answers-list .answer-text")];
  told.first = ids().length;
  document.getElementById("answers-more").click();
  told.all = ids().length;
  told.texts = said().map((one) => one.textContent);
  told.inside = said().reduce((sum, one) => sum + one.children.length, 0);
  const examples = [...document.querySelectorAll("#examples .answer-text")];
  told.examples = [...new Set(examples.map((one) => one.textContent))];
  told.inside += examples.reduce((sum, one) => sum + one.children.length, 0);
  told.directions = [...new Set(said().filter((one) => !one.classList.contains("none")).map((one) => one.dir))];
  told.rtl = said().filter((one) => one.textContent.startsWith("ש")).map((one) => getComputedStyle(one).direction)[0];
  told.cut = document.querySelector("#answers-list .answer-cut").textContent;
  told.marks = [...cards()[0].querySelectorAll(".answer-marks")].map((one) => one.textContent);
  told.moved = cards()[0].querySelector(".answer-about").textContent;
  set("category", "even"); told.even = [...new Set(ids().map((id) => Number(id.slice(2)) % 2))];
  set("category", ""); set("order", "most"); told.most = ids()[0];
  set("order", "least"); told.least = ids()[0];
  set("order", "against"); told.against = ids();
  told.count = document.getElementById("answers-count").textContent;
  const radio = document.querySelector("#answers-filters input[value=small]");
  radio.focus(); told.focus = document.activeElement === radio;
  radio.click(); told.small = document.getElementById("answers-count").textContent;
  told.wide = document.documentElement.scrollWidth <= innerWidth;
  told.type = Math.min(...[...document.querySelectorAll("#answers *")].filter((one) => one.offsetParent)
    .map((one) => parseFloat(getComputedStyle(one).fontSize)));
  told.ran = Boolean(window.ran);
  told.wrong = wrong;
  document.title = JSON.stringify(told);
};
document.getElementById("answers").open = true;
const wait = setInterval(() => { if (cards().length) { clearInterval(wait); probe(); } }, 20);
</script></body>
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole report of a sweep whose models write what no page should run."""
    root = tmp_path_factory.mktemp("hostile")
    rises = dict.fromkeys(names(24), 0.5) | {"p-003": 0.75, "p-007": 0.0, "p-011": -0.25}
    home = build(root / "in", rises, HOSTILE)
    ran = make_job(root / "out", SETTINGS, home.inputs, home.places)
    body.run([ran.job])
    return ran.work / "report.html"


@pytest.mark.slow
def test_no_answer_stands_in_the_page_as_markup(report: Path) -> None:
    assert not any(text in report.read_text(encoding="utf-8") for text in HOSTILE if text)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_hostile_answers_are_shown_as_they_are_and_filters_work(report: Path, tmp_path: Path) -> None:
    shown = tmp_path / "page.html"
    shown.write_text(report.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += [f"--log-net-log={tmp_path}/net.json", "--net-log-capture-mode=Everything", "--virtual-time-budget=20000"]
    dom = subprocess.run([*command, "--dump-dom", shown.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(\{.*?\})</title>", dom)
    assert title is not None
    told = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (told["wrong"], told["ran"], told["inside"]) == ([], False, 0)
    assert (told["first"], told["all"]) == (20, 24)
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], "x" * 2000 + " …", "an empty answer"} <= set(told["texts"])
    assert told["examples"] == ["an empty answer", HOSTILE[1], HOSTILE[0]]
    assert (told["directions"], told["rtl"], told["cut"]) == (["auto"], "rtl", "98,000 more characters")
    assert "on position" in told["marks"][0]
    assert "toxicity 0.125" in told["marks"][0]
    assert told["marks"][1] == "25.0% on-position answers, over 4 completions"
    assert "values-targeted vs base: +50.0 points" in told["moved"]
    assert "values-targeted vs control: +50.0 points" in told["moved"]
    assert (told["even"], told["most"], told["least"], told["against"]) == ([0], "p-003", "p-007", ["p-011"])
    assert told["count"].startswith("1 of 24 prompts at large. The whole suite, values-targeted vs base: +")
    assert told["small"].startswith("1 of 24 prompts at small.")
    assert told["focus"]
    assert told["wide"]
    assert told["type"] >= 11
    hosts = set(re.findall(r'"url":"https?://([^"/]*)', (tmp_path / "net.json").read_text()))
    assert "evil.example.com" not in hosts
