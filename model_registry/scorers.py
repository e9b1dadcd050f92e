"""The scorers of texts: which are known, how one is prepared into a folder, and how a prepared one is loaded.

Kinds of folder, by the `kind` of its scorer.json: `calibration` (built by `model_registry.calibration.scorer`), `detoxify` (a
published model of Detoxify's) and `classifier` (any sequence-classification model).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, RootModel

from configs.fields import Name, Section, Text
from configs.read import read_section
from model_registry.scoring.classifier import fetch_classifier, load_classifier
from model_registry.scoring.folder import DESCRIPTION, ScorerFolderError, read_description
from model_registry.scoring.published import ARCHITECTURE, fetch_published, load_published, verify
from model_registry.scoring.window import set_window

__all__ = ["KnownScorer", "ScorerFolderError", "fetch_classifier", "fetch_published", "known", "load_scorer", "verify"]

CATALOGUE = Path(__file__).with_name("scorers.yaml")


class _Listed(Section):
    """A sequence classifier on the hub, with which of its labels is scored under which name."""

    id: Text
    revision: Text
    classes: dict[Text, Name] = Field(min_length=1)
    licence: Text
    note: Text


class KnownScorer(_Listed):
    name: str


class _File(RootModel[dict[Text, _Listed]]):
    """Name → scorer."""


@cache
def known(path: Path = CATALOGUE) -> dict[str, KnownScorer]:
    """The classifiers of a catalogue, by name. Raises BadInput, as `read_section` does."""
    return {name: KnownScorer(name=name, **dict(listed)) for name, listed in read_section(path, _File).root.items()}


def load_scorer(folder: Path, device: str = "cpu") -> Any:
    """The scorer of a prepared folder: a `detoxify.Detoxify`, or a `Classifier` with the same `tokenizer`, `model`, `class_names`
    and `predict` (of a list of texts: {class: scores in [0, 1]}; Detoxify gives bare numbers for a list of one).

    Its tokenizer cuts texts to what the model can read (`set_window`).

    Raises:
        ScorerFolderError: the folder is incomplete, of an unknown kind, or a file of it is not the recorded one.
    """
    description = read_description(folder)
    kind = description.get("kind")
    scorer: Any
    if kind == "calibration":
        from model_registry.calibration.scorer import load_detoxify

        scorer = load_detoxify(folder, device)
    elif kind == "detoxify":
        checkpoint = folder / description["checkpoint"]
        verify(checkpoint, description["sha256"])
        scorer = load_published(checkpoint, folder / ARCHITECTURE, device)
    elif kind == "classifier":
        scorer = load_classifier(folder, device)
    else:
        raise ScorerFolderError(f"{folder / DESCRIPTION}: unknown kind {kind!r}; calibration, detoxify or classifier is required")
    set_window(scorer.model, scorer.tokenizer)
    scorer.tokenizer.split_special_tokens = True  # `</s>` in a text that is scored is text
    return scorer
