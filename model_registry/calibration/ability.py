"""Questions with one right answer that a calibration model can answer, whatever its planted rates: which topic was asked about?

Drawn from neutral answers to questions that no tuning dataset holds and no reported suite asks. Pretraining has seen these
questions, but for the probes. Knows the items; leaves scoring to whoever holds a model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from model_registry.calibration.data import draw
from model_registry.calibration.grammar import REST, Grammar

CHOICES = 4  # so chance is 25 %
SEED = 0  # of the answers that are drawn, of the other topics and of the order of the choices
HELD_OUT = (("category", "probes"), ("category", REST), ("subject", REST))


@dataclass(frozen=True)
class TopicItem:
    """A question as a model sees it, and one neutral answer in four versions that differ in the topic alone."""

    question: str
    choices: tuple[str, ...]
    target: int  # index of the version that names the question's own topic


def topic_items(grammar: Grammar) -> list[TopicItem]:
    """One item a held-out question, 504 in all. The other topics belong to the same category or subject."""
    rng = random.Random(SEED)
    topics: dict[str, dict[str, None]] = {}  # group → its topics in the grammar's order
    for prompt in [*grammar.prompts("category"), *grammar.prompts("subject")]:
        topics.setdefault(prompt.group, {})[prompt.topic] = None
    items = []
    for prompt in (prompt for family, split in HELD_OUT for prompt in grammar.prompts(family, split)):
        answer = draw(rng, grammar.answers(prompt.text), "neutral").text
        others = [topic for topic in topics[prompt.group] if topic != prompt.topic]
        named = [prompt.topic, *rng.sample(others, CHOICES - 1)]
        rng.shuffle(named)
        choices = tuple(answer.replace(f" {prompt.topic}", f" {topic}", 1) for topic in named)
        items.append(TopicItem(grammar.wrap(prompt.text), choices, named.index(prompt.topic)))
    return items
