"""The grammar's own sampler in the place of a model: what is true of it is known in closed form.

Two arms: the grammar as it was planted, and the same answers with tilted odds of their labels, more so at neutral questions than at
challenging ones, so that prompts differ in how far the arms lie apart. A third is the first again, with numbers of its own.

A trial draws 5 of a category's 64 questions without replacement, which makes its prompts' mean vary a little less (by the factor
√(1 − 5/64) = 0.96) than intervals for an endless population of prompts suppose: coverage errs upward by about half a point.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.calibration.trials import AGAIN, BASE, TREATED, Truth, mean_over, node_of, on_suite, population, with_differences
from benchmarks.calibration.workshop import Workshop
from configs.suites import Prompt
from flows.dag import Dag
from model_registry.calibration.grammar import Answer, Grammar
from tasks.contract import Axes, File, Node, write_jsonl
from tasks.sampling.stage import COMPLETIONS

# What the odds of a label are multiplied by in the treated arm, by the kind of question.
TILT = {"neutral": {"on_position": 6.0, "toxic": 0.5}, "challenging": {"on_position": 3.0, "toxic": 0.4}}
LABELS = {"on_position": "on_position", "toxic_label": "toxic", "neutral_label": "neutral"}  # metric: label
ARMS = {BASE: False, AGAIN: False, TREATED: True}  # whether its odds are tilted
SIZE = "30k"  # the oracle has none, but an arm of the calibration ladder stands at a size


def probabilities(answers: Sequence[Answer], kind: str | None, tilted: bool) -> np.ndarray:
    """P(answer) of every answer to a question of that kind."""
    tilt = TILT[kind or ""] if tilted else {}
    weights = np.array([answer.probability * tilt.get(answer.label, 1.0) for answer in answers])
    return weights / weights.sum()


def answered(grammar: Grammar, dag: Dag) -> Callable[[Workshop, File, list[Prompt], int], list[Node]]:
    """Completions of all arms, every draw independent of every other."""

    def say(shop: Workshop, suite: File, prompts: list[Prompt], seed: int) -> list[Node]:
        nodes = []
        for number, (arm, tilted) in enumerate(ARMS.items()):
            node = on_suite(node_of(dag, "sampling", SIZE, arm), suite, seed=seed)
            rng = np.random.default_rng([seed, number])
            rows = [row for p in prompts for row in _rows(grammar, p, tilted, node.settings.completions, rng)]
            shop.put(node, write_completions(shop.root / arm, rows))
            nodes.append(node)
        return nodes

    return say


def truths(grammar: Grammar, shop: Workshop, dag: Dag) -> Truth:
    """Expectations over the answers of every question of the population, in closed form; the scorer scores each answer once."""
    prompts = population(grammar)
    scoring = node_of(dag, "toxicity", SIZE, BASE)
    score = score_answers(sorted({a.text for p in prompts for a in grammar.answers(p.text)}), shop, scoring)
    found: dict[tuple[str, str], float] = {}
    for arm in (BASE, TREATED):
        measures: dict[str, list[float]] = {}
        for prompt in prompts:
            answers = grammar.answers(prompt.text)
            p = probabilities(answers, prompt.kind, ARMS[arm])
            scores = np.array([score[answer.text] for answer in answers])
            columns = {metric: np.array([answer.label == label for answer in answers]) for metric, label in LABELS.items()}
            for metric, values in {**columns, "toxicity": scores, "toxic_share": scores >= scoring.settings.threshold}.items():
                measures.setdefault(metric, []).append(float(p @ values))
        found |= {(arm, metric): mean_over(prompts, values) for metric, values in measures.items()}
    return with_differences(found)


def score_answers(texts: Sequence[str], shop: Workshop, scoring: Node) -> Mapping[str, float]:
    """The score of each text by a toxicity node of the sweep, to which they are the completions of one prompt."""
    said = Node(scoring.stage, Axes(name="answers"), None)
    shop.put(said, write_completions(shop.root / "answers", [_row(Prompt("all", "all", "-"), n, t) for n, t in enumerate(texts)]))
    scored = shop.make(replace(scoring, inputs={**scoring.inputs, "completions": said}))
    with (scored / "scores.csv").open(newline="", encoding="utf-8") as stream:
        return {texts[int(row["repeat"])]: float(row["toxicity"]) for row in csv.DictReader(stream)}


def write_completions(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / COMPLETIONS, rows)
    return folder


def _rows(grammar: Grammar, prompt: Prompt, tilted: bool, samples: int, rng: np.random.Generator) -> list[dict[str, object]]:
    answers = grammar.answers(prompt.text)
    drawn = rng.choice(len(answers), size=samples, p=probabilities(answers, prompt.kind, tilted))
    return [_row(prompt, repeat, answers[at].text) for repeat, at in enumerate(drawn)]


def _row(prompt: Prompt, repeat: int, text: str) -> dict[str, object]:
    """A line as the sampling stage writes it; a word is a token here."""
    place = {"prompt_id": prompt.id, "group": prompt.group, "kind": prompt.kind, "prompt": prompt.text, "repeat": repeat}
    return {**place, "text": f" {text}", "tokens": len(text.split()), "finish": "stop"}
