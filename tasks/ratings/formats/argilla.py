"""Rating projects for Argilla 2: a dataset a rater, and its records read back with the responses.

Knows what a record holds. Leaves Argilla's layout to `tasks.forms`, and what an answer may say to `values`. Argilla shows the records of a dataset
to everyone of its workspace, so each rater has a dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.forms import argilla
from tasks.forms.answers import always
from tasks.forms.files import written
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import COMMENT, GUIDE, IS_ANSWER, RANKING, RATING, SKIP, ends, guide, read_answers, together
from tasks.ratings.project import RANK, Item, Project

JOINED = "-"  # between the ids of texts that are shown together; no id holds it
README = f"""To rate in Argilla 2

{argilla.README.format(who="rater", folder="rated")}
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
        dataset = argilla.dataset(
            f"{project.id}-{number}", guidelines, _fields(project), "prompt", list(_questions(project)), records
        )
        files |= {f"{packet.rater}/{name}": text for name, text in dataset.items()}
    return written(folder, {**files, GUIDE: guide(project, how), "README.txt": README})


def _record(project: Project, shown: Sequence[Item]) -> dict[str, Any]:
    first = shown[0]
    fields = {"category": first.category, "position": project.positions.get(first.category, ""), "prompt": first.prompt}
    fields |= {f"completion{end}": item.completion for end, item in zip(ends(project), shown, strict=False)}
    return argilla.record(JOINED.join(item.id for item in shown), fields)


def _texts(project: Project) -> dict[str, str]:
    titles = [f"Text {number}" for number, _ in enumerate(ends(project), 1)] if project.mode == RANK else ["Text"]
    return {f"completion{end}": title for end, title in zip(ends(project), titles, strict=True)}


def _fields(project: Project) -> dict[str, str]:
    return {"category": "Category", "position": "Position", "prompt": "Prompt", **_texts(project)}


def _questions(project: Project) -> Iterator[dict[str, Any]]:
    answers = {"yes": words.IS_AN_ANSWER[1], "no": words.IS_AN_ANSWER[0], **words.SKIPPED}
    for end, title in zip(ends(project), _texts(project).values(), strict=True):
        asked = f"{title}: {words.IS_ANSWER}" if project.mode == RANK else words.IS_ANSWER
        yield argilla.choices(IS_ANSWER + end, asked, answers)
    if project.mode == RANK:
        yield argilla.question(RANKING, words.RANKING, "ranking", argilla.options(_texts(project)))
    else:
        yield argilla.rating(RATING, words.HOW_WELL, words.SCALE)
    yield argilla.typed(COMMENT, "Comment")


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What `records.json`, or the folder that holds it, says. The rater is `user_id` of a response.

    Raises:
        BadInput: a line for all that cannot be read: the file, a record without an id or of another form, an answer that is none.
    """
    path = path / argilla.RECORDS if path.is_dir() else path
    found: list[Given] = []
    wrong: list[str] = []
    for where, record, by_rater in argilla.responses(path, wrong, _said):
        for rater, answers in by_rater.items():
            found += read_answers(record["id"].split(JOINED), answers, rater, always(where), wrong)
    if wrong:
        raise BadInput(*wrong)
    return found


def _said(question: str, value: Any) -> dict[str, Any]:
    """As `values` names it: a choice to skip stands among the answers to the question of yes and no."""
    if question == RANKING:
        return {option["value"].replace("completion", RANKING): option.get("rank") for option in value}
    if question.startswith(IS_ANSWER) and value in words.SKIPPED:
        return {question.replace(IS_ANSWER, SKIP): value}
    return {question: value}
