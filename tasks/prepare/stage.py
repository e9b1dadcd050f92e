"""The stages that come first: a model a size and the scorer, each fetched, built or found, and identified by content.

What follows keys on the digests written here (`model.json` names every file's sha256), never on a path or a revision's name: a
model folder that was only moved or touched changes nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.contract import Stage

MODEL_FILE, LOCATION = "model.json", "location.json"


@dataclass(frozen=True)
class ModelSettings:
    """`listing` holds name, size and time of a local folder's files: a changed folder is looked at again."""

    kind: str  # hub | folder | calibration
    id: str
    revision: str = ""
    listing: tuple[tuple[str, int, int], ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)  # of a calibration model
    grammar: str = ""  # digest of the grammar that a calibration model is pretrained on
    seed: int = 0


@dataclass(frozen=True)
class ScorerSettings:
    """`listing` is of a local checkpoint or folder, as in `ModelSettings`."""

    kind: str  # calibration | detoxify | classifier
    name: str = ""
    checkpoint: str = ""
    id: str = ""  # of a classifier: hub id, or path of a folder
    revision: str = ""  # of a hub model; empty for a folder
    classes: tuple[tuple[str, str], ...] = ()  # (label of the classifier, the class that it is scored under)
    listing: tuple[tuple[str, int, int], ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)  # of the calibration scorer
    grammar: str = ""
    seed: int = 0


MODEL = Stage(name="prepare", version="2", body="tasks.prepare.body:run_model", libraries=("torch", "transformers"))
SCORER = Stage(name="scorer", version="1", body="tasks.prepare.body:run_scorer", libraries=("torch", "transformers", "detoxify"))


def listing(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and modification time (ns) of a file, or of the files of a folder."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
