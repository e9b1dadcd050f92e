"""What the terms of a text that is taken from elsewhere forbid, as the shipped list has it: of a model that wrote it, and of a licence."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pydantic import Field

from configs.fields import Count, Section, Text
from configs.read import read_section

TERMS = Path(__file__).parent / "terms.yaml"


class Generator(Section):
    """`named`: words of a model's name or address, in lower case. `forbids`: what its output may not be used for, as of `year`."""

    named: tuple[Text, ...] = Field(min_length=1)
    who: Text
    forbids: Text
    year: Count

    @property
    def said(self) -> str:
        return f"{self.who} (as of {self.year}): forbids {self.forbids}"


class Licence(Section):
    named: tuple[Text, ...] = Field(min_length=1)
    forbids: Text


class _File(Section):
    generators: tuple[Generator, ...]
    licences: tuple[Licence, ...]


@cache
def _known() -> _File:
    return read_section(TERMS, _File)


def of_generator(*names: str) -> str:
    """What is known of the terms of a model, by its name and the address that it answers at; empty where nothing is."""
    told = [one.said for one in _known().generators if any(_stands(word, name) for word in one.named for name in names)]
    return "; ".join(told)


def forbidden(licence: str) -> str:
    """What a licence, or the terms that stand in its place, forbid; empty where nothing is known to be."""
    told = [one.forbids for one in _known().licences if any(_stands(word, licence) for word in one.named)]
    _, found, of_terms = licence.partition(": forbids ")
    return ", ".join([*told, *([of_terms] if found else [])])


def _stands(word: str, name: str) -> bool:
    """Whether a word stands in a name, however its parts are joined: not within another word, and a version may follow it."""
    parts = (r"[^a-z0-9]*".join(map(re.escape, word.split("-"))),)
    return re.search(rf"(?<![a-z0-9]){parts[0]}(?![a-z])", name.casefold()) is not None
