"""Drafts as tables for spreadsheets: a CSV or Excel file for each annotator, and what they fill in.

Knows columns. Leaves cells, and what spreadsheet programs do to files, to `tasks.forms.sheets`, and what an answer may say to `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from configs.rating import SCALE
from tasks import contract
from tasks.curation import words
from tasks.curation.annotations import TONES, Annotation
from tasks.curation.drafts import Draft
from tasks.curation.formats.answers import (
    CATEGORY,
    CLAIMS,
    COMMENT,
    COMPLETION,
    CORRECTED,
    DRAFT,
    FACTUAL,
    GUIDE,
    POSITION_HELD,
    PROMPT,
    TONE,
    fields,
    guide,
    read_answers,
)
from tasks.forms import sheets
from tasks.forms.answers import named, require, text_of
from tasks.forms.files import written

ANNOTATOR = "annotator"
WIDTHS = {DRAFT: 16, ANNOTATOR: 12, CATEGORY: 20, CLAIMS: 25, PROMPT: 45, COMPLETION: 70}
ANSWERS = {CORRECTED: 70, POSITION_HELD: 13, FACTUAL: 15, TONE: 11, COMMENT: 40}
TAKEN: dict[str, sheets.Rule | None] = {
    CORRECTED: None,
    POSITION_HELD: range(min(SCALE), max(SCALE) + 1),
    FACTUAL: tuple(words.FACTUALS),
    TONE: TONES,
    COMMENT: None,
}
Rows = Sequence[dict[str, str]]


def write_csv(drafts: Sequence[Draft], annotators: Sequence[str], stated: Mapping[str, str], folder: Path) -> list[Path]:
    """`<annotator>.csv` for each, with the mark by which Excel tells UTF-8, and the guidelines. stated: category → its position."""

    def one(path: Path, rows: Rows) -> None:
        contract.write_rows(path, rows, [*WIDTHS, *ANSWERS], mark="always")

    how = (
        "Where a cell, or a line in it, would start with `=`, `+`, `-` or `@`, an apostrophe stands in front, so that no spreadsheet runs "
        "it. Save as `CSV UTF-8`. No column is locked: change nothing but those for answers."
    )
    return _written(drafts, annotators, stated, folder, ".csv", one, how)


def write_xlsx(drafts: Sequence[Draft], annotators: Sequence[str], stated: Mapping[str, str], folder: Path) -> list[Path]:
    """`<annotator>.xlsx` for each, in which only answers can be typed, and the guidelines.

    Raises BadInput: a text is longer than a cell can be.
    """
    sheets.check_lengths((text for draft in drafts for text in (draft.prompt, draft.completion)), "csv, label-studio and argilla")

    def one(path: Path, rows: Rows) -> None:
        path.write_bytes(sheets.workbook("drafts", WIDTHS | ANSWERS, rows, TAKEN))

    how = "Only the columns for answers can be typed in; the others are locked, without a password."
    return _written(drafts, annotators, stated, folder, ".xlsx", one, how)


def _written(
    drafts: Sequence[Draft],
    annotators: Sequence[str],
    stated: Mapping[str, str],
    folder: Path,
    suffix: str,
    write: Callable[[Path, Rows], None],
    further: str,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for annotator in annotators:
        shown = [{DRAFT: draft.id, ANNOTATOR: annotator, **fields(draft, stated)} for draft in drafts]
        files.append(folder / f"{annotator}{suffix}")
        write(files[-1], [{name: row[name] for name in WIDTHS} | dict.fromkeys(ANSWERS, "") for row in shown])
    how = [
        f"Your file holds a draft in each row. Write the completion as it should stand, whole, in `{CORRECTED}`, and leave that empty where "
        f"nothing is to be changed. Write a whole number in `{POSITION_HELD}`, yes or no in `{FACTUAL}`, and one of the words below in `{TONE}`; "
        f"`{COMMENT}` is yours.",
        f"Do not change `{DRAFT}` and `{ANNOTATOR}`, which say what your answers are of and whose they are, and sort whole rows alone. "
        "A file that is filled in half can be handed in, and again later.",
        further,
    ]
    return [*files, *written(folder, {GUIDE: guide(drafts, stated, how)})]


# ---- reading ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Annotation]:
    """What annotators filled in, whatever program saved it: columns in any order and case, further ones left out, rows without an answer too.

    The annotator is what the column `annotator` says, or the file's name without its ending. Files that were put below each other may have
    the heading again.

    Raises:
        BadInput: a line for all that cannot be read: the file, columns that are missing, a row without a draft, an answer that is none.
    """
    rows = sheets.read_rows(path, DRAFT)
    for _, row in rows:  # sheets of one workbook may differ
        require(path, [DRAFT, *ANSWERS], row)
    given_as = contract.unguarded if path.suffix.casefold() != ".xlsx" else lambda text: text
    found: list[Annotation] = []
    wrong: list[str] = []
    for where, row in rows:
        if _is_heading(row):
            continue
        row |= {name: given_as(row[name]) for name in (PROMPT, COMPLETION, CORRECTED) if isinstance(row.get(name), str)}
        annotator = text_of(row.get(ANNOTATOR)) or path.stem
        found += read_answers(text_of(row[DRAFT]), annotator, row, row, where, wrong)
    if wrong:
        raise BadInput(*wrong)
    return found


def _is_heading(row: Mapping[str, Any]) -> bool:
    """Of the same columns in the same order, with the mark of the file that it began."""
    return all(named(text_of(cell).removeprefix("\ufeff")) == name for name, cell in row.items())
