"""Rating projects for Label Studio: tasks to import, the labelling interface, and its three exports read back.

Knows what a task holds: what a rater sees, and the ids that its texts are known by. Leaves Label Studio's formats to `tasks.forms`, and what an
answer may say to `values`.

Label Studio gives the tasks of a project to whoever comes, so each rater has a file, to be imported into a project of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from tasks.forms import label_studio
from tasks.forms.answers import always, require, text_of
from tasks.forms.files import written
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import COMMENT, GUIDE, IS_ANSWER, SKIP, ends, guide, numbers, read_answers, together
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
        f"{packet.rater}.tasks.json": label_studio.tasks_of([_data(project, shown) for shown in together(project, packet)])
        for packet in project.packets
    }
    overlap = max(map(len, project.raters.values()), default=0)
    how = ["Press Submit when you have answered. Button Skip is for texts that you would rather not rate, for whatever reason."]
    files["config.xml"] = _interface(project)
    files[GUIDE] = guide(project, how)
    files["README.txt"] = README.format(guide=GUIDE, overlap=overlap)
    return written(folder, files)


def _data(project: Project, shown: Sequence[Item]) -> dict[str, str]:
    first = shown[0]
    data = {"category": first.category, POSITION: project.positions.get(first.category, ""), PROMPT: first.prompt}
    for at, end in enumerate(ends(project)):  # a key for every place of the interface, also where a block is smaller
        data[ITEM + end] = shown[at].id if at < len(shown) else ""
        data[COMPLETION + end] = shown[at].completion if at < len(shown) else ""
    return data


def _interface(project: Project) -> str:
    view, ranking, endings = label_studio.interface(), project.mode == RANK, ends(project)
    answers = {"yes": words.IS_AN_ANSWER[1], "no": words.IS_AN_ANSWER[0]}
    places = {str(place): "" for place in range(1, len(endings) + 1)}
    scale = {str(number): said for number, said in words.SCALE.items()}
    label_studio.heading(view, words.RANKING if ranking else words.TASK)
    for name, title in (("category", "Category"), (POSITION, "Position"), (PROMPT, "Prompt")):
        label_studio.shown(view, name, title)
    for number, end in enumerate(endings, 1):
        text = COMPLETION + end
        label_studio.shown(view, text, f"Text {number}" if ranking else "Text")
        label_studio.choices(view, IS_ANSWER + end, text, words.IS_ANSWER, answers)
        asked, of = ("Its place", places) if ranking else (words.HOW_WELL, scale)
        label_studio.choices(view, numbers(project) + end, text, asked, of)
    label_studio.choices(view, SKIP, PROMPT, "Skip it instead?", words.SKIPPED)
    label_studio.typed(view, COMMENT, PROMPT, "Comment")
    return label_studio.as_text(view)


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What an export says: JSON, JSON_MIN or CSV (TSV). The rater is the email of whoever annotated, or else their id.

    Raises:
        BadInput: a line for all that cannot be read: the file, a task that holds no item, an annotation that names nobody, an answer that is none.
    """
    found: list[Given] = []
    wrong: list[str] = []
    for task in label_studio.tasks(path):
        items = _items(task.data)
        if not items:
            require(path, [ITEM], task.data)
        for one in label_studio.annotations_of(task, wrong):
            found += read_answers(items, _answers(one), one.by, always(task.where), wrong, seconds=one.seconds, at=one.at)
    if wrong:
        raise BadInput(*wrong)
    return found


def _items(data: Mapping[str, Any]) -> list[str]:
    """The ids of a task's texts, in the order in which they were shown."""
    if ITEM in data:
        return [text_of(data[ITEM])]
    numbered = (f"{ITEM}_{number}" for number in range(1, len(data) + 1))
    return [text_of(data[name]) for name in numbered if text_of(data.get(name))]


def _answers(annotation: label_studio.Annotation) -> dict[str, Any]:
    answers = {**annotation.answers, COMMENT: "\n".join(label_studio.texts_of(annotation.answers.get(COMMENT)))}
    return {SKIP: answers.get(SKIP) or "other", COMMENT: answers[COMMENT]} if annotation.cancelled else answers
