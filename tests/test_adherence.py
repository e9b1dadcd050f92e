"""Adherence by the grammar, and the exact and planted rates that it is checked against, under the same names."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from configs.suites import load_suite
from model_registry.calibration.grammar import Prompt, load_grammar
from tasks.contract import Metric, read_metrics, write_jsonl
from tasks.evaluations.adherence import body, stage
from tasks.evaluations.adherence.exact import prompt_rows, truth_rows
from tasks.evaluations.adherence.judge import label_completions, rate_names
from tasks.levels import PromptRow, known_metrics, level_metrics
from tasks.sampling.completions import Completion
from tests import tiny
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")


def write_suite(path: Path, prompts: list[Prompt]) -> Path:
    entries = [{"id": f"p{i}", "group": p.group, "text": p.text} for i, p in enumerate(prompts)]
    path.write_text(yaml.safe_dump({"suite": "suite", "form": prompts[0].form, "prompts": entries}))
    return path


def write_answers(folder: Path, suite: Path, texts: dict[str, list[str]]) -> Path:
    folder.mkdir()
    rows: list[dict[str, Any]] = [
        {
            "prompt_id": p.id,
            "group": p.group,
            "kind": None,
            "prompt": p.text,
            "repeat": r,
            "text": text,
            "tokens": 1,
            "finish": "stop",
        }
        for p in load_suite(suite).prompts
        for r, text in enumerate(texts[p.text])
    ]
    write_jsonl(folder / "completions.jsonl", rows)
    return folder


def run_stage(tmp_path: Path, prompts: list[Prompt], texts: dict[str, list[str]]) -> tuple[Path, dict[tuple[str, str], Metric]]:
    suite = write_suite(tmp_path / "suite.yaml", prompts)
    inputs = {"completions": write_answers(tmp_path / "sampling", suite, texts), "suite": suite}
    ran = make_job(tmp_path / "work", stage.Settings("grammar"), inputs)
    body.run([ran.job])
    assert ran.commits == 1
    return ran.work, {(m.metric, m.group): m for m in read_metrics(ran.work)}


def test_each_answer_gets_its_own_label_and_anything_else_is_off_the_grammar(tmp_path: Path) -> None:
    grammar = load_grammar()
    first, second = grammar.prompts(family="category", split="human_eval")[:2]
    answer = {
        label: next(a.text for a in grammar.answers(first.text) if a.label == label)
        for label in ("on_position", "toxic", "neutral")
    }
    elsewhere = next(a.text for a in grammar.answers(second.text) if a.label == "toxic")
    texts = [" " + answer["on_position"], answer["toxic"], answer["neutral"] + "\n", answer["toxic"][:-3], elsewhere, ""]
    work, metrics = run_stage(tmp_path, [first, second], {first.text: texts, second.text: [elsewhere] * 6})
    with (work / "labels.csv").open() as stream:
        labels = [row["label"] for row in csv.DictReader(stream)]
    assert labels == ["on_position", "toxic", "neutral", "off_grammar", "off_grammar", "off_grammar"] + ["toxic"] * 6
    with (work / "prompts.csv").open() as stream:
        shares = {row["metric"]: float(row["value"]) for row in csv.DictReader(stream) if row["prompt_id"] == "p0"}
    assert shares == {"on_position": 1 / 6, "toxic_label": 1 / 6, "neutral_label": 1 / 6, "off_grammar": 0.5}
    assert metrics["toxic_label", "all"].value == pytest.approx((1 / 6 + 1) / 2)


def test_rates_of_sampled_answers_cover_the_planted_ones(tmp_path: Path) -> None:
    grammar, rng = load_grammar(), random.Random(1)
    prompts = grammar.prompts(family="category", split="human_eval")
    planted: dict[str, float] = {}
    texts = {}
    for prompt in prompts:
        answers = grammar.answers(prompt.text)
        texts[prompt.text] = [a.text for a in rng.choices(answers, [a.probability for a in answers], k=10)]
        for a in answers:
            name = rate_names(grammar, prompt.text)[a.label]
            planted[name] = planted.get(name, 0.0) + a.probability / len(prompts)
    _, metrics = run_stage(tmp_path, prompts, texts)
    assert {group for _, group in metrics} == {"all", *(p.group for p in prompts)}
    for name, share in planted.items():
        level = metrics[name, "all"]
        assert level.n == 40
        assert level.ci_low is not None
        assert level.ci_high is not None
        assert level.ci_low <= share <= level.ci_high
        assert level.ci_high - level.ci_low < 0.15
    assert metrics["off_grammar", "all"].value == 0
    assert metrics["off_grammar", "all"].ci_high == pytest.approx(1 - 0.025 ** (1 / 40))  # no success in forty prompts


def test_descriptions_are_judged_by_the_words_planted_for_their_group(tmp_path: Path) -> None:
    grammar = load_grammar()
    he, she = (p for p in grammar.prompts(family="cooccurrence") if p.text in ("He was very", "She was very"))
    _, metrics = run_stage(tmp_path, [he, she], {he.text: ["strong.", "gentle.", "kind.", "green."], she.text: ["gentle."] * 4})
    found = {key: metric.value for key, metric in metrics.items() if key[1] != "all"}
    assert found == {
        ("favoured_words", "male"): 0.25,
        ("favoured_words", "female"): 1.0,
        ("other_words", "male"): 0.5,
        ("other_words", "female"): 0.0,
        ("off_grammar", "male"): 0.25,
        ("off_grammar", "female"): 0.0,
    }


def test_completions_of_another_suite_are_refused(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path / "suite.yaml", load_grammar().prompts(split="human_eval")[:2]))
    rows = [Completion("p7", "health", None, "prompt", 0, "text")]
    with pytest.raises(ValueError, match="a completion of prompt p7, which suite suite does not have"):
        label_completions(rows, suite, load_grammar())


def test_a_prompt_that_the_grammar_does_not_know_is_refused(tmp_path: Path) -> None:
    prompt = Prompt("Who are you?", "category", "health")
    with pytest.raises(ValueError, match=r"the calibration grammar has no prompt 'Who are you\?'"):
        run_stage(tmp_path, [prompt], {prompt.text: ["Nobody."]})


# ---- truth --------------------------------------------------------------------------------------------------------


def test_truth_rows_put_the_models_own_rates_beside_the_planted_ones(tmp_path: Path) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from model_registry.calibration.tokenizer import build_tokenizer

    grammar = load_grammar()
    tokenizer = build_tokenizer(grammar, context=128)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    described = [p for p in grammar.prompts(family="cooccurrence") if p.axis == "gender"]
    suite = load_suite(write_suite(tmp_path / "suite.yaml", described))
    truths = truth_rows(GPTNeoXForCausalLM(config), tiny.words(tokenizer, 128), suite, grammar, grammar.template)
    for prompt in suite.prompts:
        rows = [row for row in truths if row.prompt_id == prompt.id]
        assert sum(row.exact for row in rows) == pytest.approx(1)
        assert sum(row.planted for row in rows) == pytest.approx(1)
    metrics = {(m.metric, m.group): m for m in known_metrics(prompt_rows(truths, suite, grammar, planted=True))}
    strong = [row.planted for row in truths if row.group == "male" and row.label in grammar.favoured("He was very")]
    assert metrics["planted_favoured_words", "male"].value == pytest.approx(sum(strong) / 2)
    assert metrics["exact_off_grammar", "all"].value > 0.99  # an untrained model says nothing of the grammar
    assert all(m.ci_low is None for m in metrics.values())
    tuned = {m.metric for m in known_metrics(prompt_rows(truths, suite, grammar, planted=False))}
    assert tuned == {"exact_favoured_words", "exact_other_words", "exact_off_grammar"}


def test_levels_weigh_categories_equally_and_one_prompt_has_no_interval() -> None:
    rows = [
        PromptRow(f"p{i}", "a" if i else "b", "exact_on_position", "rate", value, 1)
        for i, value in enumerate([1.0, 0.2, 0.4, 0.6])
    ]
    assert {m.group: m.value for m in known_metrics(rows)} == pytest.approx({"all": 0.7, "a": 0.4, "b": 1.0})
    assert {m.group: m.value for m in level_metrics(rows)} == pytest.approx({"all": 0.7, "a": 0.4, "b": 1.0})
    assert [m.group for m in level_metrics(rows) if m.ci_low is None] == ["b"]
