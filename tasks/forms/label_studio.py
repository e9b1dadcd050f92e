"""Label Studio (1.x): the labelling interface, tasks to import, and its three exports read back.

Knows its formats, whatever is asked. Texts are shown as texts, with their line breaks, and never as HTML. Tasks have no predictions, no
annotations and no metadata.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from tasks.forms.answers import rows_of, text_of

MARK = "annotation_id"  # a column that each of its tables has


# ---- what goes out ---------------------------------------------------------------------------------------------------


def tasks_of(data: Sequence[Mapping[str, str]]) -> str:
    """A file of tasks to import."""
    return json.dumps([{"data": dict(one)} for one in data], ensure_ascii=False, indent=1) + "\n"


def instructions(markdown: str) -> str:
    """As HTML, which they are shown as. Margins and the marks of lists, which Label Studio takes away, stand there as text."""
    text = re.sub(r"^#+ (.+)|\*\*(.+?)\*\*", r"<b>\1\2</b>", html.escape(markdown, quote=False), flags=re.MULTILINE)
    return text.replace("\n  ", "\n&nbsp;&nbsp;").replace("\n", "<br>\n")


def interface() -> xml.Element:
    view = xml.Element("View")
    xml.SubElement(view, "Style").text = ".htx-text { white-space: pre-wrap; }"
    return view


def heading(view: xml.Element, text: str) -> None:
    xml.SubElement(view, "Header", value=text, size="5")


def shown(view: xml.Element, name: str, title: str) -> None:
    """The text that a task's data hold under this name."""
    heading(view, title)
    xml.SubElement(view, "Text", name=name, value=f"${name}", valueType="text", selectionEnabled="false")


def choices(view: xml.Element, name: str, about: str, asked: str, answers: Mapping[str, str], keys: str = "") -> None:
    """One of them, or none. An annotation holds the alias.

    keys: what chooses each. An answer without one is given the next of 1, 2, 3… that is free, whatever it says: 5 chose a rating of 3.
    """
    heading(view, asked)
    one_of = xml.SubElement(view, "Choices", name=name, toName=about, choice="single")
    for (answer, meaning), key in zip_longest(answers.items(), keys[: len(answers)]):
        given = {"value": f"{answer}: {meaning}" if meaning else answer, "alias": answer}
        xml.SubElement(one_of, "Choice", given | ({"hotkey": key} if key else {}))


def typed(view: xml.Element, name: str, about: str, asked: str, rows: int = 2, begins_as: str = "") -> None:
    """A text. begins_as: the name of the data that it begins as, and stays where nothing is changed."""
    heading(view, asked)
    given = {"name": name, "toName": about, "maxSubmissions": "1", "rows": str(rows), "editable": "true"}
    xml.SubElement(view, "TextArea", given | ({"value": f"${begins_as}"} if begins_as else {}))


def as_text(view: xml.Element) -> str:
    xml.indent(view)
    return xml.tostring(view, encoding="unicode") + "\n"


# ---- what comes back -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A task of an export, with its row."""

    where: str
    data: Mapping[str, Any]
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Annotation:
    """answers: by the name of the question. by: the email of whoever annotated, or else their id. cancelled: skipped by Label Studio's own
    button, where the export has these; its answers are drafts then."""

    answers: Mapping[str, Any]
    by: str
    cancelled: bool
    seconds: float | None
    at: str


def tasks(path: Path) -> Iterator[Task]:
    """Of JSON, JSON_MIN or CSV (TSV). Raises BadInput: the file cannot be read or holds none."""
    tabular = path.suffix.casefold() != ".json"
    for line, row in rows_of(path):
        where = f"{path}:{line}: task {row.get('id')}" if tabular else f"{path}: task {row.get('id')}"
        yield Task(where, row["data"] if isinstance(row.get("data"), Mapping) else row, row)


def annotations_of(task: Task, wrong: list[str]) -> Iterator[Annotation]:
    """All of a task, or in JSON_MIN and CSV the one that its row holds. `wrong` takes a line for whatever is not as Label Studio writes it."""
    try:
        found = list(_annotations(task.row))
    except (KeyError, TypeError, AttributeError, ValueError):
        wrong.append(f"{task.where}: its annotations are not as Label Studio writes them; an export as it is is required")
        return
    for one in found:
        if not one.by:
            wrong.append(f"{task.where}: an annotation by nobody; the id or email of whoever annotated is required")
        yield one


def texts_of(answer: Any) -> list[str]:
    """What was typed for one question: Label Studio adds a text to those that it has when an annotation is submitted again, and exports
    several as an object, which a table holds as JSON."""
    if isinstance(answer, str) and answer.startswith('{"text":'):
        with suppress(ValueError):  # somebody typed that
            answer = json.loads(answer)
    if isinstance(answer, Mapping):
        answer = answer.get("text", "")
    return [text_of(one) for one in (answer if isinstance(answer, list) else [answer])]


def _annotations(row: Mapping[str, Any]) -> Iterator[Annotation]:
    if "data" not in row:
        if text_of(row.get(MARK)):
            yield Annotation(row, text_of(row.get("annotator")), False, *_times(row))
        return
    for one in row.get("annotations") or []:
        answers = {said["from_name"]: _value(said["value"]) for said in one.get("result") or [] if "from_name" in said}
        by = one.get("completed_by")
        name = text_of(by.get("email") or by.get("id") if isinstance(by, Mapping) else by)
        yield Annotation(answers, name, bool(one.get("was_cancelled")), *_times(one))


def _value(value: Mapping[str, Any]) -> Any:
    """What was chosen or written: a text, or a list of several."""
    said = value.get("choices", value.get("text", ""))
    return said[0] if isinstance(said, list) and len(said) == 1 else said


def _times(annotation: Mapping[str, Any]) -> tuple[float | None, str]:
    seconds = text_of(annotation.get("lead_time"))
    return float(seconds) if seconds else None, text_of(annotation.get("created_at"))
