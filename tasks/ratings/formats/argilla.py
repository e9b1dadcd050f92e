"""Rating projects for Argilla 2: datasets as its `Dataset.to_disk` lays them out, and their records read back with the responses.

Knows Argilla's layout and settings, without Argilla: its own settings cannot be built without a server. Leaves what an answer may say to `values`.
Records have no metadata, no suggestions and no vectors, and a dataset accepts none: Argilla shows metadata to annotators.

Argilla shows the records of a dataset to everyone of its workspace, so each rater has a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import (
    COMMENT,
    GUIDE,
    IS_ANSWER,
    RANKING,
    RATING,
    SKIP,
    always,
    ends,
    guide,
    read_answers,
    rows_of,
    text_of,
    together,
    written,
)
from tasks.ratings.project import RANK, Item, Project

RECORDS = "records.json"
JOINED = "-"  # between the ids of texts that are shown together; no id holds it
README = """To rate in Argilla 2

Each folder holds the dataset of one rater. With Argilla's package, and a workspace that only this rater is a user of:

    import argilla as rg
    client = rg.Argilla(api_url="...", api_key="...")
    rg.Dataset.from_disk("NAME", workspace="...", client=client)

When they are done, one script for all of them, which also puts the names of users in place of their ids:

    import pathlib
    for dataset in client.datasets:
        folder = pathlib.Path("rated", dataset.name)
        folder.mkdir(parents=True)
        dataset.to_disk(str(folder))
        records = folder / "records.json"
        text = records.read_text()
        for user in client.users:
            text = text.replace(str(user.id), user.username)
        records.write_text(text)

The raters of the project have to be called as the users of Argilla are. Raters submit each text, and choose a reason to skip it there: an export
does not tell a text that was discarded, or left as a draft, from one that was submitted.
"""


def write(project: Project, folder: Path) -> list[Path]:
    """`<rater>/records.json`, `.argilla/settings.json` and `.argilla/dataset.json` for each rater, the instructions, and README.txt."""
    how = [
        "Press Submit when you have answered. Where you would rather not rate a text, choose the reason in place of yes or no; do not press Discard."
    ]
    guidelines = guide(replace(project, positions={}), how)  # Argilla takes 10,000 characters; positions stand beside the texts
    files: dict[str, str] = {}
    for number, packet in enumerate(project.packets, 1):
        records = [_record(project, shown) for shown in together(project, packet)]
        dataset = {"name": f"{project.id}-{number}", "status": "draft", "guidelines": guidelines, "allow_extra_metadata": False}
        for name, document in (
            (RECORDS, records),
            (".argilla/settings.json", _settings(project, guidelines)),
            (".argilla/dataset.json", dataset),
        ):
            # in ASCII: Argilla reads them in whatever encoding its system has
            files[f"{packet.rater}/{name}"] = json.dumps(document, indent=1) + "\n"
    return written(folder, {**files, GUIDE: guide(project, how), "README.txt": README})


def _record(project: Project, shown: Sequence[Item]) -> dict[str, Any]:
    first = shown[0]
    fields = {"category": first.category, "position": project.positions.get(first.category, ""), "prompt": first.prompt}
    fields |= {f"completion{end}": item.completion for end, item in zip(ends(project), shown, strict=False)}
    return {
        "id": JOINED.join(item.id for item in shown),
        "fields": {name: text for name, text in fields.items() if text},
        "metadata": {},
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _settings(project: Project, guidelines: str) -> dict[str, Any]:
    endings, ranking = ends(project), project.mode == RANK
    texts = {f"completion{end}": f"Text {number}" if ranking else "Text" for number, end in enumerate(endings, 1)}
    fields = {"category": "Category", "position": "Position", "prompt": "Prompt", **texts}
    answers = {"yes": words.IS_AN_ANSWER[1], "no": words.IS_AN_ANSWER[0], **words.SKIPPED}
    questions = [
        _question(
            IS_ANSWER + end,
            f"{title}: {words.IS_ANSWER}" if ranking else words.IS_ANSWER,
            "label_selection",
            [{"value": name, "text": meaning, "description": None} for name, meaning in answers.items()],
            required=True,  # a dataset has to have one that is
            visible_options=len(answers),
        )
        for end, title in zip(endings, texts.values(), strict=True)
    ]
    if ranking:
        options = [{"value": name, "text": title, "description": None} for name, title in texts.items()]
        questions.append(_question(RANKING, words.RANKING, "ranking", options))
    else:
        scale = "\n".join(f"{number}: {meaning}" for number, meaning in words.SCALE.items())
        values = [{"value": number} for number in sorted(words.SCALE)]
        questions.append(_question(RATING, words.HOW_WELL, "rating", values) | {"description": scale})
    questions.append(_question(COMMENT, "Comment", "text", use_markdown=False))
    return {
        "guidelines": guidelines,
        "questions": questions,
        "fields": [
            {"name": name, "title": title, "required": name == "prompt", "settings": {"type": "text", "use_markdown": False}}
            for name, title in fields.items()
        ],
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _question(
    name: str, title: str, kind: str, options: list[dict[str, Any]] | None = None, required: bool = False, **further: Any
) -> dict[str, Any]:
    settings = {"type": kind, **({"options": options} if options is not None else {}), **further}
    return {"name": name, "title": title, "description": None, "required": required, "settings": settings}


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What `records.json`, or the folder that holds it, says. The rater is `user_id` of a response.

    Raises:
        BadInput: a line for all that cannot be read: the file, a record without an id or of another form, an answer that is none.
    """
    path = path / RECORDS if path.is_dir() else path
    found: list[Given] = []
    wrong: list[str] = []
    for number, record in rows_of(path):
        where = f"{path}: record {record.get('id') or number}"
        try:
            items, responses = record["id"].split(JOINED), _by_rater(record["responses"])
        except (KeyError, TypeError, AttributeError):
            wrong.append(f"{where}: has {', '.join(sorted(record))}; id and responses are required, as Argilla writes them")
            continue
        for rater, answers in responses.items():
            found += read_answers(items, answers, rater, always(where), wrong)
    if wrong:
        raise BadInput(*wrong)
    return found


def _by_rater(responses: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Rater → what they answered, as `values` names it: a choice to skip stands among the answers to the question of yes and no."""
    held: dict[str, dict[str, Any]] = {}
    for question, given in responses.items():
        for one in given:
            answers = held.setdefault(text_of(one["user_id"]), {})
            if question == RANKING:
                answers |= {option["value"].replace("completion", RANKING): option.get("rank") for option in one["value"]}
            elif question.startswith(IS_ANSWER) and one["value"] in words.SKIPPED:
                answers[question.replace(IS_ANSWER, SKIP)] = one["value"]
            else:
                answers[question] = one["value"]
    return held
