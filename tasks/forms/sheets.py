"""Tables for spreadsheets: workbooks in which only answers can be typed, and the rows that come back of one or of a text file.

Knows cells, and what spreadsheet programs do to files: encodings, separators, formulas, numbers and dates. Nothing in a file depends on when or
where it was written.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.forms.answers import Where, always, named, rows_of, text_of

FIXED = datetime(1980, 1, 1)  # the earliest that a zip can say
MOST = 32_767  # characters in a cell of Excel's; what is longer would be cut without a word
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

Rule = range | tuple[str, ...]  # the whole numbers, or the words, that a cell takes


def check_lengths(texts: Iterable[str], others: str) -> None:
    """Raises BadInput: a text is longer than a cell can be. others: the forms that take any."""
    longest = max(map(len, texts), default=0)
    if longest > MOST:
        raise BadInput(f"--format xlsx: a text of {longest:,} characters; a cell holds {MOST:,}, {others} hold any")


def workbook(
    title: str, widths: Mapping[str, int], rows: Sequence[Mapping[str, str]], answers: Mapping[str, Rule | None]
) -> bytes:
    """One sheet. widths: of each column, in their order. answers: the columns that can be typed in, and what they take."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font, Protection
    from openpyxl.utils import get_column_letter

    book = Workbook()
    sheet = book.active
    sheet.title = title
    names = list(widths)
    for row, cells in enumerate([dict(zip(names, names, strict=True)), *rows], 1):
        for column, name in enumerate(names, 1):
            cell = sheet.cell(row, column)
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if row == 1:
                cell.font = Font(bold=True)
            if row > 1 and name in answers:
                cell.protection = Protection(locked=False)
                cell.number_format = "0" if isinstance(answers[name], range) else "@"
            else:
                cell.value = _NO_XML.sub("\ufffd", cells[name].replace("\r\n", "\n").replace("\r", "\n"))
                cell.data_type, cell.number_format, cell.quotePrefix = "s", "@", True  # never a formula, whatever it begins with
    for column, width in enumerate(widths.values(), 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = "A2"
    for name, rule in answers.items():
        if rule is not None:
            letter = get_column_letter(names.index(name) + 1)
            checked = _checked(rule)
            checked.add(f"{letter}2:{letter}{max(len(rows) + 1, 2)}")
            sheet.add_data_validation(checked)
    sheet.protection.sheet = True
    sheet.protection.formatColumns = sheet.protection.formatRows = False  # may be made wider
    book.properties.creator = "palms"
    book.properties.created = FIXED
    stream = io.BytesIO()
    book.save(stream)
    return _timeless(stream)


def _checked(rule: Rule) -> Any:
    from openpyxl.worksheet.datavalidation import DataValidation

    if isinstance(rule, range):
        least, most = rule[0], rule[-1]
        checked = DataValidation("whole", formula1=least, formula2=most, error=f"a whole number from {least} to {most}")
    else:
        told = " or ".join(rule) if len(rule) == 2 else ", ".join(rule)
        checked = DataValidation("list", formula1=f'"{",".join(rule)}"', error=told)
    checked.allow_blank = checked.showErrorMessage = True
    return checked


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


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_rows(path: Path, key: str) -> list[tuple[Where, dict[str, Any]]]:
    """The rows that say anything, with the place of each answer. key: the column that names what a row is about.

    Raises BadInput: the file cannot be read, or holds no row.
    """
    if path.suffix.casefold() == ".xlsx":
        return _cells(path, key)
    return [(always(f"{path}:{line}"), row) for line, row in rows_of(path)]


def _cells(path: Path, key: str) -> list[tuple[Where, dict[str, Any]]]:
    """The rows of every sheet that has the column `key`, or else of the first: workbooks are merged by putting sheets together."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, data_only=True)
        tables = [(sheet.title, [list(row) for row in sheet.iter_rows(values_only=True)]) for sheet in book.worksheets]
    except Exception as error:  # openpyxl lets through whatever its parts raise
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); an Excel workbook is required") from None
    theirs = [(title, table) for title, table in tables if table and key in map(named, table[0])] or tables[:1]
    found = [row for title, table in theirs for row in _of_sheet(f"{path}: {title}", table, key)]
    if not found:
        told = f"sheet {tables[0][0]} holds" if len(tables) == 1 else "its sheets hold"
        raise BadInput(f"{path}: {told} no row; a line for each text below the names of columns is required")
    return found


def _of_sheet(sheet: str, table: list[list[Any]], key: str) -> Iterator[tuple[Where, dict[str, Any]]]:
    from openpyxl.utils import get_column_letter

    names = [named(head) for head in table[0]] if table else []
    heads = {name: at for at, name in enumerate(names) if name}
    if twice := sorted(name for name in heads if names.count(name) > 1):
        raise BadInput(f"{sheet}: column {', '.join(twice)} stands twice; one each is required")

    def at_row(row: int) -> Where:
        return lambda name: f"{sheet}!{get_column_letter(heads.get(name, heads.get(key, 0)) + 1)}{row}"

    for number, cells in enumerate(table[1:], 2):
        if any(text_of(cell) for cell in cells):
            yield at_row(number), {name: _as_typed(cells[at]) for name, at in heads.items()}


def _as_typed(cell: Any) -> Any:
    """Excel writes a carriage return inside a text so."""
    return cell.replace("_x000D_", "") if isinstance(cell, str) else cell
