"""How much more probable a model holds the preferred of two answers: what a reward model does not decide, and a tuned model's words do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_registry.likelihood import log_likelihoods_in_batches
from tasks.finetune.watching import evaluating
from tasks.preference.tokens import Encoded


def margins(model: Any, pairs: Sequence[Encoded], batch: int) -> list[float]:
    """log p(chosen)/tokens − log p(rejected)/tokens of each pair, in nats a token, end tokens included; `batch` answers go through the model at once.

    Raises:
        ValueError: a probability is not a finite number.
    """
    asked = [(one.prompt, answer) for one in pairs for answer in (one.chosen, one.rejected)]
    with evaluating(model):
        logs = log_likelihoods_in_batches(model, asked, batch)
    a_token = [logs[prompt, answer] / len(answer) for prompt, answer in asked]
    return [chosen - rejected for chosen, rejected in zip(a_token[::2], a_token[1::2], strict=True)]
