"""What is minimised: the weighted likelihood of a sample's tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def weighted_loss(logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum of weights times cross-entropies: [rows, width, vocabulary], [rows, width] and [rows, width] to a scalar, in nats."""
    from tasks.finetune.cross_entropy import WeightedCrossEntropy

    # Of the last token of each row nothing is asked: it stands among the others with a weight of 0, since a slice of the logits would be copied.
    ahead = weights.roll(-1, dims=1)
    ahead[:, -1] = 0.0
    total: torch.Tensor = WeightedCrossEntropy.apply(logits.flatten(0, 1), tokens.roll(-1, dims=1).flatten(), ahead.flatten())
    return total


def piece_loss(model: Any, piece: Mapping[str, torch.Tensor], loss: Callable[[Any, Any, Any], Any]) -> torch.Tensor:
    """The loss of a piece of `Batches`, a scalar. Logits are made from the first counted token on: before it nothing is learned from them, and of
    a vocabulary of 50,000 they are most of what a step holds."""
    from tasks.finetune.batches import even

    tokens, weights = piece["tokens"], piece["weights"]
    first = int(weights[:, 1:].any(dim=0).int().argmax())  # which predicts the first counted token
    kept = min(even(tokens.shape[1] - first), tokens.shape[1])
    first = tokens.shape[1] - kept
    # An architecture that cannot make fewer makes all (xLSTM). No name holds them, rows × tokens × vocabulary, while the gradient is taken.
    return loss(
        model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits[:, -kept:], tokens[:, first:], weights[:, first:]
    )
