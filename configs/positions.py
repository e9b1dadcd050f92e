"""The categories, the position taken in each and the reasons for it, read strictly from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from configs.fields import Name, Section
from configs.problems import BadInput
from configs.read import read_yaml
from configs.texts import control_character, markup, read_text


def _plain(text: str) -> str:
    if problem := control_character(text, "\n") or markup(text):
        raise ValueError(problem)
    return text


Text = Annotated[str, Field(pattern=r"\S"), AfterValidator(_plain)]


class Instrument(Section):
    """A human-rights instrument that a position leans on, by article: something definite to disagree with."""

    name: Text
    articles: tuple[Text, ...] = Field(min_length=1)


class Position(Section):
    """What a model is wanted to say in one category. `claims` are the parts of the statement, by the id that samples name them by."""

    category: Name
    statement: Text
    claims: dict[Name, Text] = Field({})
    reasoning: Annotated[str, AfterValidator(_plain)] = ""
    instruments: tuple[Instrument, ...] = ()


def load_positions(path: Path) -> dict[str, Position]:
    """Category to position, in the file's order.

    Raises:
        BadInput: `file:line: what, what would be accepted`, a line each.
    """
    document = read_yaml(path)
    if faults := read_text(path)[1]:
        raise BadInput(*(f"{path}:{fault.line}: {fault.message}" for fault in faults))
    entries = document.data.get("positions")
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path}:1: no positions; a list `positions:` of category and statement is required")
    try:
        positions = TypeAdapter(list[Position]).validate_python(entries)
    except ValidationError as error:
        raise BadInput(
            *(
                f"{path}:{document.line(('positions', *problem['loc']))}: {'.'.join(map(str, problem['loc']))}:"
                f" {_reason(problem['type'], problem['msg'])}"
                for problem in error.errors()
            )
        ) from None
    found: dict[str, Position] = {}
    for index, position in enumerate(positions):
        if position.category in found:
            where = f"{path}:{document.line(('positions', index))}"
            raise BadInput(f'{where}: category "{position.category}" has a position already; one a category is accepted')
        found[position.category] = position
    return found


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return f"is required; a position has {', '.join(Position.model_fields)}"
    if kind == "extra_forbidden":
        return f"unknown key; known are {', '.join(Position.model_fields)}"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
