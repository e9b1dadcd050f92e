"""Capability in prose: windows, which tokens are scored given what, perplexity, and the file of paragraphs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import Metric
from tasks.datasets.paragraphs import load_paragraphs
from tasks.prose import perplexity, prompt_rows, score, token_nats, windows
from tests import capabilities, tiny
from tests.capabilities import log_probability, paragraph

pytestmark = pytest.mark.usefixtures("one_thread")

small = capabilities.small


def test_windows_score_every_token_once_with_half_a_window_of_context() -> None:
    assert list(windows(7, 10)) == [(0, 7, 1)]
    assert list(windows(10, 4)) == [(0, 4, 1), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    for length, window in [(2, 2), (5, 2), (64, 64), (65, 64), (200, 64), (999, 31)]:
        passes = list(windows(length, window))
        assert [token for _, end, first in passes for token in range(first, end)] == list(range(1, length))
        assert all(end - begin <= window for begin, end, _ in passes)
        assert all(first - begin >= window - window // 2 for begin, _, first in passes[1:])


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity(tmp_path: Path) -> None:
    folder = tiny.model(tmp_path)
    model, words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all logits are 0
    scored = [score(model, words, paragraph(str(n), text)) for n, text in enumerate(tiny.CORPUS)]
    assert perplexity(scored).value == pytest.approx(len(words.tokenizer), rel=1e-6)
    assert [row.value for row in prompt_rows(scored)] == pytest.approx([math.log(len(words.tokenizer))] * 3, rel=1e-6)
    assert [one.tokens for one in scored] == [len(words.tokenizer(text)["input_ids"]) - 1 for text in tiny.CORPUS]


def test_perplexity_weighs_tokens_and_the_level_weighs_paragraphs() -> None:
    from tasks.prose import Scored

    scored = [Scored("a", 1, 3.0), Scored("b", 9, 9.0)]
    assert perplexity(scored) == Metric("perplexity", pytest.approx(math.exp(1.2)), n=2)
    assert [row.value for row in prompt_rows(scored)] == [3.0, 1.0]


def test_each_token_is_scored_given_what_its_window_holds(small: tuple[Any, Any]) -> None:
    model, words = small
    ids = words.tokenizer(" ".join(tiny.CORPUS))["input_ids"][:150]
    found = token_nats(model, ids, window=64)
    for place in (1, 40, 63, 64, 95, 96, 149):
        start = next(begin for begin, end, first in windows(150, 64) if first <= place < end)
        assert found[place - 1] == pytest.approx(-log_probability(model, ids[start:place], [ids[place]]), abs=2e-5)
    whole = score(model, words, paragraph("long", " ".join(tiny.CORPUS)))
    assert whole.tokens > model.config.max_position_embeddings


def test_neither_context_nor_special_tokens_are_scored(small: tuple[Any, Any]) -> None:
    from tokenizers.processors import TemplateProcessing

    model, plain = small
    context, text = "Beauty is", "subjective."
    asked, answered = (plain.tokenizer(part)["input_ids"] for part in (context, f" {text}"))
    found = score(model, plain, paragraph("p", text, context))
    assert found.tokens == len(answered)
    assert found.nats == pytest.approx(-log_probability(model, asked, answered), abs=1e-4)
    wrapping = tiny.tokenizer()
    wrapping.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tiny.EOS} $A {tiny.EOS}", special_tokens=[(tiny.EOS, 0)]
    )
    found = score(
        model, tiny.words(wrapping, 64), paragraph("p", text, context)
    )  # the start token is read, neither it nor the end is scored
    assert found.tokens == len(answered)
    assert found.nats == pytest.approx(-log_probability(model, [0, *asked], answered), abs=1e-4)
    assert score(model, tiny.words(wrapping, 64), paragraph("p", text)).tokens == len(
        answered
    )  # its first token has the start before it


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "the file is empty"),
        ("{", ":1: not JSON"),
        ("[1]", ":1: a JSON list; an object with id, topic, text"),
        ('{"id": 1, "topic": "t", "text": "a"}', ':1: "id" is 1'),
        ('{"topic": "t", "text": "a"}', ':1: "id" is missing'),
        ('{"id": "a", "topic": "t", "text": "b"}\n{"id": "c", "topic": "t", "text": " "}', ':2: "text" is " "'),
        ('{"id": "a", "topic": "t", "text": "b"}\n{"id": "a", "topic": "t", "text": "c"}', ':2: id "a" stands in line 1 already'),
        ('{"id": "a", "topic": "t", "text": "b", "context": 1}', ':1: "context" is 1'),
    ],
)
def test_bad_prose_files_are_refused_with_their_line(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "prose.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_paragraphs(path)
