"""MLflow's own pages, in Chromium: the link that people are given opens on the arms side by side. Holds what `views` writes in a format of
MLflow's interface to the locked version."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from flows.engine.home import Home
from flows.engine.servers import Server, keep
from flows.engine.tracking import project_size, project_sweep
from flows.engine.views import ANSWERS, ARMS, CHARTS, route
from flows.serving.links import newest, opened
from flows.serving.servers import await_health, start
from tests import finished, sweeps
from tests.browser import CHROMIUM
from tests.finished import Finished

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
NAMES = [f"{size} {arm}" for size in ("30k", "300k") for arm in ("base", "values-targeted", "control")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With a sweep, another of the same experiment before it, and results of its own that others have superseded."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.mlflow.mkdir()
    for name, level, when in (("older", 0.0, "09"), ("demo", 0.05, "10"), ("demo", 0.0, "11")):
        tracked = Finished(home.mlflow, name, level=level, finished=f"2026-11-29T{when}:00:00Z").tracked()
        for size in finished.SIZES:
            project_size(tracked, f"l-{size}")
        project_sweep(tracked)
    return home


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    server = start(home, "mlflow")
    await_health(home, server)
    keep(home, server)
    yield server
    server.stop()


def page(home: Home, server: Server, view: str, folder: Path, awaited: str) -> str:
    """The document that a view's link leads to, after its scripts have run; its tags taken out. On a busy machine it may be dumped before
    all is drawn: it is opened up to three times, until what is awaited stands there."""
    link = opened(home, server).replace(newest(home, server), route("2", view))
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--window-size=1600,900",
    ]
    command += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", link]
    shown = ""
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert not re.findall(r"CONSOLE.*Uncaught.*", done.stderr)
        shown = unescape(re.sub(r"\s*<[^>]*>\s*", "|", re.sub(r"<(style|script)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)))
        if awaited in shown:
            break
    return shown


def test_the_newest_comparison_opens_on_a_table_of_arms_by_size(home: Home, server: Server, tmp_path: Path) -> None:
    assert newest(home, server) == route("2", ARMS)
    shown = page(home, server, ARMS, tmp_path, f"|{NAMES[-1]}|")
    assert finished.FINDING in shown
    assert "params.sweep = 'demo-1' AND tags.superseded IS NULL" in shown or "6|matching runs" in shown
    places = [shown.find(f"|{name}|") for name in NAMES]
    assert -1 not in places
    assert places == sorted(places)
    for heading in ("size", "arm", "1_outcome/on_position", "1_outcome/vs_base", "1_outcome/vs_control", "2_toxicity/toxicity"):
        assert f"|{heading}|" in shown
    assert shown.count("|values_targeted|") == 2
    assert shown.count("|0.9|") == 2  # and not 0.95, which was superseded
    assert "0.95" not in shown
    assert "Error loading shared view state" not in shown
    assert "Ask a question" not in shown  # the assistant


def test_its_charts_are_in_sections_of_their_own(home: Home, server: Server, tmp_path: Path) -> None:
    shown = page(home, server, CHARTS, tmp_path, "|1_outcome/vs_control|")
    sections = ["On-position answers", "Toxicity", "Capability", "Cost", "Training"]
    places = [shown.find(f"|{name}|") for name in sections]
    assert -1 not in places
    assert places == sorted(places)
    assert not re.search(r"\|[1-5]_\w+\|", shown)  # the page's own sections
    assert "|1_outcome/vs_control|" in shown


def test_its_answers_stand_side_by_side(home: Home, server: Server, tmp_path: Path) -> None:
    shown = page(home, server, ANSWERS, tmp_path, f"|{finished.PROMPTS[-1]}|")
    assert all(f"|300k {arm}|" in shown for arm in ("base", "values-targeted", "control"))
    assert all(f"|{arm} says 0|" in shown for arm in finished.ARMS)
    assert all(f"|{prompt}|" in shown for prompt in finished.PROMPTS)


def test_a_command_prints_the_link_and_says_when_nothing_is_up(home: Home, server: Server, tmp_path: Path) -> None:
    assert sweeps.palms(home.root, "ui").stdout.strip() == opened(home, server)
    began = time.monotonic()
    refused = sweeps.palms(tmp_path, "ui", status=2)
    assert "`palms up --detach` starts it" in refused.stderr
    assert time.monotonic() - began < sweeps.SOON_S
    assert not list(tmp_path.iterdir())
