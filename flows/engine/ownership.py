"""Which process a sweep belongs to, told from the kernel alone."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process on one machine. A pid alone may have been given to another since: its start time goes with it."""

    host: str
    pid: int
    started: float  # clock ticks since the machine's boot

    @classmethod
    def me(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), process_start(os.getpid()) or 0.0)

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
