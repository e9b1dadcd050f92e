"""The words of social groups, by axis: a YAML file.

Light: the declaration of the stage reads it before anything runs. Leaves counting to `groups`, and lists of target words to `targets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, RootModel

from configs.fields import Text
from configs.word_lists import wanted_entries
from configs.words import folded, runs


def _counted(word: str) -> str:
    held = runs(word)
    if not held or not (word.startswith(held[0]) and word.endswith(held[-1])):
        raise ValueError(f'"{word}" is no word; one that begins and ends with a letter or digit is required')
    return folded(word)


Words = Annotated[tuple[Annotated[Text, AfterValidator(_counted)], ...], Field(min_length=1)]
Groups = Annotated[dict[Text, Words], Field(min_length=2)]


class GroupWords(RootModel[dict[Text, Groups]]):
    """axis → group → its words or phrases, with case folded. A word stands for one group of an axis, once."""


def group_words(path: Path, wanted: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """The wanted axes of a file of group words. Raises BadInput, as `wanted_entries` does."""
    return wanted_entries(path, GroupWords, wanted, "axis")
