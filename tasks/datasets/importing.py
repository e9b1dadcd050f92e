"""Other programs' tables of questions and answers, read as samples: what the columns are taken for, and what is left out.

Knows formats, encodings and the names that others give their columns. Lenient where `rows` is strict: what it makes is checked there.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.datasets.rows import FORM

SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".json", ".jsonl", ".ndjson", ".parquet")
DELIMITERS = ",;\t|"
# What Excel saves in where it is not UTF-8, by its system and menu.
SAVED = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman", "cp850": "MS-DOS 850"}
_EXPECTED = frozenset("“”‘’–—…àáâãäåæçèéêëìíîïñòóôõöøœùúûüß")
CHATS = ("messages", "conversations", "conversation", "chat")
ASKS, ANSWERS = ("user", "human", "prompter"), ("assistant", "gpt", "model", "bot")
SPELT = {"licence": "license"}  # as others write it
KEPT = (*FORM.texts, "id", "category", "subset", "positions")
ACCEPTED = "prompt and completion, question and answer, instruction, input and output, or messages"


@dataclass(frozen=True)
class Imported:
    """Samples as the lines of a dataset have them, and what is to be said of how they were read, a line each."""

    samples: list[dict[str, Any]]
    told: list[str]


def read_samples(path: Path, category: str | None = None, further: Mapping[str, str | None] | None = None) -> Imported:
    """`category`: of every sample that names none; `further`: keys of samples likewise, such as their licence.

    Raises:
        BadInput: a file that cannot be read or holds no samples; lines that cannot be taken for one, each reason once.
    """
    told: list[str] = []
    given = [(line, record) for line, record in records(path, told) if any(_text(value) for value in record.values())]
    if not given:
        raise BadInput(f"{path}: holds no line; a table or list of samples is required")
    samples, shapes, left = list[dict[str, Any]](), Counter[str](), Counter[str]()
    problems: dict[str, list[int]] = {}  # what is wrong, and on which lines
    for line, record in given:
        named = {str(key).strip().casefold(): value for key, value in record.items() if key is not None}
        try:
            prompt, completion, used = _asked(named)
        except ValueError as why:
            problems.setdefault(str(why), []).append(line)
            continue
        shapes[", ".join(used)] += 1
        sample = {"prompt": prompt, "completion": completion} | dict(_further(named))
        for key, value in {"category": category, **(further or {})}.items():
            if value is not None:
                sample.setdefault(key, value)
        if "category" not in sample:
            problems.setdefault("names no category; a column `category`, or --category for all, is required", []).append(line)
        left.update(key for key in named.keys() - {*used, *KEPT, *SPELT.values(), *_called("category")} if _text(named[key]))
        samples.append(sample)
    if problems:
        more = {why: f" (and on {len(lines) - 1} more)" if len(lines) > 1 else "" for why, lines in problems.items()}
        raise BadInput(*(f"{path}:{lines[0]}: {why}{more[why]}" for why, lines in problems.items()))
    for shape, count in shapes.most_common():
        of_all = f"all {count} lines have" if count > 1 else "the line has"
        which = of_all if count == len(samples) else f"{count} of {len(samples)} lines have"
        told.append(f"{which} {shape}: read as prompt, completion")
    if further is not None and samples and not any("licence" in sample for sample in samples):
        told.append("no licence stands there; --licence records it")
    if left:
        told.append(f"left out: {', '.join(sorted(left))}")
    return Imported(_with_ids(samples, told), told)


def _with_ids(samples: Sequence[dict[str, Any]], told: list[str]) -> list[dict[str, Any]]:
    """Each with an id, in the order of a dataset's keys; ids that are missing or stand twice are all given anew."""
    ids = [sample.get("id", "") for sample in samples]
    if "" in ids or len(set(ids)) < len(ids):
        if any(ids):
            told.append("ids are missing or stand twice: given anew")
        width = len(str(len(ids)))
        ids = [f"s{number:0{width}}" for number in range(1, len(ids) + 1)]
    return [
        {"id": name} | {key: sample[key] for key in FORM.known if key in sample and key != "id"}
        for name, sample in zip(ids, samples, strict=True)
    ]


# ---- what a line is taken for --------------------------------------------------------------------------------------


def _asked(named: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Question, answer, and the columns that they were read from. Raises ValueError."""
    if chat := next((key for key in CHATS if _listed(named.get(key))), None):
        return *_turns(_listed(named[chat]) or []), [chat]
    answer = next((key for key in ("completion", *_called("completion")) if _text(named.get(key))), None)
    asked = next((key for key in ("prompt", *_called("prompt")) if _text(named.get(key)) and key != answer), None)
    if answer is None or asked is None:
        has = ", ".join(key for key, value in named.items() if _text(value)) or "nothing"
        raise ValueError(f"has {has}; {ACCEPTED} are accepted")
    used, prompt = [asked], _text(named[asked])
    if asked == "instruction" and _text(named.get("input")):
        used, prompt = [asked, "input"], f"{prompt}\n\n{_text(named['input'])}"
    return prompt, _text(named[answer]), [*used, answer]


def _called(wanted: str) -> list[str]:
    return [name for name, meant in FORM.called.items() if meant == wanted]


def _listed(value: Any) -> list[Any] | None:
    """The turns of a chat, which a table holds as the text of a list."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) and len(value) else None


def _turns(turns: Sequence[Any]) -> tuple[str, str]:
    """One question and one answer. Raises ValueError for a chat of any other form: a sample has one turn."""
    said = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise ValueError("has a turn that is no object; role and content are required")
        role, text = str(turn.get("role", turn.get("from", ""))).casefold(), _text(turn.get("content", turn.get("value")))
        part = "asks" if role in ASKS else "answers" if role in ANSWERS else role or "a turn without a role"
        said.append((part, text))
    if [part for part, _ in said] != ["asks", "answers"] or not all(text for _, text in said):
        raise ValueError(
            f"has the turns {', '.join(part for part, _ in said)}; one question of a user and one answer are accepted"
        )
    return said[0][1], said[1][1]


def _further(named: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What else of a sample stands there."""
    for key in KEPT:
        if text := _text(named.get(key, named.get(SPELT.get(key, key)))):
            if key == "positions":
                value = named[key]
                yield key, [name.strip() for name in text.split(",")] if isinstance(value, str) else [_text(one) for one in value]
            else:
                yield key, int(float(text)) if key == "subset" and text.replace(".0", "").isdigit() else text
    if not _text(named.get("category")) and (other := next((key for key in _called("category") if _text(named.get(key))), None)):
        yield "category", _text(named[other])


def _text(value: Any) -> str:
    """What a cell says; empty for one that says nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return str(value).replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ").strip()


# ---- formats ---------------------------------------------------------------------------------------------------------------


def records(path: Path, told: list[str]) -> list[tuple[int, Mapping[str, Any]]]:
    """Every line with its number in the file, as far as a format has lines."""
    kind = path.suffix.casefold()
    if kind not in SUFFIXES:
        raise BadInput(f"{path}: of no kind that is read; {', '.join(SUFFIXES)} are")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        if kind == ".parquet":
            return _table(path, "read_parquet", 1)
        if kind == ".xlsx":
            return _table(path, "read_excel", 2, dtype=str, keep_default_na=False)
        text = _decoded(path, told)
        if kind == ".json":
            return list(enumerate(_objects(json.loads(text)), 1))
        if kind in (".jsonl", ".ndjson"):
            return [(number, _object(line, number)) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return _separated(text)
    except (ValueError, csv.Error, OSError, ImportError) as error:
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def _table(path: Path, reader: str, first: int, **options: Any) -> list[tuple[int, Mapping[str, Any]]]:
    import pandas as pd

    frame = getattr(pd, reader)(path, **options)
    records = [
        {key: value.tolist() if hasattr(value, "tolist") else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]
    return list(enumerate(records, first))


def _decoded(path: Path, told: list[str]) -> str:
    """UTF-8 or UTF-16 by its mark, UTF-8 without one, else as a spreadsheet of Western Europe saves."""
    data = path.read_bytes()
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise ValueError("not UTF-8, nor text in any other encoding that is known") from None
        within = data.decode(encoding, "replace")
        if sum(not one.isascii() for one in within) > 2 * within.count("\ufffd"):
            line = data[: error.start].count(b"\n") + 1
            mixed = "not UTF-8, as most of it is; files of two encodings, put together, are saved as one first"
            raise ValueError(f"line {line}: {mixed}") from None
        text, name = _spreadsheets(data)
        told.append(f"not UTF-8: read as {name}; look at its accents and quotation marks")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _spreadsheets(data: bytes) -> tuple[str, str]:
    """Bytes as the encoding gives them that makes most of them small letters with accents, or marks of print; Windows' where it is equal."""
    texts = {}
    for encoding, name in SAVED.items():
        with suppress(UnicodeDecodeError):
            texts[name] = data.decode(encoding)
    name = max(texts, key=lambda name: sum(one in _EXPECTED for one in texts[name]))
    return texts[name], name


def _separated(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    """By the delimiter that gives the first line the most columns; numbers are those of the line that a record ends on."""
    given, above = text.partition("\n"), 0
    if given[0].startswith("sep=") and len(given[0]) == 5:  # Excel's own first line
        text, delimiter, above = given[2], given[0][-1], 1
    else:
        delimiter = max(DELIMITERS, key=given[0].count)
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    if twice := [name for name, count in Counter(reader.fieldnames or ()).items() if name.strip() and count > 1]:
        raise ValueError(f"column {', '.join(twice)} stands twice; one each is required")
    return [(above + reader.line_num, record) for record in reader]


def _objects(document: Any) -> list[Mapping[str, Any]]:
    """A list of objects, or the one that an object holds."""
    if isinstance(document, Mapping):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if len(lists) == 1 else document
    if not isinstance(document, list) or not all(isinstance(one, Mapping) for one in document):
        raise ValueError("a list of objects is required")
    return document


def _object(line: str, number: int) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg} at column {error.colno}") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{line.strip()[:40]!r} is no object; one JSON object a line is required")
    return found
