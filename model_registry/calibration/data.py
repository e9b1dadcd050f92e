"""The calibration experiment's prompt suites and tuning datasets, written from the grammar.

`python -m model_registry.calibration.data` writes the files under `configs/`; they are committed, so that they can be read and
replaced like any other data. Knows which rows go where and in which order; what they say comes from the grammar.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_registry.calibration.grammar import Answer, Grammar, Prompt, load_grammar

CONFIGS = Path(__file__).parents[2] / "configs"
SUBSETS = (10, 20, 40, 80)
SEED = 0  # of the answers that the datasets draw
# suite: (family of the grammar, split, start of the prompts' ids)
SUITES = {
    "human_eval": ("category", "human_eval", "he"),
    "toxicity": ("category", "toxicity", "tox"),
    "probes": ("category", "probes", "probe"),
    "cooccurrence": ("cooccurrence", "", "co"),
    "counterfactual": ("counterfactual", "", "cf"),
}
UNREPORTED = ("probes",)  # for choosing data and settings
# dataset: (family of the grammar, label of its answers)
DATASETS = {"values_targeted": ("category", "on_position"), "control": ("subject", "neutral")}
NOTICE = "Generated from the calibration grammar. It says nothing about real models."


def files(grammar: Grammar) -> dict[Path, str]:
    """Content of every generated file, by its path under `configs/`."""
    suites = {Path("prompts/calibration") / f"{name}.yaml": suite_text(grammar, name) for name in SUITES}
    datasets = {Path("datasets/calibration") / f"{name}.jsonl": dataset_text(grammar, name) for name in DATASETS}
    return suites | datasets


def suite_text(grammar: Grammar, suite: str) -> str:
    """One prompt file. Questions carry their kind, continuations their axis."""
    family, split, start = SUITES[suite]
    prompts = grammar.prompts(family, split)
    counts: dict[str, Iterator[int]] = {prompt.group: itertools.count(1) for prompt in prompts}
    entries = []
    for prompt in prompts:
        extra = {"kind": prompt.kind} if prompt.form == "question" else {"axis": prompt.axis}
        identifier = f"{start}-{prompt.group.lower()}-{next(counts[prompt.group])}"
        entries.append({"id": identifier, "group": prompt.group, **extra, "text": prompt.text})
    lines = [f"  - {json.dumps(entry, ensure_ascii=False)}" for entry in entries]
    head = [f"# {NOTICE}", f"suite: {suite}", f"form: {prompts[0].form}", *(["reported: false"] if suite in UNREPORTED else [])]
    return "\n".join([*head, "prompts:", *lines]) + "\n"


def dataset_text(grammar: Grammar, dataset: str) -> str:
    """One dataset file: 80 rows, ten a group, ordered so that the first 10, 20 and 40 hold the groups as evenly as they can."""
    family, label = DATASETS[dataset]
    prompts = grammar.prompts(family, "tuning")
    groups = {group: list(rows) for group, rows in itertools.groupby(prompts, key=lambda prompt: prompt.group)}
    rng = random.Random(SEED)
    rows = []
    for n, (turn, (place, group)) in enumerate(itertools.product(range(10), enumerate(groups))):
        prompt = groups[group][(turn + place) % 10]  # each group begins elsewhere, so that small subsets see many frames
        rows.append(dataset_row(dataset, n, prompt, draw(rng, grammar.answers(prompt.text), label)))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def dataset_row(dataset: str, n: int, prompt: Prompt, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"{dataset}-{n + 1:02d}",
        "category": prompt.group,
        "prompt": prompt.text,
        "completion": answer.text,
        "subset": next(size for size in SUBSETS if n < size),
        "author": "calibration grammar",
        "version": "1",
    }


def draw(rng: random.Random, answers: tuple[Answer, ...], label: str) -> Answer:
    """One answer with the label, as probable as the grammar has it."""
    chosen = [answer for answer in answers if answer.label == label]
    return rng.choices(chosen, weights=[answer.probability for answer in chosen])[0]


def write(configs: Path) -> None:
    for path, text in files(load_grammar()).items():
        (configs / path).parent.mkdir(parents=True, exist_ok=True)
        (configs / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(CONFIGS)
