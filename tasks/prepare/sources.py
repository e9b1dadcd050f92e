"""The models that score and judge, as an experiment names them: what a name stands for, and what is wrong with it.

Loads and fetches nothing: `tasks.prepare.body` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from configs.problems import BadInput, accepted
from configs.sources import Classifier, DetoxifyScorer, LanguageModel, ModelSource
from model_registry import catalog, scorers
from model_registry.catalog import Model, Source
from model_registry.gguf_file import SUFFIX, read_header

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolved(classifier: Classifier) -> Classifier:
    """A classifier that is named as the catalogue names it, with the catalogue's hub id, revision and classes; others as they are."""
    known = scorers.known().get(classifier.model)
    if known is None:
        return classifier
    classes = classifier.classes or dict(known.classes)
    return classifier.model_copy(update={"model": known.id, "revision": known.revision, "classes": classes})


def language_model(named: LanguageModel) -> Model:
    """A language model that judges: a size of a ladder, what lies here, or a hub id.

    Raises:
        BadInput: what lies here cannot be used, or is not there.
    """
    ladder, _, size = named.model.partition("/")
    known = catalog.load_ladder(ladder).rungs if ladder in catalog.names() else {}
    if size in known:
        return Model("judge", "judge", catalog.found(known[size].source), known[size].params)
    path = Path(named.model)
    if path.exists() or path.is_absolute() or path.suffix == SUFFIX:
        return Model("judge", "judge", catalog.local(path))
    if not HUB_ID.fullmatch(named.model):
        raise BadInput(
            f"{named.model}: no such folder and no hub id; a folder, a GGUF file, a ladder's size or owner/name is required"
        )
    return Model("judge", "judge", Source("hub", named.model, named.revision))


def problems(source: ModelSource, needed: str, where: str) -> Iterator[str]:
    """Files that are not there, names that are neither folder nor hub id nor known, and classifiers without the class that is scored."""
    if isinstance(source, DetoxifyScorer) and source.checkpoint and not Path(source.checkpoint).expanduser().is_file():
        yield f"{where}.checkpoint: {source.checkpoint}: no such file; a Detoxify checkpoint is required"
    if isinstance(source, LanguageModel):
        try:
            judge = language_model(source).source
        except BadInput as error:
            yield from (f"{where}.model: {line}" for line in error.lines)
        else:
            if not _chats(judge):
                yield f"{where}.model: {source.model}: its tokenizer has no chat template; an instruction-tuned model is required"
    if isinstance(source, Classifier):
        classifier = resolved(source)
        if not _there(classifier.model):
            listed = accepted(source.model, list(scorers.known()))
            yield f"{where}.model: {source.model}: no such folder, no hub id (owner/name) and not in the catalogue; {listed}"
        elif needed not in classifier.classes.values():
            yield f"{where}.classes: no label stands for {needed}; one is required, such as {{LABEL_1: {needed}}}"


def _chats(source: Source) -> bool:
    """As far as it can be told without fetching anything."""
    if source.kind == "gguf":
        return "tokenizer.chat_template" in read_header(Path(source.id)).metadata
    if source.kind != "folder":
        return True
    folder = Path(source.id)
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        config.is_file() and "chat_template" in config.read_text(encoding="utf-8")
    )


def _there(model: str) -> bool:
    return Path(model).is_dir() or HUB_ID.fullmatch(model) is not None
