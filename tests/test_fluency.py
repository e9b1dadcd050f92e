"""Relevance and perplexity of completions: by hand, against each text alone, and for a model that cannot see the value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.suites import load_suite
from model_registry.likelihood import Asked, log_likelihoods_in_batches
from tasks.evaluations.counterfactual.fluency import Chosen, choose, nats, relevance
from tasks.evaluations.counterfactual.pairs import Template, templates
from tests import counterfactuals, tiny
from tests.counterfactuals import completions, directly, opened, prompt, suite_file

pytestmark = pytest.mark.usefixtures("one_thread")

base = counterfactuals.base


def test_relevance_and_nats_by_hand() -> None:
    own: list[Asked] = [((1,), (7, 7)), ((2,), (8,))]
    others: list[tuple[Asked, ...]] = [(((2,), (7, 7)), ((3,), (7, 7))), (((1,), (8,)),)]
    logs = {own[0]: -2.0, others[0][0]: -3.0, others[0][1]: -5.0, own[1]: -1.0, others[1][0]: -0.5}
    chosen = [Chosen("t", *pair) for pair in zip(own, others, strict=True)]
    assert relevance(chosen, logs) == pytest.approx((2.0 - 0.5) / 3)  # (−2 + 4) + (−1 + 0.5), over three tokens
    assert nats(chosen, logs) == pytest.approx(1.0)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "gpt_neox", "llama"])
def test_log_likelihoods_in_batches_are_those_of_each_text_alone(tmp_path: Path, architecture: str) -> None:
    model, words = opened(tiny.prepared(tmp_path, architecture=architecture))
    texts = ["She was", "The people were very", "Violence is"]
    pairs = [
        (tuple(words.tokenizer(text)["input_ids"]), tuple(words.tokenizer(text + tail)["input_ids"][: 3 + len(tail) % 5]))
        for text, tail in itertools.product(texts, [" kind", " loud and strange.", " wrong; please call"])
    ]
    found = log_likelihoods_in_batches(model, pairs, batch=4)
    for pair in pairs:
        assert found[pair] == pytest.approx(directly(model, pair), abs=1e-4)
    assert log_likelihoods_in_batches(model, [*reversed(pairs), *pairs], batch=4) == found  # to the last bit


def test_a_model_without_finite_probabilities_is_an_error(base: Path) -> None:
    model, _ = opened(base)
    model.transformer.ln_f.bias.data.fill_(math.nan)
    with pytest.raises(ValueError, match="probability of a completion is no finite number"):
        log_likelihoods_in_batches(model, [((1,), (2,))], batch=4)


def one_template(folder: Path, texts: Callable[[str, int], str], n: int) -> Template:
    rows = [prompt("name", name, f"{name} was very") for name in ("Anna", "Boris", "Carl", "Dora")]
    suite = load_suite(suite_file(folder, rows))
    return templates(suite, completions(suite, texts, n))[0]["name"][0]


def test_the_first_completions_that_are_not_empty_are_read_each_behind_other_values(tmp_path: Path, base: Path) -> None:
    _, words = opened(base)
    template = one_template(tmp_path, lambda text, repeat: ["", " kind", " \n", " loud", " calm"][repeat], 5)
    chosen = choose(template, words, scored=2, others=2, seed=0)
    assert [words.tokenizer.decode(one.own[1]) for one in chosen] == [" kind", " loud"] * 4
    asked = {value: tuple(words.tokenizer(p.text)["input_ids"]) for value, p in template.prompts.items()}
    for one, value in zip(chosen, [value for value in asked for _ in range(2)], strict=True):
        assert one.own[0] == asked[value]
        behind = [pair[0] for pair in one.others]
        assert len(set(behind)) == 2
        assert set(behind) <= set(asked.values()) - {asked[value]}
        assert all(pair[1] == one.own[1] for pair in one.others)
    assert choose(template, words, scored=2, others=2, seed=0) == chosen
    assert choose(template, words, scored=2, others=2, seed=1) != chosen
    assert {len(one.others) for one in choose(template, words, scored=1, others=9, seed=0)} == {3}
    short = tiny.words(words.tokenizer, max(map(len, asked.values())) + 2)
    assert {one.tokens for one in choose(template, short, scored=1, others=1, seed=0)} == {2}
    with pytest.raises(ValueError, match="scored 0, others 1: at least 1 of each is required"):
        choose(template, words, scored=0, others=1, seed=0)


def test_a_model_that_cannot_see_the_value_has_no_relevance_and_another_has(tmp_path: Path, base: Path) -> None:
    model, words = opened(base)
    # what the model itself is likely to say, so that its relevance is above 0
    starts = {f"{name} was very": name for name in ("Anna", "Boris", "Carl", "Dora")}

    def drawn(text: str, repeat: int) -> str:
        import torch

        torch.manual_seed(repeat)
        ids = torch.tensor([words.tokenizer(text)["input_ids"]])
        out = model.generate(ids, max_new_tokens=8, do_sample=True, top_k=0, pad_token_id=0, suppress_tokens=[0])
        return str(words.tokenizer.decode(out[0, ids.shape[1] :]))

    template = one_template(tmp_path, drawn, 8)
    assert set(starts) == {p.text for p in template.prompts.values()}
    chosen = choose(template, words, scored=8, others=3, seed=0)
    asked = [pair for one in chosen for pair in (one.own, *one.others)]
    assert relevance(chosen, log_likelihoods_in_batches(model, asked, 16)) > 0.005
    for block in model.transformer.h:  # without attention a token is told by the one before it and its place
        block.attn.c_proj.weight.data.zero_()
        block.attn.c_proj.bias.data.zero_()
    model.transformer.wpe.weight.data.zero_()
    assert relevance(chosen, log_likelihoods_in_batches(model, asked, 16)) == pytest.approx(0, abs=1e-6)
