"""Whether a model that lies here, in a folder or a GGUF file, can read what an experiment asks of it: every prompt, sample and answer
that is weighed, in its own tokens, before any stage starts.

What makes tokens of text is `model_registry.tokenization`, which loads torch and tokenizers: 4 seconds, and 20 until every text of a real
model's experiment is read. So it is done where something is to be run, and what was found readable is noted under all that it hangs on. Models
of the hub are looked at once they are fetched, in *prepare*, and their prompts and samples by the stages that use them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from configs.schema import NESTED, Experiment, Tuned
from configs.suites import SLOT, load_suite
from flows.engine.code import digest_of_modules
from flows.engine.home import Home
from flows.engine.notes import read_note
from flows.experiment import asked_of
from flows.inputs import TEXTS, Inputs, sweep_document
from model_registry import architecture
from model_registry.catalog import Model
from tasks.contract import File, Node, canonical, digest_of, minor, replace_file, settings_document
from tasks.datasets.plain_texts import load_plain_texts
from tasks.datasets.rows import load_rows
from tasks.datasets.subset import choose
from tasks.finetune import methods

LOCAL = ("folder", "gguf")
LIBRARIES = ("torch", "transformers", "tokenizers", "peft")  # of which what can be read depends on


def to_be_looked_at(experiment: Experiment, inputs: Inputs) -> bool:
    """Whether there is anything to be found out: a calibration model reads everything of its grammar, and most arms fit it."""
    kinds = {model.source.kind for model in inputs.models}
    return not kinds.isdisjoint(LOCAL) or ("calibration" in kinds and bool(_tried(experiment)))


@dataclass(frozen=True)
class Noted:
    """model → how it reads a prompt, of those that can read everything."""

    reads: Mapping[str, str]


def looked_at(home: Home, experiment: Experiment, inputs: Inputs, prepared: Mapping[str, Node]) -> dict[str, str]:
    """As `require_readable`, once: what was found readable is noted in the home, and not looked at again as long as models, texts, methods, this
    project's code and the libraries are the same. A home that is not there, or cannot be written to, gets no note.

    prepared: by the models that are to be looked at, what prepares them.
    """
    note = home.readings / f"{_hangs_on(experiment, inputs, prepared.values())}.json"
    if note.is_file():
        return dict(read_note(note, Noted, f"`rm {shlex.quote(str(note))}`: what it says is found anew").reads)
    reads = require_readable(experiment, inputs, prepared)
    if os.access(home.root, os.W_OK):
        home.readings.mkdir(parents=True, exist_ok=True)
        replace_file(note, canonical({"reads": reads}))
    return reads


def _hangs_on(experiment: Experiment, inputs: Inputs, prepared: Collection[Node]) -> str:
    files = [file.digest for node in prepared for file in node.inputs.values() if isinstance(file, File)]
    return digest_of(
        {
            "asked": sweep_document(experiment, inputs),
            "models": [settings_document(node.settings) for node in prepared],
            "files": files,
            "code": digest_of_modules(__name__, *(f"{methods.__name__}.{name}" for name in methods.files())),
            "libraries": {name: minor(name) for name in LIBRARIES},
        }
    )


def require_readable(experiment: Experiment, inputs: Inputs, models: Container[str | None]) -> dict[str, str]:
    """How each of these models that lies here reads a prompt, and where it answers.

    Raises:
        BadInput: one of them cannot read something, a line a file.
    """
    problems: list[str] = []
    reads = {
        model.name: told
        for model in inputs.models
        if model.source.kind in LOCAL and model.name in models and (told := _read_by(experiment, model, inputs, problems))
    }
    for model in inputs.models:
        if model.name in models and (model.calibration or model.name in reads):
            problems += _unfitting(experiment, model)
    if problems:
        raise BadInput(*problems)
    return reads


def _unfitting(experiment: Experiment, model: Model) -> Iterator[str]:
    """What arms ask of a model and cannot have, found by putting their methods on its shapes; of models of the hub the tuning itself says it,
    in the same words."""
    for name, method, options in _tried(experiment):
        try:
            shaped = _shaped(model)
        except (ValueError, KeyError, TypeError, ImportError) as error:
            yield f"{model.name}: config.json builds no model ({' '.join(str(error).split())[:200]}); one that transformers builds is required"
            return
        try:
            with shaped.device:
                method.build(shaped, options)
        except ValueError as error:
            yield f"arms.{name}.{error} ({model.name})"


def _tried(experiment: Experiment) -> list[tuple[str, methods.Method, dict[str, Any]]]:
    """The arms whose options need not fit every architecture."""
    tuned = [
        (name, methods.found()[arm.method], methods.options(arm))
        for name, arm in experiment.arms.items()
        if isinstance(arm, Tuned)
    ]
    return [one for one in tuned if not one[1].fits_all(one[2])]


def _shaped(model: Model) -> Any:
    if not model.calibration:
        return architecture.shaped(Path(model.source.id))
    import torch

    from model_registry.calibration.grammar import load_grammar
    from model_registry.calibration.pretrain import new_model
    from model_registry.calibration.tokenizer import build_tokenizer

    with torch.device("meta"):
        return new_model(model.source.spec, build_tokenizer(load_grammar(), model.source.spec["context"])).eval()


def _read_by(experiment: Experiment, model: Model, inputs: Inputs, problems: list[str]) -> str | None:
    from model_registry.tokenization import STAND_IN, Tokenization, Turn, load_tokenization
    from tasks.finetune.batches import encode_text

    def unread(words: Tokenization, turn: Turn) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """file, place in it, and what finds out whether the model can read what stands there"""
        for name, file in inputs.suites.items():
            suite, new = load_suite(file.path), experiment.suites[name].max_new_tokens
            around = turn if suite.form == "question" else words.turn(SLOT)
            for prompt in suite.prompts:
                yield str(file.path), f"prompt {prompt.id}", partial(words.asked, around, prompt.text, new)
        for file in inputs.datasets.values():
            rows = load_rows(file.path)  # of these, of nested subsets the largest, within which the others lie
            most = max(experiment.train_samples) if experiment.subsets == NESTED else len(rows)
            chosen = partial(choose, rows, most, None if experiment.subsets == NESTED else 0)
            yield str(file.path), "train_samples", chosen
            with suppress(ValueError):  # told by the line above
                for row in chosen():
                    for answer in (row.completion, row.off):
                        if answer:
                            yield f"{file.path}:{row.line}", f"sample {row.id}", partial(words.sample, turn, row.prompt, answer)
        for name, file in inputs.preferences.items():
            for one in inputs.rated[name]:
                for answer in (one.chosen, one.rejected):
                    yield f"{file.path}:{one.line}", f"preference {one.id}", partial(words.sample, turn, one.prompt, answer)
        for file in {file.path: file for (_, role), file in inputs.beside.items() if role == TEXTS}.values():
            for text in load_plain_texts(file.path):
                yield f"{file.path}:{text.line}", f"text {text.id}", partial(encode_text, text, words)
        for evaluation, _ in asked_of(experiment):
            for role, named in evaluation.files.items():
                if (held := inputs.files.get((evaluation.stage.name, role, model.calibration))) is not None:
                    for line, item, question, answer in named.asks(held.path):
                        yield f"{held.path}:{line}", item, partial(words.sample, turn, question, answer)

    try:
        words = load_tokenization(Path(model.source.id), methods.most_virtual_tokens(experiment.arms.values()))
        turn = words.turn(experiment.around)
        words.asked(turn, STAND_IN)
    except ValueError as error:
        problems.append(f"{model.name}: {error}")
        return None
    found: dict[str, list[str]] = {}
    for file, place, read in unread(words, turn):
        try:
            read()
        except ValueError as error:
            found.setdefault(file.partition(":")[0], []).append(f"{file}: {place}: {error} ({model.name})")
    for first, *more in found.values():
        problems.append(f"{first}" + (f"; and {len(more)} more of this file" if more else ""))
    return None if found else words.told(turn)
