"""What is minimised: the weighted likelihood of a sample's tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def weighted_loss(logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum of weights times cross-entropies: [rows, width, vocabulary], [rows, width] and [rows, width] to a scalar, in nats."""
    import torch

    losses = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum()


def piece_loss(model: Any, piece: Mapping[str, torch.Tensor], loss: Callable[[Any, Any, Any], Any]) -> torch.Tensor:
    """The loss of a piece of `Batches`, a scalar. Logits are made from the first counted token on: before it nothing is learned from them, and of
    a vocabulary of 50,000 they are most of what a step holds."""
    tokens, weights = piece["tokens"], piece["weights"]
    first = int(weights[:, 1:].any(dim=0).nonzero()[0])  # which predicts the first counted token
    kept = tokens.shape[1] - first
    # An architecture that cannot make fewer makes all (xLSTM). No name holds them, rows × tokens × vocabulary, while the gradient is taken.
    return loss(
        model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits[:, -kept:], tokens[:, first:], weights[:, first:]
    )
