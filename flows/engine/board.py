"""The state of every node of a sweep, as it changes: what the screen shows while it runs and what `palms status` reads afterwards.

Holds no results and decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from flows.engine.notes import Unreadable, read_note
from tasks.contract import canonical, replace_file

State = Literal["waiting", "running", "cached", "done", "failed", "blocked"]
FINAL: frozenset[State] = frozenset({"cached", "done", "failed", "blocked"})
OFTEN_S = 0.5
SHARE = 0.1  # of the time, that writing may take
MADE: frozenset[State] = frozenset({"cached", "done"})  # its output is there


@dataclass(frozen=True)
class Entry:
    label: str
    state: State = "waiting"
    key: str | None = None
    why: str = ""  # why it ran, or why it failed
    done: int = 0
    total: int = 0
    unit: str = ""
    attempt: int = 0
    started: float | None = None
    seconds: float | None = None  # of what is cached: those that it took when it was made

    @property
    def how_far(self) -> str:
        """`3 of 40 completions`; empty where the stage has not told."""
        return f"{self.done} of {self.total} {self.unit}" if self.total else ""


BOARD: Any = Annotated[list[Entry], Field(min_length=1)]  # no sweep is without stages


class Board:
    """Thread-safe. Written to `path` at most twice a second, and soon after a change of state to a final one: at once, where writing has taken
    less than a tenth of the time of late. All of it is written each time: of thousands of stages at each change it took most of a sweep.

    A change that cannot be written is kept in memory all the same: `trouble` says why, and who watches over the run ends it. Of what is
    cached, the seconds and tries that an earlier run of the sweep took are kept.
    """

    def __init__(self, path: Path, labels: Iterable[str]) -> None:
        self.trouble: OSError | None = None
        self._path, self._lock, self._written, self._pause = path, threading.RLock(), 0.0, 0.0
        self._later: threading.Timer | None = None
        self._entries = {label: Entry(label) for label in labels}
        self._texts = {
            label: _text(entry) for label, entry in self._entries.items()
        }  # all of 153 anew at each change took a second
        self._made = {entry.key: entry for entry in _left(path) if entry.key and entry.state in MADE}

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def entry(self, label: str) -> Entry:
        with self._lock:
            return self._entries[label]

    def update(self, label: str, **changes: object) -> None:
        with self._lock:
            old = self._entries.get(label, Entry(label))
            new = replace(old, **changes)  # type: ignore[arg-type]
            if new.state == "running" and old.state != "running":
                new = replace(new, started=time.time(), attempt=old.attempt + 1)
            if new.state in FINAL and old.state not in FINAL and new.started is not None:
                new = replace(new, seconds=round(time.time() - new.started, 3))
            if new.state == "cached" and (made := self._made.get(new.key or "")):
                new = replace(new, seconds=new.seconds if made.seconds is None else made.seconds, attempt=made.attempt)
            self._entries[label], self._texts[label] = new, _text(new)
            since = time.monotonic() - self._written
            if since > max(self._pause, 0.0 if new.state in FINAL else OFTEN_S):
                self._write()
            elif new.state in FINAL and self._later is None:
                self._later = threading.Timer(self._pause - since, self.write)
                self._later.daemon = True
                self._later.start()

    def write(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        began = time.monotonic()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        try:
            replace_file(self._path, f"[{','.join(self._texts.values())}]")
            self.trouble = None
        except OSError as error:
            self.trouble = error
        self._written = time.monotonic()
        self._pause = (self._written - began) / SHARE


def _text(entry: Entry) -> str:
    return canonical(vars(entry))


def read_board(path: Path) -> list[Entry]:
    """Raises Unreadable."""
    return read_note(path, BOARD, f"`palms rerun {path.parent.name}` writes it anew (move a folder of that name away)")


def _left(path: Path) -> list[Entry]:
    """What an earlier run left; nothing where it left nothing, or what cannot be read."""
    try:
        return read_board(path)
    except Unreadable:
        return []
