"""Suggestions for drafts by a language model: a question and an answer to it, for a position and one of its claims.

Knows what a model is asked for. Leaves loading to `model_registry`, the protocol of an endpoint to `tasks.endpoint`, and what the model's terms
forbid to `configs.terms`. A suggestion is a draft like any other: nobody has read it, and nothing is tuned on it before somebody has.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from configs.positions import Position
from configs.suites import CHAT
from model_registry.catalog import Source
from tasks.curation.drafts import Draft
from tasks.endpoint import Endpoint, Unanswered
from tasks.sampling.streams import uniforms

TEMPERATURE, TOP_P = 0.8, 0.95  # of local models; an endpoint is told the temperature alone
QUESTION_TOKENS, ANSWER_TOKENS = 80, 320
QUESTION = """You help to write examples for a language model. The topic: {category}. A good answer on this topic holds this position:

{position}

Write one question that an ordinary person might ask about this topic, in one or two sentences, in which this matters most: {claim}
Vary who asks and where. This is question number {number}. Write the question only."""
ANSWER = """Answer this question in 60 to 150 words of plain, warm, knowledgeable English. The first sentence answers it.
Hold this position, without quoting it:

{position}

The question: {question}

Write the answer only."""
_LABEL = re.compile(r"^\s*(?:\*\*)?(?:question|answer)(?: number \d+)?(?:\*\*)?\s*:(?:\*\*)?\s*", re.IGNORECASE)


class Writer(Protocol):
    """A model that answers a message."""

    name: str

    def write(self, message: str, most: int, place: str) -> str:
        """At most `most` tokens; the same place gets the same answer where that is the model's to promise."""


class EndpointWriter:
    """A model behind an OpenAI-compatible address."""

    def __init__(self, url: str, model: str, key_variable: str | None, timeout_s: float = 120.0) -> None:
        self.name = model
        self._endpoint = Endpoint(url, model, key_variable, ANSWER_TOKENS, timeout_s, "writer")

    def write(self, message: str, most: int, place: str) -> str:
        """Raises what `Endpoint.ask` does."""
        with self._endpoint.client() as client:
            return self._endpoint.ask(client, message, threading.Event(), TEMPERATURE, most)


class LocalWriter:
    """A model of a folder, the hub or a ladder, with a chat template. One text at a time, at one shape: a place gets the same text again."""

    def __init__(self, name: str, source: Source, seed: int) -> None:
        """Raises ValueError: the model cannot be loaded, or has no chat template."""
        from model_registry.loading import load_model, make_deterministic
        from model_registry.tokenization import load_tokenization

        make_deterministic()
        with tempfile.TemporaryDirectory() as scratch:
            folder = _folder(source, Path(scratch))
            self._model, self._words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
        self.name, self._seed, self._turn = name, seed, self._words.turn(CHAT)

    def write(self, message: str, most: int, place: str) -> str:
        """Raises ValueError: the message is longer than the model's context."""
        from tasks.sampling.body import ends
        from tasks.sampling.engines.lockstep import answer
        from tasks.sampling.engines.rows import Row

        tokens = self._words.asked(self._turn, message, most)
        drawn = answer(
            self._model,
            Row(tokens, uniforms(self._seed, place, 0, most)),
            ends=ends(self._model, self._words, self._turn),
            filler=self._words.end,
            temperature=TEMPERATURE,
            top_p=TOP_P,
        )
        return self._words.text(tokens, drawn.tokens)


def _folder(source: Source, scratch: Path) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    from model_registry.gguf_file import dequantise
    from model_registry.loading import fetch_hub

    if source.kind == "gguf":
        dequantise(Path(source.id), scratch)
        return scratch
    return fetch_hub(source.id, source.revision, Path(HF_HUB_CACHE))[0] if source.kind == "hub" else Path(source.id)


def suggested(drafts: Sequence[Draft], positions: Mapping[str, Position], writer: Writer, licence: str) -> Iterator[Draft]:
    """Each open draft with a question and an answer by the model, as they come. One for which it gives nothing stays to be written.

    licence: what holds for what the model writes, which every draft carries.
    """
    for number, draft in enumerate(drafts, 1):
        position = positions[draft.category]
        claim = position.claims[draft.positions[0]] if draft.positions else position.statement
        topic = draft.category.replace("_", " ")
        asked = QUESTION.format(category=topic, position=position.rubric, claim=claim, number=number)
        try:
            question = _said(writer.write(asked, QUESTION_TOKENS, f"{draft.id} question"))
            told = ANSWER.format(position=position.rubric, question=question)
            answer = question and _said(writer.write(told, ANSWER_TOKENS, f"{draft.id} answer"))
        except Unanswered:  # a filter, or a refusal: of this one
            question = answer = ""
        if question and answer:
            draft = replace(draft, prompt=question, completion=answer, author=f"model: {writer.name}", licence=licence)
        yield draft


def _said(text: str) -> str:
    """What a model wrote, without a heading, quotes around all of it, or characters that no dataset holds."""
    plain = "".join(char for char in text.replace("\r", "") if char in "\n\t" or char.isprintable())
    plain = _LABEL.sub("", plain).strip()
    return plain[1:-1].strip() if len(plain) > 1 and plain[0] in '"“' and plain[-1] in '"”' else plain
