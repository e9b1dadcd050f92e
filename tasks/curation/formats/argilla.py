"""Drafts for Argilla 2: a dataset an annotator, and its records read back with the responses.

Knows what a record holds. Leaves Argilla's layout to `tasks.forms`, and what an answer may say to `answers`. Argilla shows the records of a dataset
to everyone of its workspace, so each annotator has a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from configs.problems import BadInput
from configs.rating import SCALE
from tasks.contract import digest_of
from tasks.curation import words
from tasks.curation.annotations import Annotation
from tasks.curation.drafts import Draft
from tasks.curation.formats.answers import (
    CATEGORY,
    CLAIMS,
    COMMENT,
    COMPLETION,
    CORRECTED,
    FACTUAL,
    GUIDE,
    POSITION,
    POSITION_HELD,
    PROMPT,
    TONE,
    fields,
    guide,
    read_answers,
)
from tasks.forms import argilla
from tasks.forms.answers import always
from tasks.forms.files import written

FIELDS = {CATEGORY: "Category", POSITION: "Position", CLAIMS: words.CLAIMS, PROMPT: "Prompt", COMPLETION: "Completion"}
QUESTIONS = (
    argilla.typed(CORRECTED, words.CORRECTED),
    argilla.rating(POSITION_HELD, words.POSITION_HELD, SCALE, required=True),
    argilla.choices(FACTUAL, words.FACTUAL, words.FACTUALS),
    argilla.choices(TONE, words.TONE, {tone: f"{tone}: {meaning}" for tone, meaning in words.TONES_MEAN.items()}),
    argilla.typed(COMMENT, words.COMMENT),
)
README = f"""To check drafts in Argilla 2

{argilla.README.format(who="annotator", folder="annotated")}
Whose annotations these are is said by the names of the users. An export does not tell a response that was discarded, or left as a draft, from one
that was submitted.
"""


def write(drafts: Sequence[Draft], annotators: Sequence[str], stated: Mapping[str, str], folder: Path) -> list[Path]:
    """`<annotator>/records.json`, `.argilla/settings.json` and `.argilla/dataset.json` for each, the guidelines, and README.txt.

    stated: category → its position. The completion stands under the first question too, to be changed there.
    """
    how = [
        "The completion stands there to be changed; leave it as it is where nothing is to be. Press Submit when you have answered."
    ]
    guidelines = guide(drafts, {}, how)  # Argilla takes 10,000 characters; positions stand beside the texts
    records = [argilla.record(draft.id, fields(draft, stated), {CORRECTED: draft.completion}) for draft in drafts]
    name = "drafts-" + digest_of([asdict(draft) for draft in drafts])[:12]
    files: dict[str, str] = {}
    for number, annotator in enumerate(annotators, 1):
        dataset = argilla.dataset(f"{name}-{number}", guidelines, FIELDS, PROMPT, QUESTIONS, records)
        files |= {f"{annotator}/{file}": text for file, text in dataset.items()}
    return written(folder, {**files, GUIDE: guide(drafts, stated, how), "README.txt": README})


def read(path: Path) -> list[Annotation]:
    """What `records.json`, or the folder that holds it, says. The annotator is `user_id` of a response.

    Raises:
        BadInput: a line for all that cannot be read: the file, a record without an id or of another form, an answer that is none.
    """
    path = path / argilla.RECORDS if path.is_dir() else path
    found: list[Annotation] = []
    wrong: list[str] = []
    for where, record, by_annotator in argilla.responses(path, wrong):
        shown = record.get("fields")
        for annotator, answers in by_annotator.items():
            beside = shown if isinstance(shown, Mapping) else {}
            found += read_answers(record["id"], annotator, answers, beside, always(where), wrong)
    if wrong:
        raise BadInput(*wrong)
    return found
