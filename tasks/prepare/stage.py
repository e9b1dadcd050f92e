"""The stages that come first: a model a size and the scorer, each fetched, built or found, and identified by content.

What follows keys on the digests written here (`model.json` names every file's sha256), never on a path or a revision's name: a
model folder that was only moved or touched changes nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.contract import Job, Stage, read_json, write_json

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


MODEL = Stage(name="prepare", version="2", body="tasks.prepare.stage:run_model", libraries=("torch", "transformers"))
SCORER = Stage(name="scorer", version="1", body="tasks.prepare.stage:run_scorer", libraries=("torch", "transformers", "detoxify"))


def listing(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and modification time (ns) of a file, or of the files of a folder."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def run_model(jobs: Sequence[Job]) -> None:
    """Write `model.json` and either `model/` (built here) or `location.json` (the folder elsewhere that holds the weights)."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from model_registry.loading import fetch_hub, fingerprint, make_deterministic, parameter_count

    make_deterministic()
    for job in jobs:
        settings: ModelSettings = job.settings
        revision = ""
        if settings.kind == "calibration":
            from model_registry.calibration.pretrain import build_model

            folder = job.work / "model"
            folder.mkdir()
            build_model(settings.spec, folder, seed=settings.seed, progress=job.progress)
        elif settings.kind == "hub":
            job.say(f"fetching {settings.id}@{settings.revision} from the hub")
            folder, revision = fetch_hub(settings.id, settings.revision, Path(HF_HUB_CACHE))
        else:
            folder = Path(settings.id)
        config = read_json(folder / "config.json")
        write_json(
            job.work / MODEL_FILE,
            {
                "source": settings.kind if settings.kind == "folder" else f"{settings.kind}:{settings.id}",
                "revision": revision,
                "architecture": (config.get("architectures") or [config.get("model_type")])[0],
                "params": parameter_count(folder),
                "files": fingerprint(folder),
            },
        )
        if settings.kind == "calibration":
            job.commit()
        else:
            write_json(job.work / LOCATION, {"folder": str(folder)})
            job.commit(volatile=(LOCATION,), requires=(str(folder / "config.json"),))


def run_scorer(jobs: Sequence[Job]) -> None:
    """Write a scorer folder as `model_registry.scorers` reads it."""
    from model_registry.loading import make_deterministic

    make_deterministic()
    for job in jobs:
        settings: ScorerSettings = job.settings
        if settings.kind == "calibration":
            from model_registry.calibration.scorer import build_scorer

            build_scorer(settings.spec, job.work, seed=settings.seed, progress=job.progress)
            write_json(job.work / "scorer.json", {"kind": "calibration"})
        elif settings.kind == "classifier":
            from model_registry.scorers import fetch_classifier

            fetch_classifier(settings.id, settings.revision, dict(settings.classes), job.work)
        else:
            from model_registry.scorers import fetch_published

            checkpoint = Path(settings.checkpoint).expanduser() if settings.checkpoint else None
            fetch_published(settings.name, checkpoint, job.work)
        job.commit()
