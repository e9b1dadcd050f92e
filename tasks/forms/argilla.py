"""Argilla 2: datasets as its `Dataset.to_disk` lays them out, and their records read back with the responses.

Knows its layout and settings, whatever is asked, and without Argilla: its own settings cannot be built without a server. Records have no
metadata and no vectors, and a dataset accepts none: Argilla shows metadata to annotators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.forms.answers import rows_of, text_of

RECORDS = "records.json"
README = """\
Each folder holds the dataset of one {who}. With Argilla's package, and a workspace that only this {who} is a user of:

    import argilla as rg
    client = rg.Argilla(api_url="...", api_key="...")
    rg.Dataset.from_disk("NAME", workspace="...", client=client)

When they are done, one script for all of them, which also puts the names of users in place of their ids:

    import pathlib
    for dataset in client.datasets:
        folder = pathlib.Path("{folder}", dataset.name)
        folder.mkdir(parents=True)
        dataset.to_disk(str(folder))
        records = folder / "records.json"
        text = records.read_text()
        for user in client.users:
            text = text.replace(str(user.id), user.username)
        records.write_text(text)
"""


# ---- what goes out ---------------------------------------------------------------------------------------------------


def dataset(
    name: str,
    guidelines: str,
    fields: Mapping[str, str],
    needed: str,
    questions: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """The files of a dataset by their names. fields: name → title. needed: the field that no record lacks."""
    settings = {
        "guidelines": guidelines,
        "questions": questions,
        "fields": [
            {"name": name, "title": title, "required": name == needed, "settings": {"type": "text", "use_markdown": False}}
            for name, title in fields.items()
        ],
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    about = {"name": name, "status": "draft", "guidelines": guidelines, "allow_extra_metadata": False}
    documents = {RECORDS: records, ".argilla/settings.json": settings, ".argilla/dataset.json": about}
    # in ASCII: Argilla reads them in whatever encoding its system has
    return {name: json.dumps(document, indent=1) + "\n" for name, document in documents.items()}


def record(name: str, fields: Mapping[str, str], begins_as: Mapping[str, str] = {}) -> dict[str, Any]:
    """Fields without a text are left out. begins_as: question → the answer that stands there until it is changed."""
    return {
        "id": name,
        "fields": {field: text for field, text in fields.items() if text},
        "metadata": {},
        "suggestions": {question: {"value": text, "score": None, "agent": None} for question, text in begins_as.items() if text},
        "responses": {},
        "vectors": {},
    }


def question(
    name: str, title: str, kind: str, options: list[dict[str, Any]] | None = None, required: bool = False, **further: Any
) -> dict[str, Any]:
    settings = {"type": kind, **({"options": options} if options is not None else {}), **further}
    return {"name": name, "title": title, "description": None, "required": required, "settings": settings}


def choices(name: str, title: str, answers: Mapping[str, str]) -> dict[str, Any]:
    """One of them. A dataset has to have a question that is required."""
    return question(name, title, "label_selection", options(answers), required=True, visible_options=len(answers))


def rating(name: str, title: str, scale: Mapping[int, str], required: bool = False) -> dict[str, Any]:
    values = [{"value": number} for number in sorted(scale)]
    told = "\n".join(f"{number}: {meaning}" for number, meaning in scale.items())
    return question(name, title, "rating", values, required) | {"description": told}


def typed(name: str, title: str) -> dict[str, Any]:
    return question(name, title, "text", use_markdown=False)


def options(answers: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"value": name, "text": meaning, "description": None} for name, meaning in answers.items()]


# ---- what comes back -------------------------------------------------------------------------------------------------


def has_responses(rows: Sequence[Any]) -> bool:
    """Whether a list is one of records, as no other tool writes it."""
    return any(isinstance(one, Mapping) and "responses" in one for one in rows)


def responses(
    path: Path, wrong: list[str], said: Callable[[str, Any], Mapping[str, Any]] = lambda question, value: {question: value}
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, dict[str, Any]]]]:
    """Of each record its place, itself, and user → what they answered. `said`: the answers that the value of a question stands for.

    `wrong` takes a line for a record that is not as Argilla writes it. Raises BadInput: the file cannot be read or holds none.
    """
    for number, record in rows_of(path):
        where = f"{path}: record {record.get('id') or number}"
        by_user: dict[str, dict[str, Any]] = {}
        try:
            if not isinstance(record["id"], str):
                raise TypeError
            for question, given in record["responses"].items():
                for one in given:
                    by_user.setdefault(text_of(one["user_id"]), {}).update(said(question, one["value"]))
        except (KeyError, TypeError, AttributeError):
            wrong.append(f"{where}: has {', '.join(sorted(record))}; id and responses are required, as Argilla writes them")
            continue
        yield where, record, by_user
