"""YAML files of named entries that hold words, read strictly, and what is wanted of them, found by name.

Leaves the form of an entry, and what its words are for, to whoever reads one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import RootModel

from configs.problems import BadInput, accepted
from configs.read import Fault, Keys, read_yaml

Held = TypeVar("Held")


def wanted_entries(path: Path, form: type[RootModel[dict[str, Held]]], wanted: Sequence[str], kind: str) -> dict[str, Held]:
    """The entries of those names, in their order, of a file of that form. `kind` says in messages what an entry is.

    Raises:
        BadInput: the file breaks its form, or a word stands in an entry twice, with file and line; it has no such entry, or is asked
            for one twice.
    """
    document = read_yaml(path)
    held = document.read(form).root
    if faults := [fault for name, entry in held.items() for fault in _repeated(_words(entry, (name,)))]:
        raise document.refusal(faults)
    problems = [f"{path}: no {kind} {name}; {accepted(name, list(held))}" for name in wanted if name not in held]
    problems += [f"{path}: {kind} {name} is asked for twice; once is accepted" for name, n in Counter(wanted).items() if n > 1]
    if problems:
        raise BadInput(*problems)
    return {name: held[name] for name in wanted}


def _repeated(words: Iterator[tuple[Keys, str]]) -> Iterator[Fault]:
    first: dict[str, Keys] = {}
    for place, word in words:
        if (same := first.setdefault(word, place)) != place:
            yield place, f'"{word}" is {".".join(map(str, same))} over again; once is accepted'


def _words(entry: Any, place: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(entry, str):
        yield place, entry
    else:
        for key, held in entry.items() if isinstance(entry, dict) else enumerate(entry):
            yield from _words(held, (*place, key))
