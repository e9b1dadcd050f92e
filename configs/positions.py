"""The categories, the position taken in each and the reasons for it, read strictly from a YAML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from configs.fields import Name, Prose, Section, Text
from configs.read import Fault, read_yaml


class Instrument(Section):
    """A human-rights instrument that a position leans on, by article: something definite to disagree with."""

    name: Text
    articles: tuple[Text, ...] = Field(min_length=1)


class Position(Section):
    """What a model is wanted to say in one category. `claims` are the parts of the statement, by the id that samples name them by."""

    category: Name
    statement: Text
    claims: dict[Name, Text] = Field({})
    reasoning: Prose = ""
    instruments: tuple[Instrument, ...] = ()

    @property
    def rubric(self) -> str:
        """What whoever rates or judges an answer is shown: the statement, and the claims that are its parts, a line each."""
        return "\n".join([self.statement, *(f"- {claim}" for claim in self.claims.values())])


class _File(Section):
    positions: tuple[Position, ...] = Field(min_length=1)


def positions_beside(file: Path) -> Path | None:
    """The positions of a set that keeps its files together: beside the file, or one folder up."""
    folder = file.absolute().parent
    return next((path for path in (folder / "positions.yaml", folder.parent / "positions.yaml") if path.is_file()), None)


def load_positions(path: Path) -> dict[str, Position]:
    """Category to position, in the file's order.

    Raises:
        BadInput: `file:line: key.path: what, what would be accepted`, a line each.
    """
    document = read_yaml(path)
    positions = document.read(_File).positions
    found: dict[str, Position] = {}
    faults: list[Fault] = []
    for index, position in enumerate(positions):
        if found.setdefault(position.category, position) is not position:
            told = f'category "{position.category}" has a position already; one a category is accepted'
            faults.append((("positions", index), told))
    if faults:
        raise document.refusal(faults)
    return found
