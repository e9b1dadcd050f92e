"""Runs that died: their process is gone, and they never noted that they had ended.

Found from what a run noted when it started, without asking any server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flows.engine.home import Home
from flows.engine.notes import Unreadable, sweep_note, write_sweep_note
from flows.engine.ownership import Owner


@dataclass(frozen=True)
class Dead:
    folder: Path  # the sweep's
    owner: Owner
    flow_run: str | None  # the orchestrator's id; None: it died before it had one, or before it could note it
    tracking: str  # URI of the tracker

    @property
    def sweep(self) -> str:
        return self.folder.name

    def settle(self) -> None:
        """Note that it has ended, unless another process has taken the sweep up since."""
        left = sweep_note(self.folder)
        if left.owner == self.owner:
            write_sweep_note(self.folder, replace(left, ended=True))


def dead_runs(home: Home) -> list[Dead]:
    found = []
    for path in sorted(home.sweeps.glob("*/sweep.json")):
        try:
            left = sweep_note(path.parent)
        except Unreadable:  # cut short when a machine went away; `palms doctor` tells of it
            continue
        if not left.ended and left.owner.alive is False:
            found.append(Dead(path.parent, left.owner, left.flow_run, home.tracking_uri(left.tracking)))
    return found
