"""Lists of target words (adjectives, professions, …), whose company is looked at. The words are data: a YAML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from configs.problems import accepted


def load_targets(path: Path, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The wanted lists of a target file, a mapping name → list of words, with case folded.

    Raises:
        ValueError: naming the file: a list is not there, is asked for twice or is empty, or a target stands
        in it twice or is more than one word.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}; a YAML mapping of target words is required") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: a mapping name → list of words is required")
    found: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        if name not in document:
            raise ValueError(f"{path}: no list {name}; {accepted(name, list(document))}")
        if name in found:
            raise ValueError(f"{path}: list {name} is asked for twice; once is accepted")
        if not isinstance(document[name], list) or not document[name]:
            raise ValueError(f"{path}: list {name}: a list of at least one word is required")
        words = tuple(str(word).casefold() for word in document[name])
        for index, word in enumerate(words):
            if not re.fullmatch(r"\w+", word):
                raise ValueError(f'{path}: list {name}: "{word}" is not one word; letters and digits only are accepted')
            if word in words[:index]:
                raise ValueError(f'{path}: list {name}: "{word}" stands twice; once is accepted')
        found[name] = words
    return found
