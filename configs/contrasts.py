"""Which arms are compared with which: a contrast, parsed here and nowhere else, and what a sweep names of them.

Knows the spelling of a contrast and the parts that arms play in a set of them. What is computed of a contrast is the comparison's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

PATTERN = r"^[a-z][a-z0-9_]*-[a-z][a-z0-9_]*$"


def is_shown(p_adjusted: float | None) -> bool:
    """Whether a difference is shown: the test that is adjusted for its family rejects at 5 %. None: it was not tested."""
    return p_adjusted is not None and p_adjusted < 0.05


@dataclass(frozen=True)
class Contrast:
    """The difference treated − reference, by the names of two arms. Written as `treated-reference`: no arm's name holds a hyphen."""

    treated: str
    reference: str

    def __str__(self) -> str:
        return f"{self.treated}-{self.reference}"

    @property
    def arms(self) -> tuple[str, str]:
        return self.treated, self.reference

    @classmethod
    def parse(cls, text: str) -> Contrast:
        """Raises ValueError for what is no contrast."""
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f'"{text}" is no contrast; "treated-reference", two arms joined by one hyphen, is accepted')
        treated, _, reference = text.partition("-")
        return cls(treated, reference)


def _parsed(given: Any) -> Any:
    return Contrast.parse(given) if isinstance(given, str) else given


# as the sections of an experiment hold it
Contrasted = Annotated[
    Contrast, BeforeValidator(_parsed), PlainSerializer(str), WithJsonSchema({"type": "string", "pattern": PATTERN})
]


@dataclass(frozen=True)
class Arms:
    """The arms of a sweep in the experiment's order, and the part that each plays.

    `reference` is what the others are compared with. The `confirmatory` contrasts were named before sampling and are tested as one
    family; the `exploratory` ones are described with their intervals.
    """

    names: tuple[str, ...]
    reference: str
    confirmatory: tuple[Contrast, ...] = ()
    exploratory: tuple[Contrast, ...] = ()

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        return self.confirmatory + self.exploratory

    @cached_property
    def treated(self) -> tuple[str, ...]:
        """The arms that the sweep is about: those of its confirmatory contrasts, or of all where it has none."""
        return tuple(dict.fromkeys(one.treated for one in self.confirmatory or self.exploratory))

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """What treated arms are compared with besides the reference arm."""
        held = (one.reference for one in self.confirmatory)
        return tuple(dict.fromkeys(name for name in held if name != self.reference and name not in self.treated))

    @cached_property
    def leading(self) -> tuple[Contrast, ...]:
        """One contrast a treated arm, the one that the answer begins with: with the reference arm, else the first that was named."""
        named = self.confirmatory or self.exploratory
        first = {one.treated: one for one in reversed(named)}
        first |= {one.treated: one for one in named if one.reference == self.reference}
        return tuple(first[name] for name in self.treated)

    def place(self, name: str | None) -> int:
        """Sorts arms: the reference first, then as the experiment lists them."""
        if name == self.reference:
            return -1
        return self.names.index(name) if name in self.names else len(self.names)


def listed(contrasts: Sequence[Contrast]) -> str:
    return ", ".join(map(str, contrasts))
