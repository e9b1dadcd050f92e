"""The stages that come first: a model a size and the scorer, each fetched, built or found, and identified by content; and what settles in which
precision and shape a model is run, where that is left open.

What follows keys on the digests written here (`model.json` names every file's sha256), never on a path or a revision's name: a
model folder that was only moved or touched changes nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.sources import CalibrationScorer, Classifier, DetoxifyScorer, ModelSource
from model_registry.calibration.grammar import load_grammar
from model_registry.catalog import Source, load_ladder
from model_registry.digests import sampled_digest
from tasks.contract import File, Numerics, Stage
from tasks.prepare.sources import resolved

MODEL_FILE, LOCATION, READING = "model.json", "location.json", "reading.json"
SETTLED = "settled.json"
# How calibration models and scorers are trained, whatever is asked for the rest: threads only slow them.
BUILT_HERE = Numerics()
PRETRAIN_BYTES = 16  # a parameter
DEQUANTISE_BYTES = 8  # a parameter, in float32 as it is read and once more as it is written; measured at 135M: 0.9 GiB
Listing = tuple[tuple[str, int, int, str], ...]
CHECK_BYTES = 5  # a parameter, of a model in fp32; measured at 135M: 1.3 GiB with the process
# Parameters from which bf16 is looked at. Of 1.5 million it decodes 1.2 times as fast as fp32, of 7.6 million 1.5 times (benchmarks/precision.py, two
# AVX512-BF16 cores), and a model that small is soon done.
FEWEST_FOR_BF16 = 5_000_000
SCORER_PARAMS = 125_000_000  # Detoxify's largest English ones are BERT and RoBERTa base


@dataclass(frozen=True)
class ModelSettings:
    """`listing` holds name, size, time and sampled content of a local folder's files: a changed folder is looked at again. A GGUF file is
    the stage's input `file`, identified by its content alone. `template` is what the model is to read prompts in; a calibration model,
    which is trained here, reads its own."""

    kind: str  # hub | folder | calibration | gguf
    id: str = ""
    revision: str = ""
    listing: Listing = ()
    spec: Mapping[str, Any] = field(default_factory=dict)  # of a calibration model
    grammar: str = ""  # digest of the grammar that a calibration model is pretrained on
    seed: int = 0
    template: str = ""


@dataclass(frozen=True)
class SettlingSettings:
    """What is open of a model's numerics, and what that hangs on."""

    template: str  # in which the model reads prompts
    precision: str  # AUTO where it is open
    decode_batch: int | str | None  # AUTO where it is open; None of a model that nothing is sampled by
    new: int  # tokens of the longest completion that is asked for
    memory_gib: int  # that a stage may take, of a CPU's; a GPU's is asked of itself


@dataclass(frozen=True)
class ScorerSettings:
    """`listing` is of a local checkpoint or folder, as in `ModelSettings`."""

    kind: str  # calibration | detoxify | classifier
    name: str = ""
    checkpoint: str = ""
    id: str = ""  # of a classifier: hub id, or path of a folder
    revision: str = ""  # of a hub model; empty for a folder
    classes: tuple[tuple[str, str], ...] = ()  # (label of the classifier, the class that it is scored under)
    listing: Listing = ()
    spec: Mapping[str, Any] = field(default_factory=dict)  # of the calibration scorer
    grammar: str = ""
    seed: int = 0


MODEL = Stage(name="prepare", version="3", body="tasks.prepare.body:run_model", libraries=("torch", "transformers"))
SETTLING = Stage(name="numerics", version="1", body="tasks.prepare.settling:run", libraries=("torch", "transformers"))
SCORER = Stage(name="scorer", version="1", body="tasks.prepare.body:run_scorer", libraries=("torch", "transformers", "detoxify"))


def listing(path: Path) -> Listing:
    """Name, size, modification time (ns) and digest of samples of a file, or of the files of a folder."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns, sampled_digest(file)) for file in files)


def model_settings(source: Source, template: str) -> ModelSettings:
    if source.kind == "calibration":
        return ModelSettings("calibration", source.id, spec=source.spec, grammar=load_grammar().digest)
    if source.kind == "gguf":
        return ModelSettings("gguf", template=template)
    if source.kind == "folder":
        return ModelSettings("folder", source.id, listing=listing(Path(source.id)), template=template)
    return ModelSettings("hub", source.id, revision=source.revision, template=template)


def told(model: Mapping[str, Any]) -> str:
    """Where a prepared model comes from, of its `model.json`: `hub:owner/name`, `gguf:Some model, dequantised from Q4_1`."""
    if model["source"] == "folder":
        return "a local folder"
    return str(model["source"]) + (f", dequantised from {model['dequantised']}" if model.get("dequantised") else "")


def settled_told(found: Mapping[str, Any]) -> str:
    """What was found, in a line: `bf16: 195 of 200 greedy tokens as in fp32, 0.0012 nats a token from it; 64 rows at once`."""
    seen = f"{found['same']} of {found['tokens']} greedy tokens as in fp32" if "same" in found else ""
    seen += f", {found['nats']:.2g} nats a token from it" if found.get("nats") is not None else ""
    said = "; ".join(part for part in (found.get("because"), seen) if part)
    rows = f"; {found['decode_batch']} rows at once" if found["decode_batch"] is not None else ""
    return f"{found['precision']}{f': {said}' if said else ''}{rows}"


def model_inputs(source: Source) -> dict[str, File]:
    return {"file": File(Path(source.id), source.revision)} if source.kind == "gguf" else {}


def model_bytes(source: Source) -> int:
    """What preparing a model takes of memory, a parameter."""
    return {"calibration": PRETRAIN_BYTES, "gguf": DEQUANTISE_BYTES}.get(source.kind, 0)


def scorer_settings(scorer: ModelSource) -> ScorerSettings:
    if isinstance(scorer, CalibrationScorer):
        return ScorerSettings("calibration", spec=load_ladder("calibration").scorer, grammar=load_grammar().digest)
    if isinstance(scorer, Classifier):
        scorer = resolved(scorer)
        local = Path(scorer.model)
        found = listing(local) if local.is_dir() else ()
        revision = "" if found else scorer.revision
        classes = tuple(sorted(scorer.classes.items()))
        return ScorerSettings("classifier", id=scorer.model, revision=revision, classes=classes, listing=found)
    assert isinstance(scorer, DetoxifyScorer)
    if scorer.checkpoint is None:
        return ScorerSettings("detoxify", name=scorer.name)
    return ScorerSettings(
        "detoxify", name=scorer.name, checkpoint=scorer.checkpoint, listing=listing(Path(scorer.checkpoint).expanduser())
    )


def scorer_name(scorer: ModelSource) -> str:
    """A scorer as its stage is labelled."""
    if isinstance(scorer, DetoxifyScorer):
        return f"{scorer.kind}-{scorer.name}"
    if isinstance(scorer, Classifier):
        return f"{scorer.kind}-{scorer.model.rstrip('/').rpartition('/')[2]}"
    return "calibration"
