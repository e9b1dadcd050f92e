"""Plain prose that no model is tuned on: JSONL, one paragraph a line, for perplexity on held-out text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.datasets.lines import Form, read_objects

_FORM = Form(
    item="paragraph",
    required=("id", "topic", "text"),
    texts=("context", "language", "author", "version", "notes"),
    long=("context", "text", "notes"),
)


@dataclass(frozen=True)
class Paragraph:
    """`text` is what is scored; `context`, where there is one, is read before it, a space apart, and is not."""

    line: int
    id: str
    topic: str
    text: str
    context: str = ""
    language: str = "en"
    author: str = ""
    version: str = ""
    notes: str = ""


def load_paragraphs(path: Path) -> list[Paragraph]:
    """Read a prose file in its own order. Raises DatasetError, as `read_objects` does."""
    return [Paragraph(line=line, **document) for line, document in read_objects(path, _FORM)]
