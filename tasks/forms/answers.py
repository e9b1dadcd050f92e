"""Answers as people and programs spell them: the rows that hold them, and which spellings are accepted of what.

Leaves files, and where in them an answer stands, to each form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from configs.problems import BadInput
from tasks.datasets.importing import records

SAID = {"yes": True, "y": True, "true": True, "1": True, "no": False, "n": False, "false": False, "0": False}

Value = TypeVar("Value")
Answers = Mapping[str, Any]
Where = Callable[[str], str]  # the place of an answer, by the name of its question


def rows_of(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a table or objects of a list with the line that each ends on, by lower-case names; rows that say nothing are left out.

    Raises BadInput: the file cannot be read, or holds no row, or rows hold more than there are columns.
    """
    held: list[tuple[int, dict[str, Any]]] = []
    beside: list[str] = []
    for line, row in records(path, []):
        if over := "".join(map(text_of, row.get(None, ()))):  # type: ignore[call-overload]
            told = "beside the last column; a text that holds what separates columns stands in quotes"
            beside.append(f"{path}:{line}: {over[:40]!r} stands {told}")
        elif any(text_of(value) for key, value in row.items() if key is not None):
            held.append((line, {named(key): value for key, value in row.items() if named(key)}))
    if beside:
        raise BadInput(*beside)
    if not held:
        raise BadInput(f"{path}: holds no row; a line for each text is required")
    return held


def named(heading: Any) -> str:
    return text_of(heading).casefold().replace(" ", "_")


def require(path: object, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Raises BadInput: a line that names the columns that are missing and those that are there."""
    known = sorted(set(there))
    if missing := [name for name in wanted if name not in known]:
        raise BadInput(f"{path}: has no column {', '.join(missing)}; there are {', '.join(known)}")


def always(place: str) -> Where:
    """The place of every answer, where a form knows no closer one."""
    return lambda _: place


def taken(answers: Answers, asked: str, accept: Callable[[Any], Value], where: Where, wrong: list[str]) -> Value | None:
    """What an answer is accepted as. `wrong` takes a line for one that is not: `accept` raises ValueError that says what would be."""
    try:
        return accept(answers.get(asked))
    except ValueError as required:
        said = text_of(answers[asked])
        wrong.append(f"{where(asked)}: {asked} {said[:40] + '…' * (len(said) > 40)!r}; {required}")
        return None


# ---- what is accepted ------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """As a cell shows it, without blanks around it."""
    return "" if value is None else str(value).replace("\u00a0", " ").strip()


def plain(value: Any) -> str:
    """In lower case, and a number that a spreadsheet made of a whole one as that."""
    return text_of(value).casefold().removesuffix(".0")


def whole(value: Any, least: int, most: int, required: str) -> int | None:
    """4 of 4, `4`, `4.0` and ` 4 `, None of nothing. Raises ValueError, as the others do, that says what is accepted."""
    said = text_of(value)
    if not said:
        return None
    if not re.fullmatch(r"[0-9]{1,6}(\.0+)?", said) or not least <= int(float(said)) <= most:
        raise ValueError(required)
    return int(float(said))


def on_scale(value: Any, scale: Collection[int]) -> int | None:
    return whole(value, min(scale), max(scale), f"a whole number from {min(scale)} to {max(scale)} is accepted")


def yes_or_no(value: Any) -> bool | None:
    said = plain(value)
    if said and said not in SAID:
        raise ValueError(f"yes or no is accepted ({', '.join(SAID)} in any case)")
    return SAID.get(said)


def one_of(value: Any, names: Collection[str]) -> str:
    """In any case; empty of nothing."""
    said = plain(value)
    if said and said not in names:
        raise ValueError(f"{', '.join(names)} are accepted")
    return said
