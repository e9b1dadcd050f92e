"""Lists of target words (adjectives, professions, …), whose company is looked at. The words are data: a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, RootModel

from configs.fields import Text
from configs.word_lists import wanted_entries
from configs.words import folded, runs


def _single(word: str) -> str:
    if "".join(runs(word)) != word:
        raise ValueError(f'"{word}" is not one word; letters and digits only are accepted')
    return folded(word)


Targets = Annotated[tuple[Annotated[Text, AfterValidator(_single)], ...], Field(min_length=1)]


class TargetWords(RootModel[dict[Text, Targets]]):
    """name → list of single words, with case folded."""


def load_targets(path: Path, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The wanted lists of a target file. Raises BadInput, as `wanted_entries` does."""
    return wanted_entries(path, TargetWords, wanted, "list")
