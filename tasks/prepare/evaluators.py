"""The models that score and judge, as an experiment names them: what a name stands for, and what is wrong with it.

Loads and fetches nothing: `tasks.prepare.stage` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.evaluations import Classifier, DetoxifyScorer, EndpointJudge, Evaluations, LocalJudge
from configs.problems import accepted
from model_registry import scorers

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolved(classifier: Classifier) -> Classifier:
    """A classifier that is named as the catalogue names it, with the catalogue's hub id, revision and classes; others as they are."""
    known = scorers.known().get(classifier.model)
    if known is None:
        return classifier
    classes = classifier.classes or dict(known.classes)
    return classifier.model_copy(update={"model": known.id, "revision": known.revision, "classes": classes})


def problems(evaluations: Evaluations) -> Iterator[str]:
    """Files that are not there, names that are neither folder nor hub id nor known, and classifiers without the class that is scored."""
    toxicity, counterfactual, judge = evaluations.toxicity, evaluations.counterfactual, evaluations.judge
    sources: dict[str, tuple[Any, str]] = {  # with the class that a classifier has to score
        "toxicity.scorer": (toxicity and toxicity.scorer, "toxicity"),
        "toxicity.second": (toxicity and toxicity.second, "toxicity"),
        "counterfactual.classifier": (counterfactual and counterfactual.classifier, "positive"),
        "judge.judge": (judge and judge.judge, ""),
    }
    if toxicity and toxicity.second == toxicity.scorer:
        yield "evaluations.toxicity.second: the same as scorer; another one, or none, is accepted"
    for name, (source, needed) in sources.items():
        where = f"evaluations.{name}"
        if isinstance(source, DetoxifyScorer) and source.checkpoint and not Path(source.checkpoint).expanduser().is_file():
            yield f"{where}.checkpoint: {source.checkpoint}: no such file; a Detoxify checkpoint is required"
        if isinstance(source, LocalJudge) and not _there(source.model):
            yield f"{where}.model: {source.model}: no such folder and no hub id; a folder, or owner/name, is required"
        if isinstance(source, LocalJudge) and Path(source.model).is_dir() and not _chats(Path(source.model)):
            yield f"{where}.model: {source.model}: its tokenizer has no chat template; an instruction-tuned model is required"
        if isinstance(source, EndpointJudge) and source.key_variable and not os.environ.get(source.key_variable):
            yield f"{where}.key_variable: the environment variable {source.key_variable} is not set; the judge's key is read from it"
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
