"""What came back, whatever form it has: which format a file is of is told by what it holds, not by its name alone."""

from __future__ import annotations

from pathlib import Path

from configs.problems import BadInput
from tasks.curation.annotations import Annotation
from tasks.curation.formats import argilla, label_studio, table
from tasks.forms.answers import rows_of
from tasks.forms.argilla import has_responses
from tasks.forms.label_studio import MARK

TABLES = {".csv", ".tsv", ".txt"}
ACCEPTED = (
    "a table that went out (.csv, .xlsx), an export of Label Studio (.json, .csv), or records.json of Argilla or its folder"
)


def read_any(path: Path) -> list[Annotation]:
    """Raises BadInput: a line for everything in the file that is wrong, or that it is of no form that goes out."""
    suffix = path.suffix.casefold()
    if not path.exists():
        raise BadInput(f"{path}: no such file; {ACCEPTED} is required")
    if path.is_dir():
        return argilla.read(path)
    if suffix == ".xlsx":
        return table.read(path)
    if suffix not in {".json", *TABLES}:
        raise BadInput(f"{path}: of no form that is read; {ACCEPTED} is required")
    rows = [row for _, row in rows_of(path)]
    if suffix == ".json":
        return argilla.read(path) if has_responses(rows) else label_studio.read(path)
    return label_studio.read(path) if any(MARK in row for row in rows) else table.read(path)
