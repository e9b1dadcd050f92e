"""What a person sees while a sweep runs: an overall bar with the time left, a bar a running stage, and one line a failure.

Reads the board; everything third parties have to say goes to the log instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from flows.engine.board import FINAL, Entry, read_board

REFRESH_S, PLAIN_S = 0.25, 10.0


class Watched(Protocol):
    """A board, or what another process writes of its own."""

    def entries(self) -> list[Entry]: ...


@dataclass(frozen=True)
class BoardFile:
    """The board of a sweep that another process runs, as it writes it; empty until that has begun."""

    path: Path
    since: float  # older states are those of an earlier run

    def entries(self) -> list[Entry]:
        if not self.path.exists() or self.path.stat().st_mtime < self.since:
            return []
        return read_board(self.path)


@contextmanager
def watching(board: Watched, console: Console) -> Iterator[None]:
    """Show the board's changes until the block ends: live bars on a terminal, a line now and then elsewhere."""
    stop = threading.Event()
    show = _bars if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(board, console, stop), name="palms-screen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _bars(board: Watched, console: Console, stop: threading.Event) -> None:
    columns = (
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=14, table_column=Column(min_width=14)),
        TextColumn("{task.fields[count]}", table_column=Column(min_width=18, no_wrap=True)),
        TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
        TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        overall = progress.add_task("sweep", total=None, count="")
        shown: dict[str, TaskID] = {}
        ended = False
        while not ended:
            ended = stop.wait(REFRESH_S)
            entries = board.entries()
            final = sum(entry.state in FINAL for entry in entries)
            # the first stages are the long ones: a time left that is told from them was 50 minutes for a sweep of two
            total = len(entries) if entries and final >= len(entries) / 4 else None
            progress.update(overall, total=total, completed=final, count=f"{final} of {len(entries)} stages")
            for entry in entries:
                if entry.state == "running" and entry.label not in shown:
                    shown[entry.label] = progress.add_task(f"  {entry.label}", total=None, count="")
                if entry.label in shown:
                    progress.update(shown[entry.label], completed=entry.done, total=entry.total or None, count=entry.how_far)
                    if entry.state in FINAL:
                        progress.remove_task(shown.pop(entry.label))


def _lines(board: Watched, console: Console, stop: threading.Event) -> None:
    began = time.monotonic()
    while not stop.wait(PLAIN_S):
        passed = time.monotonic() - began
        console.print(f"{passed:5.0f} s  {progress_line(board)}{time_left(board, passed)}", highlight=False)


def time_left(board: Watched, passed: float) -> str:
    """`, about 3 min left`, told from how many stages that were not cached took so many seconds; empty before a quarter of them is there."""
    counts = Counter(entry.state for entry in board.entries())
    made, left = sum(counts[state] for state in FINAL - {"cached"}), counts["running"] + counts["waiting"]
    if not left or made < (made + left) / 4 or not made:
        return ""
    seconds = passed * left / made
    return f", about {f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:.0f} min'} left"


def progress_line(board: Watched) -> str:
    entries = board.entries()
    counts = Counter(entry.state for entry in entries)
    now = [entry.label for entry in entries if entry.state == "running"]
    done = sum(counts[state] for state in FINAL)
    return f"{done} of {len(entries)} stages" + (f", running: {', '.join(now[:3])}{' …' if len(now) > 3 else ''}" if now else "")


def send_logs_to(path: Path) -> None:
    """From here on log lines, warnings and what Prefect would print go to the file, with Prefect's own API handler kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.raiseExceptions = False  # a full disk would be told by a traceback a line; who watches over the run tells it once
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for talker in ("httpx", "httpcore", "websockets", "asyncio", "alembic", "mlflow"):
        logging.getLogger(talker).setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        consoles = [h for h in logger.handlers if isinstance(h, logging.StreamHandler) and not isinstance(h, logging.FileHandler)]
        for console in consoles:
            logger.removeHandler(console)
            if not logger.propagate:
                logger.addHandler(handler)
