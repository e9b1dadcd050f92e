"""The models that score and judge, as an experiment names them: what a name stands for, and what is wrong with it.

Loads and fetches nothing: `tasks.prepare.body` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from configs.problems import accepted
from configs.sources import Classifier, DetoxifyScorer, LanguageModel, ModelSource
from model_registry import scorers
from model_registry.catalog import Model, Source

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolved(classifier: Classifier) -> Classifier:
    """A classifier that is named as the catalogue names it, with the catalogue's hub id, revision and classes; others as they are."""
    known = scorers.known().get(classifier.model)
    if known is None:
        return classifier
    classes = classifier.classes or dict(known.classes)
    return classifier.model_copy(update={"model": known.id, "revision": known.revision, "classes": classes})


def language_model(named: LanguageModel) -> Model:
    """A language model that judges. It stands at no size of a ladder."""
    folder = Path(named.model).is_dir()
    source = Source("folder", named.model) if folder else Source("hub", named.model, named.revision)
    return Model("judge", "judge", source)


def problems(source: ModelSource, needed: str, where: str) -> Iterator[str]:
    """Files that are not there, names that are neither folder nor hub id nor known, and classifiers without the class that is scored."""
    if isinstance(source, DetoxifyScorer) and source.checkpoint and not Path(source.checkpoint).expanduser().is_file():
        yield f"{where}.checkpoint: {source.checkpoint}: no such file; a Detoxify checkpoint is required"
    if isinstance(source, LanguageModel) and not _there(source.model):
        yield f"{where}.model: {source.model}: no such folder and no hub id; a folder, or owner/name, is required"
    if isinstance(source, LanguageModel) and Path(source.model).is_dir() and not _chats(Path(source.model)):
        yield f"{where}.model: {source.model}: its tokenizer has no chat template; an instruction-tuned model is required"
    if isinstance(source, Classifier):
        classifier = resolved(source)
        if not _there(classifier.model):
            listed = accepted(source.model, list(scorers.known()))
            yield f"{where}.model: {source.model}: no such folder, no hub id (owner/name) and not in the catalogue; {listed}"
        elif needed not in classifier.classes.values():
            yield f"{where}.classes: no label stands for {needed}; one is required, such as {{LABEL_1: {needed}}}"


def _chats(folder: Path) -> bool:
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        config.is_file() and "chat_template" in config.read_text(encoding="utf-8")
    )


def _there(model: str) -> bool:
    return Path(model).is_dir() or HUB_ID.fullmatch(model) is not None
