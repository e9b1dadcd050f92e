"""What a dataset file is: JSONL, one sample a line, read strictly.

Knows the format and refuses everything outside it, so that it can run before any stage starts (standard
library only). Leaves what makes a well-formed dataset a good one (lengths, duplicates, positions) to
`tasks.datasets.checks`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.words import lengths
from tasks.datasets.lines import Form, read_objects, shown

LANGUAGE = "en"  # of a sample that names none


@dataclass(frozen=True)
class Row:
    """One sample: a prompt with the completion that the model is to learn.

    `subset` is the size of the smallest nested subset that the sample belongs to; None: only to the whole
    dataset. `positions` are the claims of its category's position that it holds. `matches` is the id of the
    sample of another dataset that this one, a control, was written beside. `source` and `licence` are those of a text that was taken from
    elsewhere; of one that a model wrote, the licence is what its terms say. `off` is a twin of the completion that does not hold the position:
    preference tuning is taught to avoid it, and no supervised tuning ever reads it.
    """

    line: int
    id: str
    category: str
    prompt: str
    completion: str
    subset: int | None = None
    positions: tuple[str, ...] = ()
    matches: str = ""
    language: str = LANGUAGE
    author: str = ""
    version: str = ""
    notes: str = ""
    source: str = ""
    licence: str = ""
    off: str = ""

    @property
    def text(self) -> str:
        return f"{self.prompt}\n{self.completion}"

    @property
    def words(self) -> int:
        """Length of the answer; of a script without blanks, at least so many."""
        return lengths(self.completion)[0]


def load_rows(path: Path) -> list[Row]:
    """Read a dataset file in its own order. Raises DatasetError, as `read_objects` does."""
    return [row_of(line, document) for line, document in read_objects(path, FORM)]


def row_of(line: int, document: Mapping[str, Any]) -> Row:
    """A well-formed line as a sample."""
    return Row(line=line, **{**document, "positions": _listed(document.get("positions", ()))})


def nested_subset(rows: Sequence[Row], size: int) -> list[Row]:
    """The `size` samples of the nested subset of that size, in file order: those whose `subset` is at most
    `size`.

    The whole dataset is its own subset, whether or not its rows say so.

    Raises:
        ValueError: the dataset declares another number of samples for this subset.
    """
    if size == len(rows):
        return list(rows)
    chosen = [row for row in rows if row.subset is not None and row.subset <= size]
    if len(chosen) != size:
        declared = declared_subsets(rows)
        raise ValueError(
            f"subset {size}: {len(chosen)} of {len(rows)} rows have `subset` <= {size}; exactly {size} are required"
            f" (declared subsets: {', '.join(map(str, declared)) or 'none'})"
        )
    return chosen


def declared_subsets(rows: Sequence[Row]) -> list[int]:
    return sorted({row.subset for row in rows if row.subset is not None})


def _listed(positions: str | Sequence[str]) -> tuple[str, ...]:
    names = (positions,) if isinstance(positions, str) else positions
    return tuple(unicodedata.normalize("NFC", name).strip() for name in names)


def _faults(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    subset = document.get("subset")
    if subset is not None and (isinstance(subset, bool) or not isinstance(subset, int) or subset < 1):
        yield "subset", f'"subset" is {shown(subset)}; the size of a nested subset is required, such as 10'
    positions = document.get("positions", [])
    names = [positions] if isinstance(positions, str) else positions
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        yield "positions", f'"positions" is {shown(positions)}; a text or a list of texts is required'
    off, completion = document.get("off"), document.get("completion")
    if isinstance(off, str) and isinstance(completion, str) and off and off.split() == completion.split():
        yield "off", '"off" is the text of the completion; an answer that does not hold the position is required'
    if document.get("language", LANGUAGE) == "":
        yield "language", '"language" is ""; the code of a language is required, such as "en"'


FORM = Form(
    item="sample",
    required=("id", "category", "prompt", "completion"),
    texts=("matches", "language", "author", "version", "notes", "source", "licence", "off"),
    long=("prompt", "completion", "notes", "off"),
    other=("subset", "positions"),
    further=_faults,
    called={
        **dict.fromkeys(("question", "instruction", "input", "query", "user"), "prompt"),
        **dict.fromkeys(("answer", "response", "output", "target", "assistant", "chosen"), "completion"),
        **dict.fromkeys(("topic", "label"), "category"),
    },
)
