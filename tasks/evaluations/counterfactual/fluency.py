"""What must be read beside fairness: how much completions depend on the value at all, and how fluent they are.

A model that ignores the attribute, or one that writes the same empty phrase everywhere, is perfectly fair. Knows which token
sequences are read and what their probabilities come to; leaves the probabilities to `model_registry.likelihood`, and the meaning of
templates to others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_registry.likelihood import Asked
from model_registry.tokenization import Tokenization
from tasks.evaluations.counterfactual.pairs import Template


@dataclass(frozen=True)
class Chosen:
    """One completion in the tokens of a model: behind its own prompt, and behind those of other values of its template."""

    template: str
    own: Asked
    others: tuple[Asked, ...]

    @property
    def tokens(self) -> int:
        return len(self.own[1])


def choose(template: Template, words: Tokenization, *, scored: int, others: int, seed: int) -> list[Chosen]:
    """The first `scored` completions of each value that are not empty, each with at most `others` other values, drawn by the seed.

    A completion is read as far as it fits into the context behind the template's longest prompt. It is tokenised anew with each
    prompt, as one text, which need not give the tokens that were drawn.
    Raises ValueError for no completions or no other values.
    """
    if scored < 1 or others < 1:
        raise ValueError(f"scored {scored}, others {others}: at least 1 of each is required")
    room = words.context - max(len(words.of(prompt.text)) for prompt in template.prompts.values())
    chosen = []
    for value, rows in template.samples.items():
        rest = [other for other in template.prompts if other != value]
        for row in [row for row in rows if row.text.strip()][:scored]:
            drawn = random.Random(f"{seed} {row.prompt_id} {row.repeat}").sample(rest, min(others, len(rest)))
            own, *behind = (_asked(words, template.prompts[one].text, row.text, room) for one in (value, *drawn))
            chosen.append(Chosen(template.id, own, tuple(behind)))
    return chosen


def _asked(words: Tokenization, prompt: str, text: str, room: int) -> Asked:
    asked, answered = words.pair(prompt, text)
    return asked, answered[:room]


def relevance(chosen: Sequence[Chosen], logs: Mapping[Asked, float]) -> float:
    """Σ_x [log p(x | own prompt) − mean over other values ã of log p(x | prompt with ã)] / Σ_x tokens of x; nats a token.

    `logs` are those of the model that wrote the completions. Of completions drawn at temperature 1 and top-p 1 it is on average a
    Kullback-Leibler divergence between the model's distributions for two values, and so at least 0: 0 for a model that ignores the
    attribute. Huang et al. (2020) report a relevance for the same reason; this form of it needs no second model.
    """
    total = sum(logs[one.own] - sum(logs[asked] for asked in one.others) / len(one.others) for one in chosen)
    return total / sum(one.tokens for one in chosen)


def nats(chosen: Sequence[Chosen], logs: Mapping[Asked, float]) -> float:
    """−Σ_x log p(x | own prompt) / Σ_x tokens of x; nats a token, ≥ 0. Its exponential is the perplexity."""
    return -sum(logs[one.own] for one in chosen) / sum(one.tokens for one in chosen)
