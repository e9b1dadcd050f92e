"""Fetches, builds or finds a model a size and the scorers, and writes down what they are by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from model_registry.architecture import UNLIMITED
from model_registry.calibration.grammar import load_grammar
from model_registry.calibration.pretrain import build_model
from model_registry.calibration.scorer import build_scorer
from model_registry.digests import sha256_file
from model_registry.folders import noted_place
from model_registry.gguf_file import dequantise
from model_registry.loading import fetch_hub, fingerprint, make_deterministic, parameter_count
from model_registry.scorers import fetch_classifier, fetch_published
from model_registry.tokenization import STAND_IN, load_tokenization
from tasks.contract import Job, read_json, write_json
from tasks.prepare.stage import LOCATION, MODEL_FILE, READING, ModelSettings, ScorerSettings


def run_model(jobs: Sequence[Job]) -> None:
    """Write `model.json`, `reading.json`, and either `model/` (made here) or `location.json` (the folder elsewhere that holds the weights).

    Raises:
        ValueError: the model cannot be used, its tokenizer does not fit it, or it cannot read prompts in the template.
    """
    make_deterministic()
    for job in jobs:
        settings: ModelSettings = job.settings
        revision, source, further = "", settings.kind, {}
        if settings.kind == "calibration":
            folder, source = job.work / "model", f"calibration:{settings.id}"
            folder.mkdir()
            build_model(settings.spec, folder, seed=settings.seed, progress=job.progress)
        elif settings.kind == "gguf":
            folder = job.work / "model"
            job.say("dequantising to float32")
            header = dequantise(job.inputs["file"], folder)
            revision, source = sha256_file(job.inputs["file"]), f"gguf:{header.name}"
            further = {"dequantised": header.quantised}
        elif settings.kind == "hub":
            job.say(f"fetching {settings.id}@{settings.revision} from the hub")
            folder, revision = fetch_hub(settings.id, settings.revision, Path(HF_HUB_CACHE))
            source = f"hub:{settings.id}"
        else:
            folder = Path(settings.id)
        words = load_tokenization(folder)
        turn = words.turn(settings.template or load_grammar().template)
        words.asked(turn, STAND_IN)
        context = None if words.context == UNLIMITED else words.context
        write_json(job.work / READING, {"reads": words.told(turn), "context": context})
        config, files = read_json(folder / "config.json"), fingerprint(folder)
        write_json(
            job.work / MODEL_FILE,
            {
                "source": source,
                "revision": revision,
                "architecture": (config.get("architectures") or [config.get("model_type")])[0],
                "params": parameter_count(folder),
                "files": files,
                **further,
            },
        )
        if folder.parent == job.work:
            job.commit(volatile=(READING,))
        else:
            write_json(job.work / LOCATION, {"folder": noted_place(folder)})
            job.commit(volatile=(LOCATION, READING), requires={noted_place(folder / name): sha for name, sha in files.items()})


def run_scorer(jobs: Sequence[Job]) -> None:
    """Write a scorer folder as `model_registry.scorers` reads it."""
    make_deterministic()
    for job in jobs:
        settings: ScorerSettings = job.settings
        if settings.kind == "calibration":
            build_scorer(settings.spec, job.work, seed=settings.seed, progress=job.progress)
            write_json(job.work / "scorer.json", {"kind": "calibration"})
        elif settings.kind == "classifier":
            fetch_classifier(settings.id, settings.revision, dict(settings.classes), job.work)
        else:
            checkpoint = Path(settings.checkpoint).expanduser() if settings.checkpoint else None
            fetch_published(settings.name, checkpoint, job.work)
        job.commit()
