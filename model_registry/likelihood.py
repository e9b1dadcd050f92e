"""How likely a model holds an answer: the log-likelihood of its tokens behind those of its prompt.

Knows one pass of a causal model over several answers to one prompt. Leaves what becomes of text to `tokenization`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_registry.tokenization import Ids


def log_likelihoods(model: Any, asked: Ids, answered: Sequence[Ids]) -> list[float]:
    """ln P(answer's tokens | prompt's tokens) of each answer, in nats; logits in float32, sums in double precision.

    All answers in one pass, padded on the right, where a model that reads from left to right does not see the padding: no number depends
    on other prompts.

    Raises:
        ValueError: an answer of no tokens, or a result that is not finite.
    """
    import torch

    if not all(answered):
        raise ValueError("an answer has no tokens; at least one is required")
    longest = max(map(len, answered))
    rows = [[*asked, *answer, *[answer[-1]] * (longest - len(answer))] for answer in answered]
    tokens = torch.tensor(rows, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens[:, :-1]).logits[:, len(asked) - 1 :].float()
        aimed = tokens[:, len(asked) :]
        logs = logits.gather(-1, aimed[..., None]).squeeze(-1) - logits.logsumexp(-1)
    found = [float(row[: len(answer)].double().sum()) for row, answer in zip(logs.cpu(), answered, strict=True)]
    if not torch.isfinite(torch.tensor(found)).all():
        raise ValueError("the model's logits are not finite numbers; finite weights and a wide enough precision are required")
    return found
