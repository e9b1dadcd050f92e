"""Preferences in a model's tokens: the same seam between question and answer, the same end, as in supervised tuning and in sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_registry.tokenization import Ids, Tokenization, Turn
from tasks.datasets.preferences import Preference


@dataclass(frozen=True)
class Encoded:
    """`prompt` is what the model reads before either answer; answers have their end token."""

    of: Preference
    prompt: Ids
    chosen: Ids
    rejected: Ids


def encode(preferences: Sequence[Preference], words: Tokenization, turn: Turn) -> list[Encoded]:
    """Raises ValueError, as `Tokenization.sample` does, and names the preference."""
    found = []
    for one in preferences:
        try:
            asked, chosen = words.sample(turn, one.prompt, one.chosen)
            _, rejected = words.sample(turn, one.prompt, one.rejected)
        except ValueError as error:
            raise ValueError(f"preference {one.id}: {error}") from None
        found.append(Encoded(one, asked, chosen, rejected))
    return found
