"""Whether the tracker shows a sweep already, told without opening it: to import MLflow and to ask it takes 1.5 s of a cached sweep's seven.

A projection of the same results changes nothing. So where the home's own database and the registered models are, by size and time, as the
last projection left them, and that one was of these very results, another has nothing to do. Whatever else wrote there, MLflow's own pages
included, another sweep is projected anew. Knows nothing of what a projection does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic.dataclasses import dataclass

from flows.engine.home import Home
from flows.engine.notes import Unreadable, read_note
from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import Tracked
from model_registry import registered
from tasks.contract import canonical, digest_of, replace_file

NOTE = "projected.json"  # beside the database
PROJECTOR = Path(__file__).parent  # other code may show other things of the same results


@dataclass(frozen=True)
class Projected:
    """Where the last projected sweep is shown: the tracker's experiment, and its run of each place. `of`: what was projected, and what the
    tracker and the registered models were then."""

    of: str
    experiment: str
    runs: Mapping[str, str]


def shown(home: Home, tracked: Tracked) -> Projected | None:
    """Where the tracker shows all of these results; None where it may not."""
    try:
        left = read_note(home.mlflow / NOTE, Projected, "")
    except Unreadable:
        return None
    return left if left.of == _state(home, tracked) else None


def keep(home: Home, tracked: Tracked, experiment: str, runs: Mapping[str, str]) -> None:
    """Note that all of these results have been projected just now; of results that are not complete nothing is noted."""
    if state := _state(home, tracked):
        replace_file(home.mlflow / NOTE, canonical(asdict(Projected(state, experiment, runs))))


def _state(home: Home, tracked: Tracked) -> str:
    """A digest of the results, of the projector's code and of where it writes to; empty where something is missing of the results, or where
    they are projected to another place than the home's own database."""
    outcomes = {node.label: tracked.outcome(node) for node in tracked.nodes}
    if (
        tracked.uri != home.tracking_uri()
        or not home.own_tracker
        or not all(isinstance(outcome, Manifest) for outcome in outcomes.values())
    ):
        return ""
    files = [home.database, *sorted((home.root / registered.FOLDER).glob("*.json")), *sorted(PROJECTOR.glob("*.py"))]
    return digest_of(
        {
            "sweep": [tracked.sweep, tracked.name, tracked.calibration, dict(tracked.config), dict(tracked.params)],
            "results": {label: dict(made.document) for label, made in outcomes.items() if isinstance(made, Manifest)},
            "files": [[path.name, *_stamp(path)] for path in files],
            "at": tracked.uri,
        }
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time; zeros for a file that is not there."""
    found = path.stat() if path.is_file() else None
    return (found.st_size, found.st_mtime_ns) if found else (0, 0)
