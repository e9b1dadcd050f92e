"""Runs that died: their process is gone, and they never noted that they had ended. Found without asking any server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.home import Home
from flows.owner import Owner
from tasks.contract import canonical, read_json, replace_file


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
