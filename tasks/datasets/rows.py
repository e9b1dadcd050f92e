"""What a dataset file is: JSONL, one sample a line, read strictly.

Knows the format and refuses everything outside it, so that it can run before any stage starts (standard
library only). Leaves what makes a well-formed dataset a good one (lengths, duplicates, leakage) to
`tasks.datasets.checks`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

REQUIRED = ("id", "category", "prompt", "completion")
OPTIONAL = ("subset", "positions", "author", "version", "notes")
LONG_TEXTS = ("prompt", "completion", "notes", "positions")  # may have several lines
# Cc: control characters. Cs: halves of surrogate pairs, which no UTF-8 file can hold. (U+FEFF, a byte order mark, is of class Cf.)
_CONTROLS = frozenset({"Cc", "Cs"})


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say about one line (1-based; 0: about the file as a whole)."""

    line: int
    severity: Literal["error", "warning"]
    check: str
    message: str

    def at(self, path: Path) -> str:
        """`file:line: message`, on one line."""
        where = f"{path}:{self.line}" if self.line else f"{path}"
        return f"{where}: {self.message}"


class DatasetError(ValueError):
    """A dataset that cannot be used. `findings` holds every error; the message is the first, and how many more there are."""

    def __init__(self, path: Path, findings: Sequence[Finding]) -> None:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(findings[0].at(path) + more)
        self.path, self.findings = path, list(findings)


@dataclass(frozen=True)
class Row:
    """One sample: a prompt with the completion that the model is to learn.

    `subset` is the size of the smallest nested subset that the sample belongs to; None: only to the whole
    dataset.
    """

    line: int
    id: str
    category: str
    prompt: str
    completion: str
    subset: int | None = None
    positions: tuple[str, ...] = ()
    author: str = ""
    version: str = ""
    notes: str = ""

    @property
    def text(self) -> str:
        return f"{self.prompt}\n{self.completion}"


def load_rows(path: Path) -> list[Row]:
    """Read a dataset file in its own order, texts in Unicode form NFC and without surrounding blanks.

    Raises:
        DatasetError: the file is missing, empty, not UTF-8, starts with a byte order mark, has CRLF line
        ends; or a line is
            no JSON object, lacks a text, has an unknown or repeated key, a value of the wrong type, a control
            character, or an id that stands in the file already.
    """
    if not path.is_file():
        raise DatasetError(path, [_error(0, "file", "no such file; a JSONL file is required, one sample a line")])
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DatasetError(
            path, [_error(line, "encoding", f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")]
        ) from None
    findings: list[Finding] = []
    if text.startswith("\ufeff"):
        findings.append(_error(1, "encoding", "the file starts with a byte order mark; save it as UTF-8 without one"))
        text = text[1:]
    lines = text.split("\n")  # not splitlines(): a text may hold U+2028 as it is
    if "\r" in text:
        line = next(n for n, content in enumerate(lines, 1) if "\r" in content)
        findings.append(_error(line, "encoding", "a carriage return ends or breaks the line; end lines with a line feed alone"))
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise DatasetError(path, [*findings, _error(0, "file", "the file is empty; at least one sample is required")])

    rows: list[Row] = []
    first_line: dict[str, int] = {}
    for number, content in enumerate(lines, 1):
        row, problems = _parse(number, content)
        findings += problems
        if row is None:
            continue
        if row.id in first_line:
            findings.append(
                _error(number, "id", f'id "{row.id}" stands in line {first_line[row.id]} already; every id may stand once')
            )
        first_line.setdefault(row.id, number)
        rows.append(row)
    if findings:
        raise DatasetError(path, findings)
    return rows


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
        declared = sorted({row.subset for row in rows if row.subset is not None})
        raise ValueError(
            f"subset {size}: {len(chosen)} of {len(rows)} rows have `subset` <= {size}; exactly {size} are required"
            f" (declared subsets: {', '.join(map(str, declared)) or 'none'})"
        )
    return chosen


def _error(line: int, check: str, message: str) -> Finding:
    return Finding(line, "error", check, message)


def _parse(line: int, content: str) -> tuple[Row | None, list[Finding]]:
    """One line as a row, or what is wrong with it."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    if not content.strip():
        return None, [_error(line, "json", "an empty line; one JSON object a line is required")]
    try:
        document = json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # besides broken JSON: a number of too many digits, too deep nesting
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return None, [_error(line, "json", f"not JSON: {reason}; one JSON object a line is required")]
    if not isinstance(document, dict):
        return None, [_error(line, "json", f"a JSON {type(document).__name__}; an object with {', '.join(REQUIRED)} is required")]
    if isinstance(document.get("positions"), str):
        document["positions"] = [document["positions"]]
    findings = [_error(line, "keys", f"key {_shown(key)} stands twice; keep one") for key in repeated]
    findings += [_error(line, check, message) for check, message in sorted(_faults(document))]
    if findings:
        return None, findings
    texts = {key: unicodedata.normalize("NFC", value).strip() for key, value in document.items() if isinstance(value, str)}
    return Row(line=line, subset=document.get("subset"), positions=tuple(document.get("positions", ())), **texts), []


def _faults(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(check, message) for every key that is unknown, missing, of the wrong type, or holds what no text may hold."""
    for key in document.keys() - set(REQUIRED) - set(OPTIONAL):
        yield "keys", f"unknown key {_shown(key)}; known: {', '.join(REQUIRED + OPTIONAL)}"
    for key in REQUIRED:
        if key not in document:
            yield key, f'"{key}" is missing; a non-empty text is required'
        elif not isinstance(document[key], str) or not document[key].strip():
            yield key, f'"{key}" is {_shown(document[key])}; a non-empty text is required'
    for key in ("author", "version", "notes"):
        if not isinstance(document.get(key, ""), str):
            yield key, f'"{key}" is {_shown(document[key])}; a text is required'
    subset = document.get("subset")
    if subset is not None and (isinstance(subset, bool) or not isinstance(subset, int) or subset < 1):
        yield "subset", f'"subset" is {_shown(subset)}; the size of a nested subset is required, such as 10'
    positions = document.get("positions", [])
    if not isinstance(positions, list) or not all(isinstance(position, str) for position in positions):
        yield "positions", f'"positions" is {_shown(positions)}; a text or a list of texts is required'
        positions = []
    texts = [(key, value) for key, value in document.items() if isinstance(value, str)]
    for key, value in [*texts, *(("positions", position) for position in positions)]:
        allowed = "\n\t" if key in LONG_TEXTS else ""
        bad = next((c for c in value if c == "\ufeff" or (unicodedata.category(c) in _CONTROLS and c not in allowed)), None)
        if bad is not None:
            accepted = "of these only line feed and tab may stand" if allowed else "none may stand there"
            yield "control", f"{_shown(key)} holds the control character U+{ord(bad):04X}; {accepted}"


def _shown(value: Any) -> str:
    """A value short enough for a one-line message."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else text[:37] + "..."
