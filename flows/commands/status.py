"""`palms status`: how far a sweep is and what failed of it; then every stage: its state, how long it took, at which try, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.commands.words import Sweep, again, causes, counted, duration, out, plain, show
from flows.engine.board import FINAL, Entry, read_board
from flows.engine.home import Home
from flows.engine.notes import sweep_note
from flows.engine.ownership import Owner
from flows.prepared import find_sweep

REFRESH_S = 0.5
WIDE = 120  # columns from which a terminal has room for keys and reasons
TOLD = 5  # of what runs and of what failed, before the rows
KNOWN_FROM = 0.25  # share of what is to be made after which its pace says something: the first stages are the long ones
COLOURS = {"done": "green", "cached": "green", "running": "cyan", "failed": "red", "blocked": "yellow", "waiting": "dim"}


def status(
    sweep: Sweep = None,
    watch: Annotated[bool, typer.Option("--watch", help="keep showing it until the sweep has ended")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="of the rows, only what failed and what waits for it")] = False,
) -> None:
    """How far a sweep is, what runs now and what failed; then every stage: its state, how long it took, at which try, and why it ran.

    Of what is cached, time and tries are those of the run that made it.
    Examples:  palms status   |   palms status gpt2-3f --watch   |   palms status --failed
    """
    if watch:
        watch_status(Home.named(), sweep, out)
    else:
        print_status(read_status(Home.named(), sweep), out, failed=failed)


@dataclass(frozen=True)
class Status:
    """`began`: when its last run did, in seconds since 1970; None where an old note does not say."""

    sweep: str
    log: Path
    entries: list[Entry]
    owner: Owner
    began: float | None

    @property
    def ended(self) -> bool:
        return all(entry.state in FINAL for entry in self.entries)

    @property
    def advice(self) -> str:
        """What is to be done about it; empty where nothing is."""
        if any(entry.state in {"failed", "blocked"} for entry in self.entries) and self.ended:
            return f"run again what is missing: {again(self.sweep, self.entries)}"
        if not self.ended and self.owner.alive is False:
            return f"its process (pid {self.owner.pid}) is gone; what was finished is kept: palms rerun {self.sweep}"
        return ""

    def elapsed(self, now: float) -> float | None:
        """Seconds of its last run: to now, or to the end of the last stage that it made; None where that is not known."""
        ends = [
            entry.started + entry.seconds for entry in self.entries if entry.started is not None and entry.seconds is not None
        ]
        end = now if not self.ended and self.owner.alive is not False else max(ends, default=None)
        return None if self.began is None or end is None else max(end - self.began, 0.0)

    def left(self, now: float) -> float | None:
        """Seconds to its end, at the pace of what it made so far; None where that is not known."""
        made = sum(entry.state in FINAL - {"cached"} for entry in self.entries)
        remaining = sum(entry.state not in FINAL for entry in self.entries)
        elapsed = self.elapsed(now)
        if not remaining or self.owner.alive is False or elapsed is None or made < KNOWN_FROM * (made + remaining):
            return None
        return elapsed * remaining / made


def read_status(home: Home, sweep: str | None) -> Status:
    """Raises BadInput: no such sweep, or its notes are damaged."""
    name = find_sweep(home, sweep)
    folder = home.sweeps / name
    note = sweep_note(folder)
    entries = read_board(folder / "state.json")
    return Status(name, folder / "log.txt", entries, note.owner, note.noted)


def print_status(status: Status, out: Console, *, failed: bool = False) -> None:
    for line in summary(status, time.time()):
        out.print(line, highlight=False)
    rows = [entry for entry in status.entries if not failed or entry.state in {"failed", "blocked"}]
    if rows:
        out.print()
        show(out, status_table(rows, wide=not out.is_terminal or out.width >= WIDE))
    elif failed:
        out.print("nothing failed", highlight=False)
    if status.advice:
        out.print(status.advice, highlight=False)


def summary(status: Status, now: float) -> Iterator[str]:
    """Counts, time, what runs and what failed, in Rich's markup."""
    yield f"{'sweep':9}[bold]{escape(status.sweep)}[/bold]   {counted(status.entries)}"
    if (elapsed := status.elapsed(now)) is not None:
        left = status.left(now)
        pace = f", about {duration(left)} left at this pace" if left is not None else ""
        yield f"{'took' if status.ended else 'for':9}{duration(elapsed)}{pace}"
    running = [entry for entry in status.entries if entry.state == "running"]
    for what, told in (
        ("now", [f"{entry.label}: {entry.how_far}" if entry.how_far else entry.label for entry in running]),
        ("cause", causes(status.entries)),
    ):
        yield from (f"{what:9}{escape(line)}" for line in told[:TOLD])
        if len(told) > TOLD:
            yield f"{'':9}and {len(told) - TOLD} more"
    yield f"{'log':9}{escape(str(status.log))}"


def watch_status(home: Home, sweep: str | None, out: Console) -> None:
    """Show how far it is until the sweep has ended or its process is gone: live on a terminal, a line a change elsewhere."""
    status = read_status(home, sweep)
    name = status.sweep
    if not out.is_terminal:
        before: dict[str, str] = {}
        while True:
            for entry in status.entries:
                if before.get(entry.label, "waiting") != entry.state:
                    out.print(
                        f"{entry.state:8} {entry.label}" + (f"  {entry.why}" if entry.why else ""), highlight=False, markup=False
                    )
                    before[entry.label] = entry.state
            if _over(status):
                break
            time.sleep(REFRESH_S)
            status = read_status(home, name)
    else:
        with Live(console=out, refresh_per_second=4, transient=True) as live:
            while not _over(status):
                live.update(Text.from_markup("\n".join(summary(status, time.time()))))
                time.sleep(REFRESH_S)
                status = read_status(home, name)
        print_status(status, out)
        return
    if status.advice:
        out.print(status.advice, highlight=False)


def _over(status: Status) -> bool:
    return status.ended or status.owner.alive is False


def status_table(entries: Sequence[Entry], *, wide: bool) -> Table:
    """A row a stage. Where there is no room, keys and reasons are left out, and the stage, which may be long, stands last."""
    table = plain(*(("state", "stage", "seconds", "tries", "key", "why") if wide else ("state", "seconds", "tries", "stage")))
    for entry in entries:
        elapsed = time.time() - entry.started if entry.state == "running" and entry.started else entry.seconds
        seconds, tries = "" if elapsed is None else f"{elapsed:.1f}", str(entry.attempt or "")
        state = f"[{COLOURS[entry.state]}]{entry.state}[/]"
        if wide:
            why = (entry.state == "running" and entry.how_far) or entry.why
            table.add_row(state, entry.label, seconds, tries, (entry.key or "")[:10], escape(why))
        else:
            table.add_row(state, seconds, tries, entry.label)
    return table
