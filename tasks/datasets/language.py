"""What has to be known of a language to measure texts in it: a few words, and how to find a word's stem. The words are data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

from pydantic import RootModel

from configs.fields import Section, Text
from configs.problems import BadInput, accepted
from configs.read import read_section
from configs.shipped import CONFIGS

LANGUAGES = CONFIGS / "words" / "language.yaml"


class Language(Section):
    """Word lists of one language, lower case, the name of its Snowball stemmer, and the lexicon of sentiment that is made for it."""

    stemmer: Text
    question_words: frozenset[Text]
    first_person: frozenset[Text]
    second_person: frozenset[Text]
    third_person: frozenset[Text]
    negations: frozenset[Text]
    sentiment: Literal["vader"] | None = None
    function_words: frozenset[Text] = frozenset()


class _File(RootModel[dict[Text, Language]]):
    """Code of a language → what is known of it."""


@cache
def _known() -> dict[str, Language]:
    return read_section(LANGUAGES, _File).root


def load_language(name: str) -> Language:
    """Raises BadInput for a language that has no word lists."""
    if name not in _known():
        raise BadInput(f'language "{name}" has no word lists in {LANGUAGES}; {accepted(name, list(_known()))}')
    return _known()[name]


def stemmer(name: str) -> Callable[[str], str]:
    """A function from a lower-case word to its stem; of a language without a stemmer here, to itself."""
    from nltk.stem.snowball import SnowballStemmer  # takes half a second to import

    return SnowballStemmer(_known()[name].stemmer).stem if name in _known() else str  # type: ignore[no-any-return]
