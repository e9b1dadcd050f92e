"""Sensitive attributes: lists of words that may stand for one another, and texts in which one stands in for another.

Also keeps what is evaluated out of what is tuned on: no text may hold a prompt of a suite, whichever value stands in it. Knows texts;
nothing of tokens or models, so that it can be asked before any stage starts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, RootModel

from configs.fields import Line, Name
from configs.shipped import CONFIGS
from configs.suites import Suite
from configs.word_lists import wanted_entries
from configs.words import composed, spaced, standing

LISTS = CONFIGS / "words" / "attributes.yaml"  # those that are shipped
ANY = "anyvalue"  # stands for whatever value stands in a text: a word for `spaced`, and none that people write

Values = Annotated[tuple[Annotated[Line, AfterValidator(composed)], ...], Field(min_length=2)]


class AttributeLists(RootModel[dict[Name, Values]]):
    """attribute → its values. They must fit into the same sentences: one article, one pronoun."""


@dataclass(frozen=True)
class Attributes:
    """The values of each attribute: words or phrases, found where they stand as such, in the case that they are written in."""

    lists: tuple[tuple[str, ...], ...]

    def standing_in(self, texts: Sequence[str]) -> list[str]:
        """The values that stand in these texts, each once, in order."""
        return list(dict.fromkeys(found for text in texts for found in self._pattern.findall(text)))

    def exchanged(self, texts: Sequence[str], draw: random.Random) -> tuple[str, str, tuple[str, ...]] | None:
        """One of the values that stand there, another of its list, both drawn, and the texts with it wherever the first one stands; None where
        no value does."""
        choices = [
            (value, other)
            for value in self.standing_in(texts)
            for values in self.lists
            if value in values
            for other in values
            if other != value
        ]
        if not choices:
            return None
        value, other = draw.choice(choices)
        return (
            value,
            other,
            tuple(self._pattern.sub(lambda found: other if found[0] == value else found[0], text) for text in texts),
        )

    @cached_property
    def _pattern(self) -> Any:
        return standing({value for values in self.lists for value in values})


def load_attributes(path: Path, wanted: Sequence[str]) -> Attributes:
    """The wanted lists of a file. Raises BadInput, as `wanted_entries` does; also for a list of one value."""
    return Attributes(tuple(wanted_entries(path, AttributeLists, wanted, "attribute").values()))


def leaked(
    texts: Iterable[tuple[str, str]], suites: Iterable[Suite], attributes: Attributes | None = None
) -> Iterator[tuple[str, str]]:
    """Which of these (name, text) hold a prompt, with the prompt's id: the first of each text.

    Compared are words, case and punctuation aside, with every value of the attributes and of the suites' axes taken for the same: a
    text does not differ from a prompt that asks about somebody else.
    """
    suites = list(suites)
    values = {prompt.word or prompt.group for suite in suites for prompt in suite.prompts if prompt.axis}
    values |= {value for values_of in attributes.lists for value in values_of} if attributes else set()
    pattern = standing(map(composed, values), ignore_case=True) if values else None

    def alike(text: str) -> str:
        return f" {spaced(pattern.sub(ANY, composed(text)) if pattern else text)} "

    prompts = {alike(prompt.text): prompt.id for suite in suites for prompt in suite.prompts}
    prompts.pop(f" {ANY} ", None)  # a value alone is in every text that is meant here
    for name, text in texts:
        said = alike(text)
        if held := next((identifier for prompt, identifier in prompts.items() if prompt in said), None):
            yield name, held
