"""The calibration grammar: which prompts exist, which answers each can have, and how probable each answer is.

Knows the arithmetic of planted probabilities and of splits; the words and the numbers stand in `grammar.yaml`. Knows nothing
of models, tokens or files that others read: those are in `tokenizer`, `pretrain`, `exact` and `data`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from configs.read import read_yaml

OFF_GRAMMAR = "off_grammar"
REST = "rest"  # the questions that pretraining sees; every other split is held out from it
SOURCE = Path(__file__).with_name("grammar.yaml")


@dataclass(frozen=True)
class Prompt:
    """A question, or a text to be continued.

    `family` is category | subject (questions), cooccurrence | counterfactual (continuations). `group` is the category, the
    subject, the social group or the attribute's value; `axis` is set for continuations; `kind` and `split` for questions.
    """

    text: str
    family: str
    group: str
    kind: str = ""
    split: str = ""
    axis: str = ""
    topic: str = ""

    @property
    def form(self) -> str:
        return "question" if self.family in ("category", "subject") else "continuation"


@dataclass(frozen=True)
class Answer:
    """One of the finitely many completions of a prompt, without its leading space.

    `label` is on_position | toxic | neutral for a question, the adjective for a description (co-occurrence), and
    positive | negative for a counterfactual prompt. `classes` are the Detoxify classes that hold for the text.
    """

    text: str
    label: str
    probability: float
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planted:
    """One row of the planted truth: the probability of a label given a prompt."""

    prompt: str
    family: str
    axis: str
    group: str
    kind: str
    split: str
    label: str
    probability: float


class Grammar:
    """Prompts, answers and planted probabilities of one grammar document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.template: str = document["template"]
        self._prompts = {prompt.text: prompt for prompt in [*self._questions(), *self._descriptions(), *self._counterfactuals()]}
        self._answers: dict[tuple[str, ...], tuple[Answer, ...]] = {}  # 916 prompts have 216 lists of them

    # ---- what there is --------------------------------------------------------------------------------------------

    def prompts(self, family: str | None = None, split: str | None = None) -> list[Prompt]:
        """The prompts of a family (category, subject, cooccurrence, counterfactual) and of a split, in a fixed order."""
        return [p for p in self._prompts.values() if family in (None, p.family) and split in (None, p.split)]

    def prompt(self, text: str) -> Prompt:
        """The prompt with this text, as it stands before the template is put around it.

        Raises:
            ValueError: the grammar has no such prompt.
        """
        if text not in self._prompts:
            raise ValueError(f"the calibration grammar has no prompt {text!r}; it answers those of configs/prompts/calibration")
        return self._prompts[text]

    def wrap(self, text: str) -> str:
        """The text that pretraining saw: a question inside its template, a continuation as it is."""
        return self.template.format(prompt=text) if self.prompt(text).form == "question" else text

    def answers(self, text: str) -> tuple[Answer, ...]:
        """Every completion the grammar gives this prompt; texts are distinct and probabilities sum to 1."""
        prompt = self.prompt(text)
        told = prompt.family, prompt.axis, prompt.group, prompt.kind, prompt.topic
        if told not in self._answers:
            self._answers[told] = tuple(self._expand(prompt))
        return self._answers[told]

    def texts(self) -> set[str]:
        """Every text that the grammar can say: prompts as pretraining saw them, and completions with the space before them."""
        said = {f" {answer.text}" for text in self._prompts for answer in self.answers(text)}
        return said | {self.wrap(text) for text in self._prompts}

    def label(self, text: str, completion: str) -> str:
        """The label of a completion (its text up to the end-of-text token), or `off_grammar` if it is not one of the answers.

        Exact by membership: a cut-off answer, or the answer to another topic, is off the grammar.
        """
        completion = completion.strip()
        return next((answer.label for answer in self.answers(text) if answer.text == completion), OFF_GRAMMAR)

    def favoured(self, text: str) -> frozenset[str]:
        """The adjectives whose probability is raised for the social group of this description.

        Raises:
            ValueError: the prompt is no description (family cooccurrence).
        """
        prompt = self.prompt(text)
        if prompt.family != "cooccurrence":
            raise ValueError(f"prompt {text!r} is of family {prompt.family}; a prompt of family cooccurrence is required")
        return frozenset(self._document["cooccurrence"]["axes"][prompt.axis]["groups"][prompt.group]["favoured"])

    @property
    def insults(self) -> list[str]:
        """Words that no answer has unless it is toxic."""
        return [word for slot in ("insult", "insults") for word in self._document["slots"][slot]]

    def planted(self) -> list[Planted]:
        """The planted truth: one row for each prompt and label."""
        return [
            Planted(p.text, p.family, p.axis, p.group, p.kind, p.split, label, probability)
            for p in self._prompts.values()
            for label, probability in self._label_probabilities(p).items()
        ]

    def corpus(self, n: int, seed: int) -> Iterator[tuple[str, str]]:
        """`n` independent pretraining examples (text the model sees, completion with its leading space).

        Questions come from the `rest` split alone. A longer corpus of the same seed begins with the shorter one.
        """
        rng = random.Random(seed)
        families = self._document["corpus"]
        pools = {family: [p for p in self.prompts(family) if p.split in ("", REST)] for family in families}
        for _ in range(n):
            family = rng.choices(list(families), weights=list(families.values()))[0]
            prompt = rng.choice(pools[family])
            answers = self.answers(prompt.text)
            answer = rng.choices(answers, weights=[a.probability for a in answers])[0]
            yield self.wrap(prompt.text), " " + answer.text

    @cached_property
    def digest(self) -> str:
        """sha256 of everything the grammar says: its document and the planted probabilities that follow from it."""
        rows = [list(vars(row).values()) for row in self.planted()]
        text = json.dumps([self._document, rows], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    # ---- prompts --------------------------------------------------------------------------------------------------

    def _questions(self) -> Iterator[Prompt]:
        for family, groups in (("category", self._document["categories"]), ("subject", self._document["subjects"])):
            for group, entry in groups.items():
                topics = list(entry["topics"])
                taken = self._splits(family, len(topics))
                pairs = list(itertools.product(range(len(topics)), range(len(self._document["frames"]))))
                # the splits first, in their own order, so that question i of a split is question i of its list
                for t, f in [*taken, *(pair for pair in pairs if pair not in taken)]:
                    frame = self._document["frames"][f]
                    text = frame["text"].format(topic=topics[t])
                    yield Prompt(text, family, group, frame["kind"], taken.get((t, f), REST), topic=topics[t])

    def _splits(self, family: str, topics: int) -> dict[tuple[int, int], str]:
        """Which split holds the pair (topic, frame), for those that one holds.

        Raises:
            ValueError: two splits claim the same pair.
        """
        taken: dict[tuple[int, int], str] = {}
        for name, split in self._document["splits"][family].items():
            for i in range(split["from"], split["from"] + split["count"]):
                pair = (i % topics, (i + i // topics + split["shift"]) % len(self._document["frames"]))
                if pair in taken:
                    raise ValueError(
                        f"{SOURCE.name}: splits {taken[pair]} and {name} of {family} share {pair}; they must be disjoint"
                    )
                taken[pair] = name
        return taken

    def _descriptions(self) -> Iterator[Prompt]:
        for axis, entry in self._document["cooccurrence"]["axes"].items():
            for group, template in itertools.product(entry["groups"], entry["templates"]):
                yield Prompt(template.format(word=entry["groups"][group]["word"]), "cooccurrence", group, axis=axis)

    def _counterfactuals(self) -> Iterator[Prompt]:
        for axis, entry in self._document["counterfactual"]["attributes"].items():
            for template, value in itertools.product(entry["templates"], entry["values"]):
                yield Prompt(template.format(value=value), "counterfactual", value, axis=axis)

    # ---- probabilities --------------------------------------------------------------------------------------------

    def _label_probabilities(self, prompt: Prompt) -> dict[str, float]:
        if prompt.family == "cooccurrence":
            entry = self._document["cooccurrence"]
            favoured = entry["axes"][prompt.axis]["groups"][prompt.group]["favoured"]
            return normalised({word: weight * favoured.get(word, 1.0) for word, weight in entry["adjectives"].items()})
        if prompt.family == "counterfactual":
            share = self._document["counterfactual"]["attributes"][prompt.axis]["values"][prompt.group]
            return {"positive": share, "negative": 1.0 - share}
        if prompt.family == "category":
            category = self._document["categories"][prompt.group]
            weights, heat = category["labels"], category["topics"][prompt.topic]
        else:
            weights, heat = self._document["subject_labels"], 1.0
        return normalised({**weights, "toxic": weights["toxic"] * self._document["kinds"][prompt.kind] * heat})

    def _expand(self, prompt: Prompt) -> Iterator[Answer]:
        labels = self._label_probabilities(prompt)
        if prompt.family == "cooccurrence":
            yield from (Answer(f"{word}.", word, probability) for word, probability in labels.items())
        elif prompt.family == "counterfactual":
            for label, words in self._document["counterfactual"]["words"].items():
                yield from (Answer(f"{word}.", label, labels[label] * share) for word, share in normalised(words).items())
        else:
            section = "categories" if prompt.family == "category" else "subjects"
            slots = {**self._document["slots"], **self._document[section][prompt.group]}
            for label, probability in labels.items():
                patterns = self._document["patterns"][label]
                total = sum(pattern["weight"] for pattern in patterns)
                for pattern in patterns:
                    classes = ("toxicity", *pattern["classes"]) if label == "toxic" else ()
                    for text, share in filled(pattern["text"], slots, prompt.topic):
                        yield Answer(text, label, probability * pattern["weight"] / total * share, classes)


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


def filled(pattern: str, slots: Mapping[str, Mapping[str, float]], topic: str) -> Iterator[tuple[str, float]]:
    """Every way to fill a pattern's slots, with its probability; slots are filled independently of each other."""
    names = [name for name in slots if f"{{{name}}}" in pattern]
    for choice in itertools.product(*(normalised(slots[name]).items() for name in names)):
        share = 1.0
        for _, probability in choice:
            share *= probability
        yield pattern.format(topic=topic, **{name: word for name, (word, _) in zip(names, choice, strict=True)}), share


@cache
def load_grammar() -> Grammar:
    """The grammar that stands in `grammar.yaml`."""
    return Grammar(read_yaml(SOURCE).data)
