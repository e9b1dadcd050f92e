"""How long a text a scorer can read."""

from __future__ import annotations

from typing import Any


def set_window(model: Any, tokenizer: Any) -> None:
    """Set the tokenizer's `model_max_length` to what both it and the model can take, so that truncation keeps texts within it.

    A tokenizer without a limit of its own would hand the model more positions than it has. RoBERTa and its kin number positions from
    behind the padding token's, so of 514 they can use 512; their table of positions shows it by a padding index. Where neither sets a
    limit (relative positions), none is set, and no text is cut.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or -1
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    if positions > 0:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
