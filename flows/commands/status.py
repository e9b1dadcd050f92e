"""`palms status`: every stage of a sweep: its state, how long it took, at which try, and why it ran or failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from flows.commands.words import Sweep, again, out, plain, show
from flows.engine.board import FINAL, Entry, read_board
from flows.engine.home import Home
from flows.engine.notes import sweep_note
from flows.engine.ownership import Owner
from flows.prepared import find_sweep

REFRESH_S = 0.5
COLOURS = {"done": "green", "cached": "green", "running": "cyan", "failed": "red", "blocked": "yellow", "waiting": "dim"}


def status(
    sweep: Sweep = None, watch: Annotated[bool, typer.Option("--watch", help="keep showing it until the sweep has ended")] = False
) -> None:
    """Every stage of a sweep: its state, how long it took, at which try, and why it ran or failed.

    Examples:  palms status   |   palms status gpt2-3f --watch
    """
    if watch:
        watch_status(Home.named(), sweep, out)
    else:
        print_status(read_status(Home.named(), sweep), out)


@dataclass(frozen=True)
class Status:
    sweep: str
    log: Path
    entries: list[Entry]
    owner: Owner

    @property
    def ended(self) -> bool:
        return all(entry.state in FINAL for entry in self.entries)

    @property
    def headline(self) -> str:
        final = sum(entry.state in FINAL for entry in self.entries)
        return f"sweep {self.sweep}   {final} of {len(self.entries)} stages   log: {self.log}"

    @property
    def advice(self) -> str:
        """What is to be done about it; empty where nothing is."""
        if any(entry.state in {"failed", "blocked"} for entry in self.entries) and self.ended:
            return f"run again what is missing: {again(self.sweep, self.entries)}"
        if not self.ended and self.owner.alive is False:
            return f"its process (pid {self.owner.pid}) is gone; what was finished is kept: palms rerun {self.sweep}"
        return ""


def read_status(home: Home, sweep: str | None) -> Status:
    """Raises BadInput: no such sweep, or its notes are damaged."""
    name = find_sweep(home, sweep)
    folder = home.sweeps / name
    owner = sweep_note(folder).owner
    return Status(name, folder / "log.txt", read_board(folder / "state.json"), owner)


def print_status(status: Status, out: Console) -> None:
    out.print(status.headline, highlight=False)
    show(out, status_table(status.entries))
    if status.advice:
        out.print(status.advice, highlight=False)


def watch_status(home: Home, sweep: str | None, out: Console) -> None:
    """Show the stages until the sweep has ended or its process is gone: a table on a terminal, a line a change elsewhere."""
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
                live.update(status_table(status.entries))
                time.sleep(REFRESH_S)
                status = read_status(home, name)
        print_status(status, out)
        return
    if status.advice:
        out.print(status.advice, highlight=False)


def _over(status: Status) -> bool:
    return status.ended or status.owner.alive is False


def status_table(entries: Sequence[Entry]) -> Table:
    table = plain("state", "stage", "seconds", "tries", "key", "why")
    for entry in entries:
        elapsed = time.time() - entry.started if entry.state == "running" and entry.started else entry.seconds
        seconds = "" if elapsed is None else f"{elapsed:.1f}"
        state = f"[{COLOURS[entry.state]}]{entry.state}[/]"
        why = f"{entry.done} of {entry.total} {entry.unit}" if entry.state == "running" and entry.total else entry.why
        table.add_row(state, entry.label, seconds, str(entry.attempt or ""), (entry.key or "")[:10], escape(why))
    return table
