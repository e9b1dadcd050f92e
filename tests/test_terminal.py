"""What commands print: summaries before rows, nothing filled up with blanks, filters that name what they accept, estimates with their source."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from configs.problems import BadInput
from flows import cli
from flows.commands.estimate import costs, in_cache, together
from flows.commands.metrics import chosen_rows, default_rows, table
from flows.commands.plan import FIRST, MANY, _shown
from flows.commands.status import Status, print_status, summary
from flows.commands.words import causes, counted, show
from flows.engine.board import Board, Entry
from flows.engine.ownership import Owner
from flows.engine.screen import time_left
from flows.prepared import Planned
from tasks.datasets.changes import changed_rows
from tests import toy

GONE = 2**22 + 1  # above the kernel's largest pid


def printed(what: Any, width: int = 80) -> list[str]:
    stream = io.StringIO()
    show(Console(file=stream, width=width, soft_wrap=True), what)
    return stream.getvalue().splitlines()


class Shown:
    """A board with so many stages in each state."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def entries(self) -> list[Entry]:
        return [Entry(f"{state}{i}", state) for state, count in self.counts.items() for i in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"done": 1, "waiting": 9}, ""),  # the first stages are the long ones
        ({"cached": 50, "done": 1, "waiting": 9}, ""),  # what was there tells nothing of speed
        ({"cached": 50, "done": 4, "failed": 1, "running": 1, "waiting": 4}, ", about 60 s left"),
        ({"done": 5, "waiting": 15}, ", about 3 min left"),
        ({"done": 5, "cached": 5}, ""),
    ],
)
def test_the_time_left_is_told_from_what_was_made(counts: dict[str, int], told: str) -> None:
    assert time_left(Shown(**counts), 60.0) == told


# ---- status -----------------------------------------------------------------------------------------------------------------


ENTRIES = [
    *(Entry(f"toy/d{i}", "done", attempt=1, started=100.0 + i, seconds=10.0) for i in range(4)),
    Entry("toy/c", "cached", key="abc", seconds=7.0, attempt=2),
    *(Entry(f"toy/f{i}", "failed", why="ValueError: " + "x" * 300, attempt=3, started=110.0, seconds=1.0) for i in range(2)),
    Entry("toy/b", "blocked", why="waits for toy/f0"),
]


def status(entries: list[Entry], owner: Owner | None = None) -> Status:
    return Status("toy-1", Path("log.txt"), entries, owner or Owner.me(), began=95.0)


def test_a_status_begins_with_counts_time_and_causes() -> None:
    assert list(summary(status(ENTRIES), now=1000.0)) == [
        "sweep    [bold]toy-1[/bold]   8 stages: 4 done, 1 cached, 2 failed, 1 blocked",
        "took     18 s",
        f"cause    toy/f0: ValueError: {'x' * 300}  (and 1 more of toy)",
        "log      log.txt",
    ]


def test_a_running_sweep_says_what_runs_and_what_is_left_once_its_pace_is_known() -> None:
    running = Entry("toy/r", "running", done=3, total=9, unit="beats", started=110.0)
    lines = list(summary(status([*ENTRIES[:5], running, Entry("toy/w"), Entry("toy/v"), Entry("toy/u")]), now=115.0))
    assert lines[0].endswith("9 stages: 4 done, 1 cached, 1 running, 3 waiting")
    assert lines[1:3] == ["for      20 s, about 20 s left at this pace", "now      toy/r: 3 of 9 beats"]
    early = list(summary(status([ENTRIES[0], *(Entry(f"toy/w{i}") for i in range(9))]), now=115.0))
    assert early[1] == "for      20 s"
    dead = status([ENTRIES[0], Entry("toy/w")], Owner(Owner.me().host, GONE, 1.0))
    assert list(summary(dead, now=115.0))[1] == "for      15 s"
    assert dead.advice == f"its process (pid {GONE}) is gone; what was finished is kept: palms rerun toy-1"


def test_no_row_is_filled_up_and_a_narrow_terminal_leaves_reasons_out() -> None:
    stream = io.StringIO()
    print_status(status(ENTRIES), Console(file=stream, width=80, soft_wrap=True))
    lines = stream.getvalue().splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, (line for line in lines if not line.startswith(("failed", "cause"))))) < 80
    narrow = io.StringIO()
    print_status(status(ENTRIES), Console(file=narrow, width=80, soft_wrap=True, force_terminal=True))
    rows = re.sub("\x1b\\[[0-9;]*m", "", narrow.getvalue()).split("\n\n")[1].splitlines()
    assert rows[0].split() == ["state", "seconds", "tries", "stage"]
    assert rows[5].split() == ["cached", "7.0", "2", "toy/c"]
    assert max(map(len, rows[:-1])) < 80


def test_only_what_failed_is_shown_where_it_is_asked_for() -> None:
    stream = io.StringIO()
    print_status(status(ENTRIES), Console(file=stream, width=400), failed=True)
    rows = stream.getvalue().split("\n\n")[1].splitlines()
    assert [row.split()[1] for row in rows[1:-1]] == ["toy/f0", "toy/f1", "toy/b"]
    none = io.StringIO()
    print_status(status(ENTRIES[:5]), Console(file=none, width=400), failed=True)
    assert none.getvalue().splitlines()[-1] == "nothing failed"


def test_what_is_cached_keeps_the_seconds_and_tries_of_the_run_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = Board(path, ["toy/a", "toy/b"])
    for _ in range(2):  # the second try
        first.update("toy/a", state="running", key="k")
        first.update("toy/a", state="waiting")
    first.update("toy/a", state="running")
    first.update("toy/a", state="done")
    first.write()  # as a run does that ends
    made = first.entry("toy/a")
    for _ in range(2):  # also of a run after that, in which it was cached already
        again = Board(path, ["toy/a", "toy/b"])
        again.update("toy/a", state="cached", key="k")
        again.update("toy/b", state="cached", key="other")
        again.write()
        assert (again.entry("toy/a").seconds, again.entry("toy/a").attempt) == (made.seconds, 3)
        assert (again.entry("toy/b").seconds, again.entry("toy/b").attempt) == (None, 0)
    path.write_text("{")
    assert Board(path, ["toy/a"]).entries() == [Entry("toy/a")]


def test_failures_of_one_kind_are_one_line() -> None:
    assert counted(ENTRIES) == "8 stages: 4 done, 1 cached, 2 failed, 1 blocked"
    other = Entry("toy/f2", "failed", why="killed (signal 9)")
    assert [line.partition(":")[0] for line in causes([*ENTRIES, other])] == ["toy/f0", "toy/f2"]


# ---- metrics ----------------------------------------------------------------------------------------------------------------


def row(**changes: Any) -> dict[str, Any]:
    usual = {"sweep": "s", "ladder": "gpt2", "size": "124m", "params": 1, "arm": "base", "seed": 0, "suite": "rated"}
    numbers = {"value": 0.25, "ci_low": 0.2, "ci_high": 0.3, "n": 40, "train_samples": None}
    return {**usual, "group": "all", "metric": "refused", **numbers, **changes}


ROWS = [
    row(),
    row(group="health", n=5),
    row(size="355m", arm="control"),
    row(arm="control-base", value=-0.05, ci_low=-0.1, ci_high=0.0),
    row(metric="perplexity", suite=None, value=1234567.0, ci_low=None, ci_high=None),
]


def test_metrics_are_filtered_by_every_axis() -> None:
    assert chosen_rows(ROWS, {}) == ROWS
    assert chosen_rows(ROWS, {"metric": ["perplexity"]}) == [ROWS[4]]
    assert chosen_rows(ROWS, {"size": ["gpt2-355m"]}) == chosen_rows(ROWS, {"size": ["355m"]}) == [ROWS[2]]
    assert chosen_rows(ROWS, {"arm": ["control", "control-base"], "metric": ["refused"]}) == ROWS[2:4]
    assert chosen_rows(ROWS, {"suite": ["rated"], "group": ["health"]}) == [ROWS[1]]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"metric": ["refusd"]}, "--metric refusd: the sweep has none; did you mean 'refused'? accepted are refused, perplexity"),
        ({"size": ["1b"]}, "--size 1b: the sweep has none; accepted are 124m, gpt2-124m, 355m, gpt2-355m"),
        ({"metric": ["perplexity"], "suite": ["rated"]}, "--metric perplexity --suite rated: no row is of all of these; each alone has some"),
    ],
)  # fmt: skip
def test_a_name_that_no_row_has_is_one_line_with_what_is_accepted(wanted: dict[str, list[str]], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        chosen_rows(ROWS, wanted)
    assert caught.value.lines == (told,)


def test_a_table_of_metrics_has_units_and_says_once_what_is_the_same() -> None:
    same, made = table(ROWS, {"refused": "%", "perplexity": ""})
    lines = printed(made)
    assert same == ["sweep s", "ladder gpt2", "seed 0", "suite rated"]
    assert lines[0].split() == ["size", "arm", "group", "metric", "value", "unit", "95", "%", "interval", "n"]
    assert lines[1].split() == ["124m", "base", "all", "refused", "25.0", "%", "[20.0,", "30.0]", "40"]
    assert lines[4].split()[4:7] == ["-5.0", "points", "[-10.0,"]
    assert lines[5].split() == ["124m", "base", "all", "perplexity", "1,234,567", "40"]
    assert not any(one.startswith("seed") for one in table([row(), row(seed=1)], {})[0])


def test_a_table_has_the_outcomes_over_all_prompts_unless_others_are_asked_for() -> None:
    assert default_rows(ROWS, {"refused"}, grouped=False) == [ROWS[0], *ROWS[2:4]]
    assert default_rows(ROWS, None, grouped=False) == [ROWS[0], *ROWS[2:]]
    assert default_rows(ROWS, None, grouped=True) == ROWS


# ---- plan -------------------------------------------------------------------------------------------------------------------


def test_of_many_stages_only_what_would_run_first_is_told_one_by_one() -> None:
    rows = [Planned(f"toy/{i}", None, "run" if i < 20 else "waits", (), None) for i in range(MANY + 1)]
    assert _shown(rows, every=False) == rows[:FIRST]
    assert _shown(rows, every=True) == rows
    assert _shown(rows[1:], every=False) == rows[1:]


@pytest.mark.slow
def test_an_estimate_is_the_median_of_what_was_taken_and_says_of_how_many_nothing_is_known(tmp_path: Path) -> None:
    nodes = [toy.node("a"), toy.node("b", value=2.0), toy.node("c", stage=toy.LIGHT)]
    session = toy.session(tmp_path, nodes)
    for node in nodes[:2]:
        toy.make(session, node)
    cost = costs([toy.node("d", value=3.0), nodes[2]], session.store)
    manifests = list(session.store.manifests("toy"))
    taken = [manifest.facts["seconds"] for manifest in manifests]
    assert cost["toy"].seconds == pytest.approx(sum(taken) / 2)
    assert cost["toy"].bytes == sum(file["size"] for one in manifests for file in one.document["files"].values()) / 2
    whole = together(cost.values())
    assert (whole.nodes, whole.known, whole.outputs) == (2, 1, 2)


def test_weights_that_the_hub_s_cache_holds_are_not_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    assert not in_cache(tmp_path, "owner/name", "main")
    (folder / "snapshots" / "c0ffee").mkdir(parents=True)
    assert not in_cache(tmp_path, "owner/name", "main")
    (folder / "snapshots" / "c0ffee" / "model.safetensors").touch()
    assert in_cache(tmp_path, "owner/name", "main")
    assert in_cache(tmp_path, "owner/name", "c0ffee")
    assert not in_cache(tmp_path, "owner/name", "other")


def test_rows_that_changed_are_named_and_what_is_cut_is_said() -> None:
    before = [{"id": f"r{i}", "prompt": "p"} for i in range(8)]
    after = [*({**one, "prompt": "q"} for one in before[1:]), {"id": "new", "prompt": "p"}]
    assert list(changed_rows(before, after)) == [
        "1 row added: new",
        "1 row removed: r0",
        "7 rows changed: r1, r2, r3, r4, r5 and 2 more",
    ]
    assert list(changed_rows(before, before)) == ["no row that training reads"]
    assert list(changed_rows(before, before[::-1])) == ["only the order of its rows"]


# ---- the command ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--version"], ["-h"], ["status", "-h"], ["models", "list", "-h"]])
def test_the_short_ways_work(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["palms", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("palms 0.") if arguments == ["--version"] else "Show this message and exit" in told
