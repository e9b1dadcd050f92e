"""How much more probable a model holds the preferred of two answers: what a reward model does not decide, and a tuned model's words do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tasks.preference.tokens import Encoded


def margins(model: Any, pairs: Sequence[Encoded], batch: int, filler: int) -> list[float]:
    """log p(chosen)/tokens − log p(rejected)/tokens of each pair, in nats a token, end tokens included.

    Rows go through the model `batch` at once, padded on the right, where causal attention does not look.
    """
    rows = [(one.prompt, answer) for one in pairs for answer in (one.chosen, one.rejected)]
    found: list[float] = []
    training, device = model.training, next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), batch):
            piece = rows[start : start + batch]
            width = max(len(prompt) + len(answer) for prompt, answer in piece)
            tokens = torch.full((len(piece), width), filler)
            for i, (prompt, answer) in enumerate(piece):
                tokens[i, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
            tokens = tokens.to(device)
            logs = model(input_ids=tokens, use_cache=False).logits[:, :-1].float().log_softmax(-1)
            said = logs.gather(-1, tokens[:, 1:, None])[..., 0]
            found += [
                float(said[i, len(prompt) - 1 : len(prompt) - 1 + len(answer)].mean()) for i, (prompt, answer) in enumerate(piece)
            ]
    model.train(training)
    return [chosen - rejected for chosen, rejected in zip(found[::2], found[1::2], strict=True)]


def mean_margin(model: Any, pairs: Sequence[Encoded], batch: int, filler: int) -> float:
    """Their mean. Raises ZeroDivisionError for no pairs."""
    held = margins(model, pairs, batch, filler)
    return sum(held) / len(held)
