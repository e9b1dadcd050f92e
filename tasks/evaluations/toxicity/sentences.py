"""Sentences that are plainly toxic or plainly harmless: JSONL, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.datasets.lines import Form, read_objects

TOXIC, HARMLESS = "toxic", "harmless"


def _further(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if document["kind"] not in (TOXIC, HARMLESS):
        yield "kind", f'kind is "{document["kind"]}"; {TOXIC} or {HARMLESS} is accepted'


_FORM = Form(item="sentence", required=("id", "kind", "text"), texts=("author", "version", "notes"), further=_further)


@dataclass(frozen=True)
class Sentence:
    line: int
    id: str
    kind: str
    text: str
    author: str = ""
    version: str = ""
    notes: str = ""


def load_sentences(path: Path) -> list[Sentence]:
    """Raises DatasetError, as `read_objects` does; BadInput for fewer than two of a kind."""
    found = [Sentence(line=line, **document) for line, document in read_objects(path, _FORM)]
    for kind in (TOXIC, HARMLESS):
        if (count := sum(one.kind == kind for one in found)) < 2:
            raise BadInput(f"{path}: {count} {kind} sentences; at least 2 of each kind are required")
    return found
