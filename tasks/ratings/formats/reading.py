"""What came back, whatever form it has: which format a file is of is told by what it holds, not by its name alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from configs.texts import read_text
from tasks.forms.answers import rows_of
from tasks.forms.argilla import has_responses
from tasks.forms.label_studio import MARK
from tasks.ratings.collected import Given
from tasks.ratings.formats import argilla, label_studio, page, potato, served, table

TABLES = {".csv", ".tsv", ".txt", ".jsonl", ".xlsx"}
ACCEPTED = (
    "a page's saved file (.json), what `palms ratings serve` keeps (.sqlite), a sheet (.csv, .xlsx, .jsonl), an export of Label "
    "Studio (.json, .csv), records.json of Argilla, or what Potato keeps or exports (.json, .csv, .tsv, .jsonl)"
)


def read_any(path: Path) -> list[Given]:
    """Raises BadInput: a line for everything in the file that is wrong, or that it is of no form that goes out."""
    if not path.exists():
        raise BadInput(f"{path}: no such file; {ACCEPTED} is required")
    suffix = path.suffix.casefold()
    if path.is_dir():
        return argilla.read(path)
    if suffix == ".json":
        return _of_json(path)
    if suffix == served.SUFFIX:
        return served.read(path)
    if suffix not in TABLES:
        raise BadInput(f"{path}: of no form that is read; {ACCEPTED} is required")
    if suffix == ".xlsx":
        return table.read(path)
    names = {name for _, row in rows_of(path) for name in row}
    if {"instance_id", "user_id"} <= names:
        return potato.read(path)
    return label_studio.read(path) if MARK in names else table.read(path)


def _of_json(path: Path) -> list[Given]:
    try:
        held: Any = json.loads(read_text(path)[0])
    except (OSError, ValueError, RecursionError):
        return page.read(path)  # which says what is wrong with it
    if isinstance(held, list):
        return argilla.read(path) if has_responses(held) else label_studio.read(path)
    return potato.read(path) if isinstance(held, dict) and potato.LABELS in held else page.read(path)
