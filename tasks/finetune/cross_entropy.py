"""The weighted cross-entropy of many tokens over a large vocabulary, a few tokens at once.

In one piece log-probabilities and their gradient stand beside the logits in fp32, tokens × vocabulary each, and are most of what a step holds. The
gradient takes the logits' own place: who needs them afterwards (an architecture whose last operation is not linear) is told so by autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

AT_ONCE = 64  # tokens


class WeightedCrossEntropy(torch.autograd.Function):
    """Σ weight · (ln Σ exp(logits) − logit of the target): [tokens, vocabulary], [tokens] and [tokens] to a scalar in fp32, in nats."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        totals = torch.empty(len(logits), device=logits.device)
        chosen = torch.empty_like(totals)
        for some in _pieces(len(logits)):
            part = logits[some].float()
            totals[some] = part.logsumexp(-1)
            chosen[some] = part.gather(1, targets[some, None])[:, 0]
        ctx.save_for_backward(logits, targets, weights, totals)
        return ((totals - chosen) * weights).sum()

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, targets, weights, totals = ctx.saved_tensors
        weights = given * weights
        for some in _pieces(len(logits)):
            part = (logits[some].float() - totals[some, None]).exp_().mul_(weights[some, None])
            logits[some] = part.scatter_add_(1, targets[some, None], -weights[some, None])
        return logits, None, None


def _pieces(tokens: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, tokens, AT_ONCE))
