"""The report in a real Chromium, at the widths of a desk, a tablet and a phone: what is seen, how it behaves, what it asks for."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM
from tests.test_compare import build, compare

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

WIDTHS = (1400, 768, 390)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--window-size=1500,2000", "--virtual-time-budget=20000", "--enable-logging=stderr"),
)
ODD = (
    *("finetune/a: <script>window.ran = 1</script>", "finetune/b: <img src=x onerror='window.ran = 1'>"),
    *("finetune/c: \u202eright to left שלום", "finetune/d: 🙂 " + "x" * 100_000),
)
# What a page says of itself, folded and with every fold opened.
PROBE = """<script>
const failed = []; window.onerror = (message) => { failed.push(message); };
const root = document.documentElement, all = (q) => [...document.querySelectorAll(q)];
const sizes = () => all("body *").filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility()).map((e) => {
  const svg = e.closest("svg"), scale = svg && svg.viewBox.baseVal.width ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  return parseFloat(getComputedStyle(e).fontSize) * scale;
});
const first = root.scrollWidth, closed = Math.min(...sizes()), low = all(".matrix")[0]?.getBoundingClientRect().top;
for (const fold of all("details")) fold.open = true;
const head = document.querySelector("table.sorted thead button"), table = head.closest("table");
const before = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
head.click(); head.click();
const after = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
parent.postMessage(JSON.stringify({
  failed, width: innerWidth, room: root.clientWidth, first, opened: root.scrollWidth, closed, smallest: Math.min(...sizes()), low,
  drawings: all("figure svg").length, asked: performance.getEntriesByType("resource").length, ran: window.ran || 0,
  alts: all("figure svg").map((svg) => svg.querySelector("title")?.textContent || ""),
  bare: all("table").filter((t) => !t.caption || !t.caption.textContent.trim() || [...t.querySelectorAll("th")].some((h) => !h.scope)).length,
  boxes: all(".scroll").filter((b) => b.tabIndex !== 0 || !b.getAttribute("aria-label")).length,
  turned: JSON.stringify(before) !== JSON.stringify(after), sorted: head.parentElement.getAttribute("aria-sort"),
  hidden: all(".part").length, text: document.body.innerText.length,
}), "*");
</script></body>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, dict[str, Any]], str]:
    """The folder of a report with odd texts, what each width says of it, and the browser's log."""
    root = tmp_path_factory.mktemp("browser")
    out = compare(
        build(root / "in", absent=("800k/control",)), root / "out", missing=ODD, sweep_name="<b>demo</b>", subjects_checked=False
    )
    page, frame = root / "page.html", root / "frame.html"
    page.write_text((out / "report.html").read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    heard = "<script>onmessage = (e) => { document.getElementById('told').textContent += e.data + '\\n'; };</script>"
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900" frameborder="0"></iframe>' for width in WIDTHS)
    frame.write_text(f'<pre id="told"></pre>{heard}{frames}', encoding="utf-8")
    ran = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={root / 'profile'}", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    told = re.search(r'<pre id="told">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert told is not None
    pages = [json.loads(html.unescape(line)) for line in told[1].splitlines()]
    return out, {page["width"]: page for page in pages}, ran.stderr


def test_no_width_scrolls_sideways_and_no_type_is_too_small(seen: tuple[Path, dict[int, dict[str, Any]], str]) -> None:
    _, pages, _ = seen
    assert set(pages) == set(WIDTHS)
    for width, page in pages.items():
        assert (page["first"], page["opened"]) == (page["room"], page["room"])
        assert page["closed"] >= 11, width
        assert page["smallest"] >= 11, width


def test_the_matrix_is_on_the_first_screen_of_a_desk(seen: tuple[Path, dict[int, dict[str, Any]], str]) -> None:
    assert seen[1][1400]["low"] < 900


def test_nothing_fails_runs_or_is_asked_for(seen: tuple[Path, dict[int, dict[str, Any]], str]) -> None:
    out, pages, log = seen
    for page in pages.values():
        assert (page["failed"], page["ran"], page["asked"]) == ([], 0, 0)
        assert page["drawings"] == len(list((out / "figures").glob("*.svg")))
    assert "CONSOLE" not in log


def test_tables_and_drawings_speak_to_those_who_do_not_see_them(seen: tuple[Path, dict[int, dict[str, Any]], str]) -> None:
    page = seen[1][390]
    assert (page["bare"], page["boxes"]) == (0, 0)
    assert all(re.search(r"\d", alt) for alt in page["alts"])  # what a drawing shows, not only what it is of
    assert "values-targeted 66.2 at 30k" in page["alts"][0]


def test_a_head_sorts_by_keyboard_or_mouse(seen: tuple[Path, dict[int, dict[str, Any]], str]) -> None:
    page = seen[1][768]
    assert (page["sorted"], page["turned"]) == ("descending", True)
