"""Drafts of samples: what is to be written or checked before it may become part of a dataset. JSONL, one draft a line, read strictly.

Knows the file, and when a draft is settled. Leaves what annotators say of it to `annotations`, and what a sample is to `tasks.datasets.rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tasks.contract import jsonl_text, replace_file
from tasks.datasets.lines import Form, read_objects, shown

OPEN: Final = ""  # nobody has decided yet
ACCEPTED: Final = "accepted"
HELD: Final = "held"  # annotators found something, or disagree: `why` says what
REJECTED: Final = "rejected"
DECISIONS = (OPEN, ACCEPTED, HELD, REJECTED)


@dataclass(frozen=True)
class Draft:
    """One draft. An empty `completion` is still to be written.

    gap: what it is drafted for, in words. positions: the claims that it is to hold. author: who wrote it, or the model that did.
    licence: of a text taken from elsewhere; of a model's, what its terms say of training on it.
    annotators: who looked at it. decision, why: what came of it. approved: who answers for that.
    """

    id: str
    category: str
    prompt: str
    completion: str = ""
    positions: tuple[str, ...] = ()
    gap: str = ""
    author: str = ""
    licence: str = ""
    annotators: tuple[str, ...] = ()
    decision: str = OPEN
    why: str = ""
    approved: str = ""
    notes: str = ""


def _faults(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _LISTS:
        value = document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
            yield key, f'"{key}" is {shown(value)}; a list of texts is required'
    if document.get("decision", OPEN) not in DECISIONS:
        yield "decision", f'"decision" is {shown(document["decision"])}; {", ".join(DECISIONS[1:])}, or nothing yet, are accepted'


_LISTS = ("positions", "annotators")
_FORM = Form(
    item="draft",
    required=("id", "category", "prompt"),
    texts=("completion", "gap", "author", "licence", "decision", "why", "approved", "notes"),
    long=("prompt", "completion", "notes"),
    other=_LISTS,
    further=_faults,
)


def load_drafts(path: Path) -> list[Draft]:
    """In the order of the file. Raises DatasetError, as `read_objects` does."""
    return [
        Draft(**document | {key: tuple(document.get(key, ())) for key in _LISTS}) for _, document in read_objects(path, _FORM)
    ]


def write_drafts(path: Path, drafts: Sequence[Draft]) -> None:
    """What is empty is left out, but for the completion, which is to be written. Whole or not at all: people write in it.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    rows = [{key: value for key, value in asdict(draft).items() if value or key == "completion"} for draft in drafts]
    replace_file(path, jsonl_text(rows))
