"""A model's own rates on the grammar, computed instead of sampled.

Knows how to sum the probability of every answer of a prompt under a causal language model. What the grammar planted is in
`grammar`; the gap between the two is the model's fit error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configs.suites import SLOT
from model_registry.calibration.grammar import OFF_GRAMMAR, Grammar
from model_registry.tokenization import Tokenization

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Rate:
    """The exact probability that a completion of `prompt` has `label`."""

    prompt: str
    label: str
    probability: float


def exact_rates(
    model: Any, words: Tokenization, prompts: Sequence[str], grammar: Grammar, *, template: str | None = None
) -> list[Rate]:
    """The model's exact probability of each label at temperature 1 and top-p 1, prompt by prompt.

    P(label | prompt) is the sum of P(answer, end of text | prompt) over the answers that have the label; what remains of 1 is
    `off_grammar`. Labels are those of `Grammar.answers`: on_position, toxic, neutral for a question; the adjective for a
    description; positive, negative for a counterfactual prompt. The model is put into evaluation mode.

    Args:
        model: any causal language model, with or without adapters.
        words: the model's own.
        prompts: texts of the grammar, before a template is put around them.
        template: what is put around questions; the one that pretraining used, unless given.

    Raises:
        ValueError: the grammar does not know one of the prompts.
    """
    model.eval()
    rows = []
    for prompt in prompts:
        answers = grammar.answers(prompt)
        turn = words.turn(template or grammar.template if grammar.prompt(prompt).form == "question" else SLOT)
        asked = words.asked(turn, prompt)
        answered = [words.sample(turn, prompt, answer.text)[1] for answer in answers]
        sums: dict[str, float] = {}
        for answer, probability in zip(answers, _probabilities(model, asked, answered), strict=True):
            sums[answer.label] = sums.get(answer.label, 0.0) + float(probability)
        sums[OFF_GRAMMAR] = max(0.0, 1.0 - sum(sums.values()))  # rounding alone can make it negative
        rows += [Rate(prompt, label, probability) for label, probability in sums.items()]
    return rows


def _probabilities(model: Any, asked: Sequence[int], answered: Sequence[Sequence[int]]) -> np.ndarray:
    """P(answer's tokens | prompt's tokens) of each answer, float64.

    The prompt goes through the model once and its cache serves all answers: with 140 answers of 10 tokens to a prompt of 12, that
    is half the tokens. Answers are padded on the right, where causal attention cannot see the padding.
    """
    import torch

    longest = max(map(len, answered))
    tokens = torch.zeros(len(answered), longest, dtype=torch.long)
    scored = torch.zeros(len(answered), longest, dtype=torch.double)
    for row, answer in enumerate(answered):
        tokens[row, : len(answer)] = torch.tensor(answer)
        scored[row, : len(answer)] = 1.0
    tokens = tokens.to(model.device)
    with torch.inference_mode():
        start = model(input_ids=torch.tensor([list(asked)], device=model.device), use_cache=True)
        cache = start.past_key_values
        cache.batch_repeat_interleave(len(answered))
        rest = model(input_ids=tokens[:, :-1], past_key_values=cache).logits
        logits = torch.cat([start.logits[:, -1:].expand(len(answered), 1, -1), rest], dim=1).float()
        logs = logits.gather(-1, tokens[..., None]).squeeze(-1) - logits.logsumexp(-1)
    found = (logs.double().cpu() * scored).sum(1)
    if not torch.isfinite(found).all():
        raise ValueError("the model's logits are not finite numbers; finite weights and a wide enough precision are required")
    return found.exp().numpy()
