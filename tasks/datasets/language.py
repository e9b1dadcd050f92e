"""What has to be known of a language to measure texts in it: a few words, and how to find a word's stem. The words are data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import yaml

from configs.problems import BadInput, accepted
from configs.shipped import CONFIGS

LANGUAGES = CONFIGS / "words" / "language.yaml"


@dataclass(frozen=True)
class Language:
    """Word lists of one language, lower case."""

    question_words: frozenset[str]
    first_person: frozenset[str]
    second_person: frozenset[str]


def load_language(name: str) -> Language:
    """Raises BadInput for a language that has no word lists."""
    known = yaml.safe_load(LANGUAGES.read_text(encoding="utf-8"))
    if name not in known:
        raise BadInput(f'language "{name}" has no word lists in {LANGUAGES}; {accepted(name, list(known))}')
    return Language(**{key: frozenset(words) for key, words in known[name].items() if key != "stemmer"})


def stemmer(name: str) -> Callable[[str], str]:
    """A function from a lower-case word to its stem; of a language without a stemmer here, to itself."""
    from nltk.stem.snowball import SnowballStemmer  # takes half a second to import

    known = yaml.safe_load(LANGUAGES.read_text(encoding="utf-8"))
    return SnowballStemmer(known[name]["stemmer"]).stem if name in known else str  # type: ignore[no-any-return]
