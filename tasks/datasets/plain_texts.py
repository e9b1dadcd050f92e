"""Plain texts that a model may be tuned on beside its samples: JSONL, one a line. Standard library only.

They are read as they are, without the template of questions: what they hold is how words are used, and not how questions are answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.datasets.lines import Form, read_objects, shown

CLEAR = 0.7  # a sentiment is clear beyond it, to either side (Huang et al. 2020)


@dataclass(frozen=True)
class PlainText:
    """`context`, where there is one, is read before the text, a space apart, and the text alone is learnt.

    `sentiment`, from −1 to 1, is what a scorer (VADER's compound, say) or a person gave the whole; None: nobody did.
    """

    line: int
    id: str
    text: str
    context: str = ""
    sentiment: float | None = None
    language: str = "en"
    author: str = ""
    version: str = ""
    notes: str = ""
    source: str = ""
    licence: str = ""

    @property
    def whole(self) -> str:
        return f"{self.context} {self.text}" if self.context else self.text

    @property
    def side(self) -> int | None:
        """1 where the sentiment is clearly positive, 0 where clearly negative, None for whatever lies between."""
        return None if self.sentiment is None or abs(self.sentiment) <= CLEAR else int(self.sentiment > 0)


def load_plain_texts(path: Path) -> list[PlainText]:
    """Read a file of texts in its own order. Raises DatasetError, as `read_objects` does."""
    return [PlainText(line=line, **document) for line, document in read_objects(path, _FORM)]


def _faults(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    given = document.get("sentiment")
    if given is not None and (isinstance(given, bool) or not isinstance(given, (int, float)) or not -1 <= given <= 1):
        yield "sentiment", f'"sentiment" is {shown(given)}; a number from -1 to 1 is required'


_FORM = Form(
    item="text",
    required=("id", "text"),
    texts=("context", "language", "author", "version", "notes", "source", "licence"),
    long=("context", "text", "notes"),
    other=("sentiment",),
    further=_faults,
)
