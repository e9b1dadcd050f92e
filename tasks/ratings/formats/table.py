"""Rating projects as tables for spreadsheets and editors: a CSV, Excel or JSONL file for each rater, and what they fill in.

Knows columns, and what spreadsheet programs do to files: encodings, separators, formulas, numbers and dates. Leaves what an answer may say to
`values`. Nothing in a file depends on when or where it was written.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks import contract
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
    always,
    guide,
    named,
    numbers,
    read_answers,
    require,
    rows_of,
    text_of,
    written,
)
from tasks.ratings.project import RANK, Packet, Project

TASK, RATER = "task", "rater"
FIXED = datetime(1980, 1, 1)  # the earliest that a zip can say
WIDTHS = {TASK: 16, "category": 20, "prompt": 50, "completion": 80, IS_ANSWER: 11, RATING: 9, RANKING: 9, SKIP: 12, COMMENT: 30}
MOST = 32_767  # characters in a cell of Excel's; what is longer would be cut without a word
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


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
    longest = max((len(text) for item in project.items.values() for text in (item.prompt, item.completion)), default=0)
    if longest > MOST:
        raise BadInput(f"--format xlsx: a text of {longest:,} characters; a cell holds {MOST:,}, csv, jsonl and html hold any")

    def one(path: Path, packet: Packet) -> None:
        path.write_bytes(_workbook(project, packet))

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


def _workbook(project: Project, packet: Packet) -> bytes:
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font, Protection
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet = book.active
    sheet.title = "ratings"
    names, number = columns(project), numbers(project)
    answers = {IS_ANSWER, number, SKIP, COMMENT}
    for row, cells in enumerate([dict(zip(names, names, strict=True)), *_rows(project, packet)], 1):
        for column, (name, text) in enumerate(cells.items(), 1):
            cell = sheet.cell(row, column)
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if row == 1:
                cell.font = Font(bold=True)
            if row > 1 and name in answers:
                cell.protection = Protection(locked=False)
                cell.number_format = "0" if name == number else "@"
            else:
                cell.value = _NO_XML.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
                cell.data_type, cell.number_format, cell.quotePrefix = "s", "@", True  # never a formula, whatever it begins with
    for column, name in enumerate(names, 1):
        sheet.column_dimensions[get_column_letter(column)].width = WIDTHS[name]
    sheet.freeze_panes = "A2"
    last = len(packet.items) + 1
    least, most = (1, LAST_RANK) if project.mode == RANK else (min(words.SCALE), max(words.SCALE))
    for name, rule in (
        (number, DataValidation("whole", formula1=least, formula2=most, error=f"a whole number from {least} to {most}")),
        (IS_ANSWER, DataValidation("list", formula1='"yes,no"', error="yes or no")),
        (SKIP, DataValidation("list", formula1=f'"{",".join(words.SKIPPED)}"', error=", ".join(words.SKIPPED))),
    ):
        letter = get_column_letter(names.index(name) + 1)
        rule.allow_blank = rule.showErrorMessage = True
        rule.add(f"{letter}2:{letter}{max(last, 2)}")
        sheet.add_data_validation(rule)
    sheet.protection.sheet = True
    sheet.protection.formatColumns = sheet.protection.formatRows = False  # may be made wider
    book.properties.creator = "palms"
    book.properties.created = FIXED
    stream = io.BytesIO()
    book.save(stream)
    return _timeless(stream)


def _timeless(book: io.BytesIO) -> bytes:
    """The same workbook without the time and system at which it was saved."""
    out = io.BytesIO()
    with zipfile.ZipFile(book) as held, zipfile.ZipFile(out, "w") as fixed:
        for name in held.namelist():
            entry = zipfile.ZipInfo(name, FIXED.timetuple()[:6])
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 0
            data = held.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + FIXED.isoformat().encode() + b"Z", data)
            fixed.writestr(entry, data)
    return out.getvalue()


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What raters filled in, whatever program saved it: columns in any order and case, further ones left out, rows without an answer too.

    The rater is the file's name without its ending, or what the column `rater` says.

    Raises:
        BadInput: a line for all that cannot be read: the file, columns that are missing, a row without a task, an answer that is none.
    """
    rows = list(_cells(path) if path.suffix.casefold() == ".xlsx" else _lines(path))
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


Row = tuple[Callable[[str], str], dict[str, Any]]


def _lines(path: Path) -> Iterator[Row]:
    for line, row in rows_of(path):
        yield always(f"{path}:{line}"), row


def _cells(path: Path) -> Iterator[Row]:
    """The rows of the first sheet, with the place of each cell."""
    from openpyxl import load_workbook
    from openpyxl.utils import get_column_letter

    try:
        sheet = load_workbook(path, data_only=True).worksheets[0]
    except Exception as error:  # openpyxl lets through whatever its parts raise
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); an Excel workbook is required") from None
    table = [list(row) for row in sheet.iter_rows(values_only=True)]
    heads = {named(head): at for at, head in enumerate(table[0])} if table else {}
    heads.pop("", None)
    if len(table) < 2 or not heads:
        raise BadInput(f"{path}: sheet {sheet.title} holds no row; a line for each text below the names of columns is required")

    def at_row(row: int) -> Callable[[str], str]:
        return lambda name: f"{path}: {sheet.title}!{get_column_letter(heads.get(name, heads[TASK]) + 1)}{row}"

    for number, cells in enumerate(table[1:], 2):
        if any(text_of(cell) for cell in cells):
            yield at_row(number), {name: cells[at] for name, at in heads.items()}
