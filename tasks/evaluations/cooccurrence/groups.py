"""Where the words occur that stand for social groups. The words themselves are data: a YAML file, read by `word_file`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.words import composed, folded, runs, standing
from tasks.evaluations.cooccurrence.word_file import group_words


class Axis:
    """One axis (gender, race, …): its groups, each with its list of words or phrases."""

    def __init__(self, name: str, groups: Mapping[str, Sequence[str]]) -> None:
        """groups: what `word_file` accepts."""
        self.name = name
        self.words = {group: tuple(map(folded, words)) for group, words in groups.items()}
        self._group_of = {word: index for index, words in enumerate(self.words.values()) for word in words}

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self.words)

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Number of words of each group (group,)."""
        return np.array([len(words) for words in self.words.values()], dtype=float)

    def mentions(self, text: str) -> NDArray[np.int32]:
        """How often the words of each group occur in a text (group,); the longest phrase wins where several fit."""
        counts = np.zeros(len(self.words), dtype=np.int32)
        for match in self._lower.finditer(folded(text)):
            counts[self._group_of[match[0]]] += 1
        return counts

    @cached_property
    def openings(self) -> frozenset[str]:
        """The words by which phrases of the lists begin. A text without any of them mentions groups word by word."""
        return frozenset(part for word in self._group_of if (part := runs(word)[0]) != word)

    def blanked(self, text: str) -> str:
        """What prompts share whichever groups of this axis they name: the text with every word of the lists replaced by `{}`."""
        return self._pattern.sub("{}", composed(text))

    def template(self, text: str, group: str) -> str:
        """What prompts of different groups share: the text with the first word of its group replaced by `{}`.

        Raises:
            ValueError: the axis has no such group, or the text names none of its words.
        """
        if group not in self.words:
            raise ValueError(f'axis {self.name} has no group "{group}"; groups: {", ".join(self.groups)}')
        template, found = standing(self.words[group], ignore_case=True).subn("{}", composed(text), count=1)
        if not found:
            raise ValueError(
                f'prompt "{text}" names no word of group {group}; one of these is required: {", ".join(self.words[group])}'
            )
        return template

    @cached_property
    def _pattern(self) -> Any:
        return standing(self._group_of, ignore_case=True)

    @cached_property
    def _lower(self) -> Any:
        """For texts that are folded already."""
        return standing(self._group_of)


def load_axes(path: Path, wanted: Sequence[str]) -> dict[str, Axis]:
    """The wanted axes of a file of group words. Raises BadInput, as `word_file.wanted_entries` does."""
    return {name: Axis(name, groups) for name, groups in group_words(path, wanted).items()}
