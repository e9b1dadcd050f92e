"""Lists of target words (adjectives, professions, …), whose company is looked at. The words are data: a YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tasks.evaluations.cooccurrence.word_file import wanted_entries


def load_targets(path: Path, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The wanted lists of a target file, a mapping name → list of words, with case folded.

    Raises:
        ValueError: naming the file: a list is not there, is asked for twice or is empty, or a target stands
        in it twice or is more than one word.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, listed in wanted_entries(path, wanted, "list", "target words", "name → list of words"):
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"{path}: list {name}: a list of at least one word is required")
        words = tuple(str(word).casefold() for word in listed)
        for index, word in enumerate(words):
            if not re.fullmatch(r"\w+", word):
                raise ValueError(f'{path}: list {name}: "{word}" is not one word; letters and digits only are accepted')
            if word in words[:index]:
                raise ValueError(f'{path}: list {name}: "{word}" stands twice; once is accepted')
        found[name] = words
    return found
