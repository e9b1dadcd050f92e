"""Drafts for Label Studio: tasks to import, the labelling interface, and its three exports read back.

Knows what a task holds. Leaves Label Studio's formats to `tasks.forms`, and what an answer may say to `answers`. Whoever annotates in a project sees
what the others of it said, so each annotator has a file, to be imported into a project of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.curation import words
from tasks.curation.annotations import Annotation
from tasks.curation.drafts import Draft
from tasks.curation.formats.answers import (
    CATEGORY,
    CLAIMS,
    COMMENT,
    COMPLETION,
    CORRECTED,
    DRAFT,
    FACTUAL,
    POSITION,
    POSITION_HELD,
    PROMPT,
    TONE,
    fields,
    guide,
    read_answers,
)
from tasks.forms import label_studio
from tasks.forms.answers import Answers, always, require, text_of
from tasks.forms.files import written

GUIDELINES = "guidelines.html"
README = f"""To check drafts in Label Studio

1. For each annotator, create a project and import their file (NAME.tasks.json) into it: in one project for all, they would see what the others say.
2. Settings, Labeling Interface, Code: paste config.xml. Settings, Annotation: paste {GUIDELINES}, switch on "Show before labeling".
3. Leave `maximum_annotations` (annotations per task) at 1.
4. Export as JSON, JSON_MIN or CSV. All three are read.

Whose annotations an export holds is said by the id of the user in Label Studio, or where the export has it by the email.
"""


def write(drafts: Sequence[Draft], annotators: Sequence[str], stated: Mapping[str, str], folder: Path) -> list[Path]:
    """`<annotator>.tasks.json` for each, config.xml, the guidelines, and README.txt for whoever sets it up. stated: category → its position."""
    tasks = label_studio.tasks_of([{DRAFT: draft.id, **fields(draft, stated)} for draft in drafts])
    how = [
        "The completion stands there to be changed; leave it as it is where nothing is to be. Press Submit when you have answered."
    ]
    files = {f"{annotator}.tasks.json": tasks for annotator in annotators}
    told = label_studio.instructions(guide(drafts, stated, how))
    return written(folder, {**files, "config.xml": _interface(), GUIDELINES: told, "README.txt": README})


def _interface() -> str:
    view = label_studio.interface()
    label_studio.heading(view, words.WARNING)
    label_studio.heading(view, words.TASK)
    for name, title in (
        (CATEGORY, "Category"),
        (POSITION, "Position"),
        (CLAIMS, words.CLAIMS),
        (PROMPT, "Prompt"),
        (COMPLETION, "Completion"),
    ):
        label_studio.shown(view, name, title)
    label_studio.typed(view, CORRECTED, PROMPT, words.CORRECTED, rows=10, begins_as=COMPLETION)
    scale = {str(number): meaning for number, meaning in SCALE.items()}
    label_studio.choices(view, POSITION_HELD, PROMPT, words.POSITION_HELD, scale, "".join(scale))
    label_studio.choices(view, FACTUAL, PROMPT, words.FACTUAL, words.FACTUALS)
    label_studio.choices(view, TONE, PROMPT, words.TONE, words.TONES_MEAN)
    label_studio.typed(view, COMMENT, PROMPT, words.COMMENT)
    return label_studio.as_text(view)


def read(path: Path) -> list[Annotation]:
    """What an export says: JSON, JSON_MIN or CSV (TSV). Of a task that was skipped with Label Studio's own button the comment alone is taken.

    Raises:
        BadInput: a line for all that cannot be read: the file, a task that holds no draft, an annotation that names nobody, an answer that is none.
    """
    found: list[Annotation] = []
    wrong: list[str] = []
    for task in label_studio.tasks(path):
        require(path, [DRAFT], task.data)
        for one in label_studio.annotations_of(task, wrong):
            comment = "\n".join(label_studio.texts_of(one.answers.get(COMMENT)))
            written = _written(one.answers, task, wrong)
            answers = {COMMENT: comment} if one.cancelled else {**one.answers, CORRECTED: written, COMMENT: comment}
            found += read_answers(text_of(task.data[DRAFT]), one.by, answers, task.data, always(task.where), wrong)
    if wrong:
        raise BadInput(*wrong)
    return found


def _written(answers: Answers, task: label_studio.Task, wrong: list[str]) -> str:
    """The text that was typed, beside the draft's own, which an annotation that is submitted again is given once more."""
    draft = text_of(task.data.get(COMPLETION))
    texts = list(dict.fromkeys(text for text in label_studio.texts_of(answers.get(CORRECTED)) if text != draft))
    if len(texts) > 1:
        wrong.append(f"{task.where}: {len(texts)} texts under {CORRECTED}; one is accepted")
    return "".join(texts[:1])
