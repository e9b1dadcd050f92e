"""A model's own rates on the grammar, computed instead of sampled.

Knows how to sum the probability of every answer of a prompt under a causal language model. What the grammar planted is in
`grammar`; the gap between the two is the model's fit error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_registry.calibration.grammar import OFF_GRAMMAR, Grammar

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Rate:
    """The exact probability that a completion of `prompt` has `label`."""

    prompt: str
    label: str
    probability: float


def exact_rates(
    model: Any, tokenizer: Any, prompts: Sequence[str], grammar: Grammar, *, template: str | None = None, batch: int = 256
) -> list[Rate]:
    """The model's exact probability of each label at temperature 1 and top-p 1, prompt by prompt.

    P(label | prompt) is the sum of P(answer, end of text | prompt) over the answers that have the label; what remains of 1 is
    `off_grammar`. Labels are those of `Grammar.answers`: on_position, toxic, neutral for a question; the adjective for a
    description; positive, negative for a counterfactual prompt. The model is put into evaluation mode.

    Args:
        model: any causal language model, with or without adapters.
        tokenizer: the model's own.
        prompts: texts of the grammar, before a template is put around them.
        template: what is put around questions; the one that pretraining used, unless given.
        batch: sequences in a forward pass.

    Raises:
        ValueError: the grammar does not know one of the prompts.
    """
    spans: list[tuple[list[int], list[int]]] = []
    for prompt in prompts:
        text = grammar.wrap(prompt, template)
        completions = [" " + answer.text + tokenizer.eos_token for answer in grammar.answers(prompt)]
        asked, *answered = tokenizer([text, *completions], add_special_tokens=False)["input_ids"]
        spans += [(asked, tokens) for tokens in answered]
    probabilities = iter(_probabilities(model, spans, batch))

    rows = []
    for prompt in prompts:
        sums: dict[str, float] = {}
        for answer in grammar.answers(prompt):
            sums[answer.label] = sums.get(answer.label, 0.0) + float(next(probabilities))
        sums[OFF_GRAMMAR] = max(0.0, 1.0 - sum(sums.values()))  # rounding alone can make it negative
        rows += [Rate(prompt, label, probability) for label, probability in sums.items()]
    return rows


def _probabilities(model: Any, spans: Sequence[tuple[list[int], list[int]]], batch: int) -> np.ndarray:
    """P(second tokens | first tokens) of each span, float64, in the order given."""
    import numpy as np
    import torch

    model.eval()
    result = np.empty(len(spans))
    order = sorted(range(len(spans)), key=lambda i: len(spans[i][0]) + len(spans[i][1]))  # little padding in a batch
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        longest = max(len(spans[i][0]) + len(spans[i][1]) for i in chosen)
        tokens = torch.zeros(len(chosen), longest, dtype=torch.long)
        given, scored = torch.zeros_like(tokens), torch.zeros_like(tokens)  # 1 where there is a token; 1 where it is scored
        for row, i in enumerate(chosen):
            prompt, answer = spans[i]
            end = len(prompt) + len(answer)
            tokens[row, :end] = torch.tensor(prompt + answer)
            given[row, :end] = 1
            scored[row, len(prompt) : end] = 1
        with torch.inference_mode():
            logits = model(input_ids=tokens.to(model.device), attention_mask=given.to(model.device)).logits[:, :-1]
            targets = tokens[:, 1:, None].to(model.device)
            logs = logits.float().log_softmax(-1).gather(-1, targets).squeeze(-1).double().cpu()
        result[chosen] = (logs * scored[:, 1:]).sum(1).exp().numpy()
    return result
