"""Which process a sweep belongs to, and which runs died: their process is gone, and they never noted that they had ended.

Found from what a run noted when it started, without asking any server.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.engine.home import Home
from tasks.contract import canonical, read_json, replace_file


@dataclass(frozen=True)
class Owner:
    """A process on one machine. A pid alone may have been given to another since: its start time goes with it."""

    host: str
    pid: int
    started: float  # clock ticks since the machine's boot

    @classmethod
    def me(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), process_start(os.getpid()) or 0.0)

    @classmethod
    def of(cls, noted: Mapping[str, Any] | None) -> Owner | None:
        return cls(**noted) if noted else None

    @property
    def alive(self) -> bool | None:
        """None: it runs on another machine, which cannot be seen from here."""
        return process_start(self.pid) == self.started if self.host == socket.gethostname() else None


def process_start(pid: int) -> float | None:
    """When a process began (clock ticks since boot); None if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else float(fields[19])


@dataclass(frozen=True)
class Dead:
    note: Path  # the sweep's sweep.json
    owner: Owner
    flow_run: str | None  # the orchestrator's id; None: it died before it had one, or before it could note it
    tracking: str  # URI of the tracker

    @property
    def sweep(self) -> str:
        return self.note.parent.name

    def settle(self) -> None:
        """Note that it has ended, unless another process has taken the sweep up since."""
        left = read_json(self.note)
        if Owner.of(left["owner"]) == self.owner:
            replace_file(self.note, canonical({**left, "ended": True}))


def dead_runs(home: Home) -> list[Dead]:
    found = []
    for note in sorted(home.sweeps.glob("*/sweep.json")):
        try:
            left = read_json(note)
        except ValueError:  # cut short when a machine went away; `palms doctor` tells of it
            continue
        owner = Owner.of(left.get("owner"))
        if owner is not None and not left.get("ended", True) and owner.alive is False:
            found.append(Dead(note, owner, left.get("flow_run"), left["tracking"]))
    return found
