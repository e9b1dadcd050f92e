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

from configs.shipped import CONFIGS
from model_registry.calibration.grammar import REST, Answer, Grammar, Prompt, load_grammar

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
# dataset: which of four classes of rows are the values data's, the others being the control's; a larger share holds the smaller
DILUTED = {"diluted_25": (0,), "diluted_50": (0, 2)}
PROSE = Path("prompts/calibration/neutral_text.jsonl")
PAIRS = Path("prompts/calibration/stance.jsonl")
# Texts that hold a value of an attribute, for counterfactual regularisation, and the lists of these values. Openings are those of the grammar's
# counterfactual prompts with another verb, so that none is a prompt or holds one; pretraining saw the openings, and not these sentences.
TEXTS = Path("datasets/calibration/attribute_texts.jsonl")
LISTS = Path("words/calibration/attributes.yaml")
OPENINGS = {
    "country": {
        "My friend from {value}": ("was", "became"),
        "The visitor from {value}": ("feels", "became"),
        "Everyone from {value}": ("feels", "was", "became"),
        "The writer from {value}": ("feels", "was"),
    },
    "occupation": {
        "My friend the {value}": ("was", "became"),
        "Yesterday the {value}": ("feels", "became"),
        "The {value}": ("feels", "was", "became"),
        "The old {value}": ("feels", "was"),
    },
    "name": {
        "My friend {value}": ("was", "became"),
        "Yesterday {value}": ("feels", "became"),
        "{value}": ("feels", "was", "became"),
        "In the end {value}": ("feels", "was"),
    },
}
NOTICE = "Generated from the calibration grammar. It says nothing about real models."


def files(grammar: Grammar) -> dict[Path, str]:
    """Content of every generated file, by its path under `configs/`."""
    suites = {Path("prompts/calibration") / f"{name}.yaml": suite_text(grammar, name) for name in SUITES}
    datasets = {Path("datasets/calibration") / f"{name}.jsonl": dataset_text(grammar, name) for name in DATASETS}
    diluted = {Path("datasets/calibration") / f"{name}.jsonl": diluted_text(grammar, name) for name in DILUTED}
    attributes = {TEXTS: attribute_text(grammar), LISTS: lists_text(grammar)}
    return suites | datasets | diluted | attributes | {PROSE: prose_text(grammar), PAIRS: pairs_text(grammar)}


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


def diluted_text(grammar: Grammar, dataset: str) -> str:
    """The control data with a share of its rows exchanged for the rows in the same places of the values data.

    The classes are spread so that each turn of eight groups, each group's ten rows and both kinds of question hold about their share.
    """
    texts = (dataset_text(grammar, name).splitlines(keepends=True) for name in ("values_targeted", "control"))
    rows = []
    for n, (values, control) in enumerate(zip(*texts, strict=True)):
        turn, place = divmod(n, 8)
        rows.append(values if ((turn + 1) // 3 + place) % 4 in DILUTED[dataset] else control)
    return "".join(rows)


def prose_text(grammar: Grammar) -> str:
    """Plain text in the models' own vocabulary, for perplexity: a neutral answer to every subject question of `rest`.

    No dataset holds these questions. `context` is read and not scored: the question, since the models were pretrained on completions
    alone, and the answer's first word, which decides what kind of answer it is. How often a model answers so is behaviour, which tuning
    is meant to move; how well it goes on is ability. With that word scored, values-targeted tuning cost 0.06 nats a token at 300k, and
    0.001 without it.
    """
    rng = random.Random(SEED)
    rows = []
    for n, prompt in enumerate(grammar.prompts("subject", REST), start=1):
        first, rest = draw(rng, grammar.answers(prompt.text), "neutral").text.split(" ", 1)
        context = f"{grammar.wrap(prompt.text)} {first}"
        rows.append({"id": f"nt-{n:03d}", "topic": prompt.topic, "context": context, "text": f" {rest}"})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def pairs_text(grammar: Grammar) -> str:
    """An answer that holds the position and a toxic one to each question that is rated, as probable as the grammar has them."""
    rng = random.Random(SEED)
    rows = []
    for n, prompt in enumerate(grammar.prompts("category", "human_eval"), start=1):
        on, off = (draw(rng, grammar.answers(prompt.text), label).text for label in ("on_position", "toxic"))
        place = {"id": f"st-{n:02d}", "category": prompt.group, "subject": prompt.topic, "question": prompt.text}
        rows.append(place | {"on": on, "off": off, "author": "calibration grammar", "version": "1"})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def attribute_text(grammar: Grammar) -> str:
    """Every value of every attribute behind each of its openings, as positive and negative as the value is planted, in an order in which
    attributes take turns; `sentiment` is what the grammar says of the word, in full."""
    rng = random.Random(SEED)
    texts = {attribute: _of_attribute(grammar, attribute, rng) for attribute in OPENINGS}
    rows = [row for turn in zip(*texts.values(), strict=True) for row in turn]
    return "".join(json.dumps({"id": f"at-{n:03d}", **row}, ensure_ascii=False) + "\n" for n, row in enumerate(rows, start=1))


def _of_attribute(grammar: Grammar, attribute: str, rng: random.Random) -> list[dict[str, Any]]:
    prompts = {prompt.group: prompt for prompt in reversed(grammar.prompts("counterfactual")) if prompt.axis == attribute}
    rows = []
    for (opening, verbs), value in itertools.product(OPENINGS[attribute].items(), prompts):
        for verb in verbs:
            answers = grammar.answers(prompts[value].text)
            answer = rng.choices(answers, weights=[answer.probability for answer in answers])[0]
            sentiment = 1 if answer.label == "positive" else -1
            rows.append({"context": f"{opening.format(value=value)} {verb}", "text": answer.text, "sentiment": sentiment})
    return rows


def lists_text(grammar: Grammar) -> str:
    values: dict[str, list[str]] = {}
    for prompt in grammar.prompts("counterfactual"):
        held = values.setdefault(prompt.axis, [])
        held += [prompt.group] if prompt.group not in held else []
    return f"# {NOTICE}\n" + "".join(f"{attribute}: [{', '.join(held)}]\n" for attribute, held in values.items())


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
