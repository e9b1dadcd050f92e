"""Rating projects for Label Studio: tasks to import, the labelling interface, and its three exports read back.

Knows what a task holds: what a rater sees, and the ids that its texts are known by. Leaves Label Studio's formats to `tasks.forms`, and what an
answer may say to `values`.

Label Studio gives the tasks of a project to whoever comes, so each rater has a file, to be imported into a project of their own. It calls people by
numbers that nobody knows before they have signed up, so the rater is the one that the task names.
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
from tasks.ratings.formats.values import COMMENT, IS_ANSWER, SKIP, ends, guide, numbers, read_answers, together
from tasks.ratings.project import RANK, Item, Project

RATER, ITEM, PROMPT, COMPLETION, POSITION = "rater", "item", "prompt", "completion", "position"
INSTRUCTIONS = "instructions.html"
ONE = "annotations by one account for each rater are accepted (delete the others in Label Studio)"
KEYS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")  # for the places of each text of a block: a row of the keyboard
README = f"""To rate in Label Studio

1. For each rater, create a project and import their file (NAME.tasks.json) into it. Label Studio gives the tasks of a project to whoever comes,
   and shows every project to everybody, so tell each rater which one is theirs: it takes the answers of one account, whichever that is.
2. Settings, Labeling Interface, Code: paste config.xml, Save.
   Settings, Annotation: paste {INSTRUCTIONS}, switch on "Show before labeling", Save.
3. Leave annotations per task (`maximum_annotations`) at 1 and the sampling of tasks sequential, as they are in a new project.
   Each text is in the files of {{overlap}} rater(s): the overlap is made by the files.
4. Export as JSON, JSON_MIN or CSV. All three are read; JSON alone tells which texts were skipped with Label Studio's own button.

Whose ratings they are is said by the tasks: what was imported for NAME is NAME's.
"""


def write(project: Project, folder: Path) -> list[Path]:
    """`<rater>.tasks.json` for each rater, config.xml, the instructions, and README.txt for whoever sets it up."""
    files = {
        f"{packet.rater}.tasks.json": label_studio.tasks_of(
            [{RATER: packet.rater, **_data(project, shown)} for shown in together(project, packet)]
        )
        for packet in project.packets
    }
    overlap = max(map(len, project.raters.values()), default=0)
    how = ["Press Submit when you have answered. Button Skip is for texts that you would rather not rate, for whatever reason."]
    files["config.xml"] = _interface(project)
    files[INSTRUCTIONS] = label_studio.instructions(guide(project, how))
    files["README.txt"] = README.format(overlap=overlap)
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
        text, row = COMPLETION + end, "".join(KEYS[number - 1 : number])
        label_studio.shown(view, text, f"Text {number}" if ranking else "Text")
        label_studio.choices(view, IS_ANSWER + end, text, words.IS_ANSWER, answers, "" if ranking else "yn")
        asked, of, keys = ("Its place", places, row) if ranking else (words.HOW_WELL, scale, "".join(scale))
        label_studio.choices(view, numbers(project) + end, text, asked, of, keys)
    label_studio.choices(view, SKIP, PROMPT, "Skip it instead?", words.SKIPPED)
    label_studio.typed(view, COMMENT, PROMPT, "Comment")
    return label_studio.as_text(view)


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Given]:
    """What an export says: JSON, JSON_MIN or CSV (TSV).

    Raises:
        BadInput: a line for all that cannot be read: the file, a task that names no rater or item, an annotation that names nobody, a rater of two
            accounts or an account of two raters, an answer that is none.
    """
    found: list[Given] = []
    wrong: list[str] = []
    accounts: dict[str, str] = {}  # rater → theirs
    raters: dict[str, str] = {}
    for task in label_studio.tasks(path):
        items = _items(task.data)
        if not items:
            require(path, [ITEM], task.data)
        require(path, [RATER], task.data)
        rater = text_of(task.data[RATER])
        for one in label_studio.annotations_of(task, wrong):
            if accounts.setdefault(rater, one.by) != one.by:
                wrong.append(f"{task.where}: annotated by {one.by}, other texts of {rater} by {accounts[rater]}; {ONE}")
            elif raters.setdefault(one.by, rater) != rater:
                wrong.append(f"{task.where}: of {rater}, annotated by {one.by} as texts of {raters[one.by]} were; {ONE}")
            found += read_answers(items, _answers(one), rater, always(task.where), wrong, seconds=one.seconds, at=one.at)
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
