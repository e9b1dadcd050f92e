"""Rating projects for Label Studio: tasks to import, the labelling interface, and its three exports read back.

Knows Label Studio's formats (1.x). Leaves what an answer may say to `values`. A task holds what a rater sees and the ids that its texts are known
by; it has no predictions, no annotations and no metadata.

Label Studio gives the tasks of a project to whoever comes, so each rater has a file, to be imported into a project of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from configs.problems import BadInput
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import (
    COMMENT,
    GUIDE,
    IS_ANSWER,
    SKIP,
    always,
    ends,
    guide,
    numbers,
    read_answers,
    require,
    rows_of,
    text_of,
    together,
    written,
)
from tasks.ratings.project import RANK, Item, Project

ITEM, PROMPT, COMPLETION, POSITION = "item", "prompt", "completion", "position"
README = """To rate in Label Studio

1. For each rater, create a project and import their file (NAME.tasks.json) into it. Label Studio gives the tasks of a project to whoever comes:
   in one project for all, raters would be given texts that are not theirs, and ratings of these are refused.
2. Settings, Labeling Interface, Code: paste config.xml. Settings, Instructions: paste {guide}.
3. Leave `maximum_annotations` (annotations per task) at 1, and the order of tasks sequential. Each text is in the files of {overlap} rater(s): the
   overlap is made by the files.
4. Export as JSON, JSON_MIN or CSV. All three are read; JSON alone tells which texts were skipped with Label Studio's own button.

Whose ratings an export holds is said by the id of the user in Label Studio, or where the export has it by the email. The raters of the project
have to be called so: one who annotates as user 7 is rater 7.
"""


def write(project: Project, folder: Path) -> list[Path]:
    """`<rater>.tasks.json` for each rater, config.xml, the instructions, and README.txt for whoever sets it up."""
    files = {
        f"{packet.rater}.tasks.json": json.dumps(
            [_task(project, shown) for shown in together(project, packet)], ensure_ascii=False, indent=1
        )
        + "\n"
        for packet in project.packets
    }
    overlap = max(map(len, project.raters.values()), default=0)
    how = ["Press Submit when you have answered. Button Skip is for texts that you would rather not rate, for whatever reason."]
    files["config.xml"] = _interface(project)
    files[GUIDE] = guide(project, how)
    files["README.txt"] = README.format(guide=GUIDE, overlap=overlap)
    return written(folder, files)


def _task(project: Project, shown: Sequence[Item]) -> dict[str, Any]:
    first = shown[0]
    data = {"category": first.category, POSITION: project.positions.get(first.category, ""), PROMPT: first.prompt}
    for at, end in enumerate(ends(project)):  # a key for every place of the interface, also where a block is smaller
        data[ITEM + end] = shown[at].id if at < len(shown) else ""
        data[COMPLETION + end] = shown[at].completion if at < len(shown) else ""
    return {"data": data}


def _interface(project: Project) -> str:
    """Texts are shown as texts, with their line breaks, and never as HTML."""
    view = xml.Element("View")
    xml.SubElement(view, "Style").text = ".htx-text { white-space: pre-wrap; }"
    _heading(view, words.RANKING if project.mode == RANK else words.TASK)
    for name, heading in (("category", "Category"), (POSITION, "Position"), (PROMPT, "Prompt")):
        _shown(view, name, heading)
    endings = ends(project)
    for number, end in enumerate(endings, 1):
        _shown(view, COMPLETION + end, f"Text {number}" if project.mode == RANK else "Text")
        _choices(
            view, IS_ANSWER + end, COMPLETION + end, words.IS_ANSWER, {"yes": words.IS_AN_ANSWER[1], "no": words.IS_AN_ANSWER[0]}
        )
        if project.mode == RANK:
            _choices(
                view,
                numbers(project) + end,
                COMPLETION + end,
                "Its place",
                {str(place): "" for place in range(1, len(endings) + 1)},
            )
        else:
            _choices(
                view, numbers(project), COMPLETION, words.HOW_WELL, {str(number): said for number, said in words.SCALE.items()}
            )
    _choices(view, SKIP, PROMPT, "Skip it instead?", words.SKIPPED)
    _heading(view, "Comment")
    xml.SubElement(view, "TextArea", name=COMMENT, toName=PROMPT, maxSubmissions="1", rows="2", editable="true")
    xml.indent(view)
    return xml.tostring(view, encoding="unicode") + "\n"


def _heading(view: xml.Element, text: str) -> None:
    xml.SubElement(view, "Header", value=text, size="5")


def _shown(view: xml.Element, name: str, heading: str) -> None:
    _heading(view, heading)
    xml.SubElement(view, "Text", name=name, value=f"${name}", valueType="text", selectionEnabled="false")


def _choices(view: xml.Element, name: str, about: str, asked: str, answers: Mapping[str, str]) -> None:
    """One of them, or none. An annotation holds the alias."""
    _heading(view, asked)
    choices = xml.SubElement(view, "Choices", name=name, toName=about, choice="single")
    for answer, meaning in answers.items():
        xml.SubElement(choices, "Choice", value=f"{answer}: {meaning}" if meaning else answer, alias=answer)


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What an export says: JSON, JSON_MIN or CSV (TSV). The rater is the email of whoever annotated, or else their id.

    Raises:
        BadInput: a line for all that cannot be read: the file, a task that holds no item, an annotation that names nobody, an answer that is none.
    """
    rows = rows_of(path)
    tabular = path.suffix.casefold() != ".json"
    found: list[Given] = []
    wrong: list[str] = []
    for line, row in rows:
        task = f"{path}:{line}: task {row.get('id')}" if tabular else f"{path}: task {row.get('id')}"
        data = row["data"] if isinstance(row.get("data"), Mapping) else row
        items = _items(data)
        if not items:
            require(path, [ITEM], data)
        try:
            annotations = list(_annotations(row))
        except (KeyError, TypeError, AttributeError, ValueError):
            wrong.append(f"{task}: its annotations are not as Label Studio writes them; an export as it is is required")
            continue
        for answers, rater, further in annotations:
            if not rater:
                wrong.append(f"{task}: an annotation by nobody; the id or email of whoever annotated is required")
            found += read_answers(items, answers, rater, always(task), wrong, **further)
    if wrong:
        raise BadInput(*wrong)
    return found


def _items(data: Mapping[str, Any]) -> list[str]:
    """The ids of a task's texts, in the order in which they were shown."""
    if ITEM in data:
        return [text_of(data[ITEM])]
    numbered = (f"{ITEM}_{number}" for number in range(1, len(data) + 1))
    return [text_of(data[name]) for name in numbered if text_of(data.get(name))]


def _annotations(row: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, dict[str, Any]]]:
    """Answers, who gave them, and what else is known of each annotation of a task: of all, or in JSON_MIN and CSV of the one that a row holds."""
    if "data" not in row:
        if text_of(row.get("annotation_id")):
            yield row, text_of(row.get("annotator")), _times(row)
        return
    for annotation in row.get("annotations") or []:
        answers: dict[str, Any] = {
            one["from_name"]: _value(one["value"]) for one in annotation.get("result") or [] if "from_name" in one
        }
        if annotation.get("was_cancelled"):
            answers = {
                SKIP: answers.get(SKIP) or "other",
                COMMENT: answers.get(COMMENT),
            }  # answers of a task that was skipped are drafts
        by = annotation.get("completed_by")
        yield answers, text_of(by.get("email") or by.get("id") if isinstance(by, Mapping) else by), _times(annotation)


def _value(value: Mapping[str, Any]) -> str:
    """What was chosen or written."""
    said = value.get("choices", value.get("text", ""))
    return "\n".join(map(str, said)) if isinstance(said, Sequence) and not isinstance(said, str) else text_of(said)


def _times(annotation: Mapping[str, Any]) -> dict[str, Any]:
    seconds = text_of(annotation.get("lead_time"))
    return {"seconds": float(seconds) if seconds else None, "at": text_of(annotation.get("created_at"))}
