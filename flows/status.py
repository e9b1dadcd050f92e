"""`palms status`: every stage of a sweep as it is now, and, watched, as it changes until the sweep has ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from flows.engine.board import FINAL, Entry, read_board
from flows.engine.home import Home
from flows.engine.ownership import Owner
from flows.prepared import find_sweep
from flows.tables import show, status_table
from tasks.contract import read_json

REFRESH_S = 0.5


@dataclass(frozen=True)
class Status:
    sweep: str
    log: Path
    entries: list[Entry]
    owner: Owner | None

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
            return f"run again what is missing: palms rerun {self.sweep}"
        if not self.ended and self.owner is not None and self.owner.alive is False:
            return f"its process (pid {self.owner.pid}) is gone; what was finished is kept: palms rerun {self.sweep}"
        return ""


def read_status(home: Home, sweep: str | None) -> Status:
    """Raises BadInput: no such sweep."""
    name = find_sweep(home, sweep)
    folder = home.sweeps / name
    owner = Owner.of(read_json(folder / "sweep.json").get("owner"))
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
    return status.ended or (status.owner is not None and status.owner.alive is False)
