"""What Label Studio and Argilla make of a project that was imported and answered, as their exports have it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

USER = "0b4b6a2e-8a0f-4b52-9f0a-2a7b7a1d7c11"


def saved(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def chosen(name: str, answer: str) -> dict[str, Any]:
    return {
        "id": "x",
        "from_name": name,
        "to_name": "completion",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [answer]},
    }


def typed(text: str, *more: str, name: str = "comment") -> dict[str, Any]:
    return {
        "id": "y",
        "from_name": name,
        "to_name": "prompt",
        "type": "textarea",
        "origin": "manual",
        "value": {"text": [text, *more]},
    }


def annotation(by: Any, *result: dict[str, Any], **further: Any) -> dict[str, Any]:
    made = {
        "id": 31,
        "completed_by": by,
        "result": list(result),
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 4.25,
    }
    return made | {"created_at": "2026-11-29T10:00:00.000000Z"} | further


def export(given: Path, by_task: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The tasks of a file as Label Studio's JSON has them once they are annotated."""
    tasks = read_json(given)
    none: list[list[dict[str, Any]]] = [[] for _ in tasks]
    return [
        {"id": 100 + at, "data": task["data"], "annotations": made, "drafts": [], "predictions": [], "meta": {}, "project": 3}
        for at, (task, made) in enumerate(zip(tasks, by_task + none[len(by_task) :], strict=True))
    ]


def small(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as JSON_MIN: a row for each annotation that was not cancelled, and for each task without one."""
    rows = []
    for task in tasks:
        for made in task["annotations"] or [{"id": None, "completed_by": {}, "result": []}]:
            if made.get("was_cancelled"):
                continue
            answers = {one["from_name"]: pretty(one["value"]) for one in made["result"]}
            by = made["completed_by"]
            known = {"annotator": by.get("email") if isinstance(by, dict) else by, "annotation_id": made["id"], "id": task["id"]}
            rows.append(task["data"] | answers | known | {name: made.get(name) for name in ("lead_time", "created_at")})
    return rows


def pretty(value: dict[str, list[str]]) -> Any:
    """One answer as itself, several as an object."""
    (answers,) = value.values()
    return answers[0] if len(answers) == 1 else value


def tabled(rows: list[dict[str, Any]]) -> str:
    """The same as CSV, with the columns in alphabetical order."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, sorted({name for row in rows for name in row}), quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({name: json.dumps(cell) if isinstance(cell, dict) else cell for name, cell in row.items()} for row in rows)
    return stream.getvalue()


EXPORTS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "export.json": lambda tasks: tasks,
    "min.json": small,
    "export.csv": lambda tasks: tabled(small(tasks)),
}


def responded(path: Path, by_record: Mapping[int, Mapping[str, Any]]) -> Path:
    """The records with responses, as `Dataset.to_disk` writes them."""
    records = read_json(path)
    for at, answers in by_record.items():
        records[at]["responses"] = {name: [{"value": value, "user_id": USER}] for name, value in answers.items()}
    return saved(path, [record | {"status": "completed", "_server_id": "x"} for record in records])
