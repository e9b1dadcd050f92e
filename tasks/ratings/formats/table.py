"""Rating projects as tables for spreadsheets and editors: a CSV, Excel or JSONL file for each rater, and what they fill in.

Knows columns. Leaves cells, and what spreadsheet programs do to files, to `tasks.forms.sheets`, and what an answer may say to `values`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from configs.problems import BadInput
from tasks import contract
from tasks.forms import sheets
from tasks.forms.answers import require, text_of
from tasks.forms.files import written
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import (
    COMMENT,
    GUIDE,
    IS_ANSWER,
    LAST_RANK,
    RANKING,
    RATING,
    SKIP,
    guide,
    numbers,
    read_answers,
)
from tasks.ratings.project import RANK, Packet, Project

TASK, RATER = "task", "rater"
WIDTHS = {TASK: 16, "category": 20, "prompt": 50, "completion": 80, IS_ANSWER: 11, RATING: 9, RANKING: 9, SKIP: 12, COMMENT: 30}


# ---- writing ---------------------------------------------------------------------------------------------------------------


def write_csv(project: Project, folder: Path) -> list[Path]:
    """`<rater>.csv` for each rater, with the mark by which Excel tells UTF-8, and the instructions."""

    def one(path: Path, packet: Packet) -> None:
        contract.write_rows(path, _rows(project, packet), columns(project), mark="always")

    apostrophe = "Where a cell, or a line in it, would start with `=`, `+`, `-` or `@`, an apostrophe stands in front: no spreadsheet then runs it."
    return _written(project, folder, ".csv", one, apostrophe)


def write_jsonl(project: Project, folder: Path) -> list[Path]:
    """`<rater>.jsonl` for each rater, an object a line, and the instructions."""

    def one(path: Path, packet: Packet) -> None:
        contract.write_jsonl(path, [{name: cell or None for name, cell in row.items()} for row in _rows(project, packet)])

    return _written(project, folder, ".jsonl", one, "Each line is an object of JSON; what you say stands in place of `null`.")


def write_xlsx(project: Project, folder: Path) -> list[Path]:
    """`<rater>.xlsx` for each rater, in which only answers can be typed, and the instructions.

    Raises BadInput: a text is longer than a cell can be.
    """
    sheets.check_lengths(
        (text for item in project.items.values() for text in (item.prompt, item.completion)), "csv, jsonl and html"
    )
    least, most = (1, LAST_RANK) if project.mode == RANK else (min(words.SCALE), max(words.SCALE))
    answers = {numbers(project): range(least, most + 1), IS_ANSWER: ("yes", "no"), SKIP: tuple(words.SKIPPED), COMMENT: None}
    widths = {name: WIDTHS[name] for name in columns(project)}

    def one(path: Path, packet: Packet) -> None:
        path.write_bytes(sheets.workbook("ratings", widths, _rows(project, packet), answers))

    return _written(
        project, folder, ".xlsx", one, "Only the columns for answers can be typed in; the others are locked, without a password."
    )


def columns(project: Project) -> list[str]:
    return [TASK, "category", "prompt", "completion", IS_ANSWER, numbers(project), SKIP, COMMENT]


def _rows(project: Project, packet: Packet) -> list[dict[str, str]]:
    return [
        dict(zip(columns(project), (item.id, item.category, item.prompt, item.completion, "", "", "", ""), strict=True))
        for item in packet.items
    ]


def _written(project: Project, folder: Path, suffix: str, write: Callable[[Path, Packet], None], further: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for packet in project.packets:
        files.append(folder / f"{packet.rater}{suffix}")
        write(files[-1], packet)
    number = numbers(project)
    meant = (
        "the place of the text among those of its prompt, which stand below each other, as a whole number from 1 for the best"
        if project.mode == RANK
        else f"a whole number from {min(words.SCALE)} to {max(words.SCALE)}"
    )
    how = [
        f"Your file holds a text in each row. Write yes or no in `{IS_ANSWER}` and {meant} in `{number}`. To skip a text, leave `{number}` empty and "
        f"write the reason in `{SKIP}`: {', '.join(words.SKIPPED)}. `{COMMENT}` is yours. If no whole number fits, leave the cell empty.",
        "Go through the rows in their order. Do not change `task`, and keep the name of the file: it says whose ratings these are. "
        "A file that is filled in half can be handed in, and again later.",
        further,
    ]
    return [*files, *written(folder, {GUIDE: guide(project, how)})]


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What raters filled in, whatever program saved it: columns in any order and case, further ones left out, rows without an answer too.

    The rater is the file's name without its ending, or what the column `rater` says.

    Raises:
        BadInput: a line for all that cannot be read: the file, columns that are missing, a row without a task, an answer that is none.
    """
    rows = sheets.read_rows(path, TASK)
    there = {name for _, row in rows for name in row}
    require(path, [TASK, IS_ANSWER, RANKING if RANKING in there else RATING], there)
    found: list[Given] = []
    wrong: list[str] = []
    for where, row in rows:
        given = list(read_answers([text_of(row.get(TASK))], row, text_of(row.get(RATER)) or path.stem, where, wrong))
        if given and not given[0].item:
            wrong.append(f"{where(TASK)}: an answer without a task; the id that stood in `{TASK}` is required")
        found += given
    if wrong:
        raise BadInput(*wrong)
    return found
