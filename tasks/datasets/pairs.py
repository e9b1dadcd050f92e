"""Pairs of answers to one question, of which one holds a position: JSONL, one pair a line, that no model is tuned on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.datasets.lines import Form, read_objects


def _further(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(document.get("reported", True), bool):
        yield "reported", f"reported is {document['reported']!r}; true or false is accepted"
    if document["on"] == document["off"]:
        yield "off", "off is the text of on; two answers are required"


_FORM = Form(
    item="pair",
    required=("id", "category", "subject", "question", "on", "off"),
    texts=("author", "version", "notes"),
    long=("question", "on", "off", "notes"),
    other=("reported",),
    further=_further,
)


@dataclass(frozen=True)
class Pair:
    """`on` holds the position of the category, `off` does not; both answer the question. A pair that is not reported is for choosing
    settings: a result on it is none."""

    line: int
    id: str
    category: str
    subject: str
    question: str
    on: str
    off: str
    reported: bool = True
    author: str = ""
    version: str = ""
    notes: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether the answer that holds the position begins with a yes; None where it begins with neither yes nor no."""
        return {"yes": True, "no": False}.get(self.on.split()[0].strip(",.!:;").lower())


def load_pairs(path: Path) -> list[Pair]:
    """Read a file of pairs in its own order. Raises DatasetError, as `read_objects` does."""
    return [Pair(line=line, **document) for line, document in read_objects(path, _FORM)]


def load_reported(path: Path) -> list[Pair]:
    """The pairs of a file that a report may be of. Raises DatasetError, and BadInput for a file that holds others."""
    pairs = load_pairs(path)
    if kept := next((pair for pair in pairs if not pair.reported), None):
        raise BadInput(
            f"{path}:{kept.line}: pair {kept.id} is marked `reported: false`; it is for choosing settings, and pairs that are reported on are "
            "required"
        )
    return pairs


def load_unreported(path: Path) -> list[Pair]:
    """The pairs of a file that settings may be chosen by. Raises DatasetError, and BadInput for a file that holds others."""
    pairs = load_pairs(path)
    if reported := next((pair for pair in pairs if pair.reported), None):
        raise BadInput(
            f"{path}:{reported.line}: pair {reported.id} is reported on; an experiment that is `reported: false` chooses data and settings, and "
            "pairs marked `reported: false` are required"
        )
    return pairs
