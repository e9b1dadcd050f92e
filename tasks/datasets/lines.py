"""JSON Lines, read strictly: one object a line with known keys, and what a check says about a line.

Knows the form that datasets and prose files share. Leaves what a sample or a paragraph is to `rows` and `paragraphs`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from configs.problems import BadInput
from configs.texts import control_character, markup, read_text

RENAMED = "renamed"  # the check of a key that another program calls otherwise


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


class DatasetError(BadInput):
    """A file that cannot be used. `findings` and `lines` hold every error; the message is the first, and how many more there are.

    `readable` holds the lines that are well formed, so that a check of the file can go on with them.
    """

    def __init__(self, path: Path, findings: Sequence[Finding], readable: Sequence[tuple[int, dict[str, Any]]] = ()) -> None:
        super().__init__(*(finding.at(path) for finding in findings))
        self.findings, self.readable = list(findings), list(readable)

    def __str__(self) -> str:
        return self.lines[0] + (f" (and {len(self.lines) - 1} more)" if len(self.lines) > 1 else "")


@dataclass(frozen=True)
class Form:
    """The keys of a line. `texts` are optional; those in `long` may have several lines. `further` checks keys that hold no text.

    `called`: what other programs call a key that is required here, so that a file of theirs is told in one line.
    """

    item: str  # what a line is, for messages
    required: tuple[str, ...]
    texts: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    other: tuple[str, ...] = ()  # optional keys that hold no text
    further: Callable[[dict[str, Any]], Iterator[tuple[str, str]]] = lambda document: iter(())
    called: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.required, *self.other, *self.texts)


def error(line: int, check: str, message: str) -> Finding:
    return Finding(line, "error", check, message)


def read_objects(path: Path, form: Form) -> list[tuple[int, dict[str, Any]]]:
    """Line number and object of every line, in file order; texts in Unicode form NFC and without surrounding blanks.

    Raises:
        DatasetError: the file is missing, empty, not UTF-8, starts with a byte order mark, has CRLF line ends; or a line is
            no JSON object, lacks a text, has an unknown or repeated key, a value of the wrong type, a control
            character, HTML, or an id that stands in the file already.
    """
    if not path.is_file():
        raise DatasetError(path, [error(0, "file", f"no such file; a JSONL file is required, one {form.item} a line")])
    text, faults = read_text(path)
    findings = [error(fault.line, "encoding", fault.message) for fault in faults]
    lines = text.split("\n")  # not splitlines(): a text may hold U+2028 as it is
    if lines[-1] == "":
        lines.pop()
    if not lines:
        empty = error(0, "file", f"the file is empty; at least one {form.item} is required")
        raise DatasetError(path, findings or [empty])

    objects: list[tuple[int, dict[str, Any]]] = []
    first_line: dict[str, int] = {}
    renamed: list[Finding] = []
    for number, content in enumerate(lines, 1):
        document, problems = _parse(number, content, form)
        renamed += (problem for problem in problems if problem.check == RENAMED)
        findings += (problem for problem in problems if problem.check != RENAMED)
        if document is None:
            continue
        name = document["id"]
        if name in first_line:
            findings.append(
                error(number, "id", f'id "{name}" stands in line {first_line[name]} already; every id may stand once')
            )
        first_line.setdefault(name, number)
        objects.append((number, document))
    findings += _told_once(renamed)
    if findings:
        raise DatasetError(path, sorted(findings, key=lambda finding: finding.line), objects)
    return objects


def _told_once(renamed: Sequence[Finding]) -> list[Finding]:
    """The keys of a file that are called otherwise on every line are one mistake, told at the first."""
    lines: dict[str, list[int]] = {}
    for finding in renamed:
        lines.setdefault(finding.message, []).append(finding.line)
    return [
        error(first, RENAMED, message + (f" (and on {len(more)} more {'line' if len(more) == 1 else 'lines'})" if more else ""))
        for message, (first, *more) in lines.items()
    ]


def shown(value: Any) -> str:
    """A value short enough for a one-line message."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else text[:37] + "..."


def _parse(line: int, content: str, form: Form) -> tuple[dict[str, Any] | None, list[Finding]]:
    """One line as an object, or what is wrong with it."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    if not content.strip():
        return None, [error(line, "json", "an empty line; one JSON object a line is required")]
    try:
        document = json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as broken:  # besides broken JSON: a number of too many digits, too deep nesting
        reason = f"{broken.msg} at column {broken.colno}" if isinstance(broken, json.JSONDecodeError) else str(broken)
        return None, [error(line, "json", f"not JSON: {reason}; one JSON object a line is required")]
    if not isinstance(document, dict):
        needed = ", ".join(form.required)
        return None, [error(line, "json", f"a JSON {type(document).__name__}; an object with {needed} is required")]
    findings = [error(line, "keys", f"key {shown(key)} stands twice; keep one") for key in repeated]
    findings += [error(line, check, message) for check, message in sorted(_faults(document, form))]
    if findings:
        return None, findings
    texts = {key: unicodedata.normalize("NFC", value).strip() for key, value in document.items() if isinstance(value, str)}
    return document | texts, []


def _faults(document: dict[str, Any], form: Form) -> Iterator[tuple[str, str]]:
    """(check, message) for every key that is unknown, missing, of the wrong type, or holds what no text may hold."""
    meant = {key: form.called[key.lower()] for key in document if key not in form.known and key.lower() in form.called}
    meant = {key: wanted for key, wanted in meant.items() if wanted not in document}
    if meant:
        names, wanted = (", ".join(map(shown, words)) for words in (meant, meant.values()))
        yield RENAMED, f"unknown {'keys' if len(meant) > 1 else 'key'} {names}; did you mean {wanted}?"
    for key in document.keys() - set(form.known) - meant.keys():
        yield "keys", f"unknown key {shown(key)}; known: {', '.join(form.known)}"
    for key in form.required:
        if key not in document and key in meant.values():
            continue  # told above
        if key not in document:
            yield key, f'"{key}" is missing; a non-empty text is required'
        elif not isinstance(document[key], str) or not document[key].strip():
            yield key, f'"{key}" is {shown(document[key])}; a non-empty text is required'
    for key in form.texts:
        if not isinstance(document.get(key, ""), str):
            yield key, f'"{key}" is {shown(document[key])}; a text is required'
    yield from form.further(document)
    for key, value in document.items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if problem := control_character(text, "\n\t" if key in form.long else ""):
                yield "control", f"{shown(key)} {problem}"
            if problem := markup(text):
                yield "markup", f"{shown(key)} {problem}"
