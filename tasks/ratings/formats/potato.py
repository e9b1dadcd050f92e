"""Rating projects for Potato: data and configuration of an annotation server, and what it keeps or exports of each annotator read back.

Knows Potato's formats (2.x). Leaves what an answer may say to `values`. Potato shows a text as HTML, so texts are escaped. Its assignment by
batches gives each rater the packet that is theirs, in its order.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.problems import BadInput
from tasks.forms.answers import always, require, rows_of, text_of
from tasks.forms.files import written
from tasks.ratings import words
from tasks.ratings.collected import Given
from tasks.ratings.formats.values import COMMENT, GUIDE, IS_ANSWER, SKIP, ends, guide, numbers, read_answers, together
from tasks.ratings.project import RANK, Item, Project

STATE, LABELS = "user_state.json", "instance_id_to_label_to_value"
DATA = "items.jsonl"
JOINED = "-"  # between the ids of texts that are shown together; no id holds it
WRITTEN = "text_box"  # the label of what is typed
README = f"""To rate in Potato

    pip install potato-annotation
    potato start config.yaml

Raters register under their names in the project, and are given the texts that are theirs; nobody else is given any. {GUIDE} is for them.
What each of them said lies in annotation_output/NAME/{STATE}; that file is read, and so are Potato's exports as csv, tsv and jsonl.
"""


def write(project: Project, folder: Path) -> list[Path]:
    """config.yaml and items.jsonl for the server, the instructions for raters, and README.txt for whoever runs it."""
    shown = {packet.rater: {_id(items): items for items in together(project, packet)} for packet in project.packets}
    every = sorted({name: items for held in shown.values() for name, items in held.items()}.items())
    data = [json.dumps({"id": name, "text": _page(project, items)}, ensure_ascii=False) + "\n" for name, items in every]
    how = ["Your answers are kept when you go on to the next text. To skip a text, choose the reason in place of a number."]
    files = {
        "config.yaml": yaml.safe_dump(_server(project, shown), sort_keys=False, allow_unicode=True),
        DATA: "".join(data),
        GUIDE: guide(project, how),
        "README.txt": README,
    }
    return written(folder, files)


def _id(shown: Sequence[Item]) -> str:
    return JOINED.join(item.id for item in shown)


def _page(project: Project, shown: Sequence[Item]) -> str:
    first = shown[0]
    parts = {"Category": first.category, "Position": project.positions.get(first.category, ""), "Prompt": first.prompt}
    parts |= {f"Text {number}" if project.mode == RANK else "Text": item.completion for number, item in enumerate(shown, 1)}
    return "".join(f"<p><b>{name}</b><br>{_escaped(text)}</p>" for name, text in parts.items())


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _server(project: Project, shown: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    return {
        "annotation_task_name": words.TITLE,
        "task_dir": ".",
        "output_annotation_dir": "annotation_output",
        "data_files": [DATA],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "user_config": {"allow_all_users": False, "users": list(shown)},
        "assignment_strategy": "batch",
        "batch_assignment": {
            "groups": [{"name": rater, "annotators": [rater], "instances": list(held)} for rater, held in shown.items()]
        },
        "max_annotations_per_item": max(map(len, project.raters.values()), default=1),
        "max_annotations_per_user": -1,
        "annotation_schemes": list(_schemes(project)),
    }


def _schemes(project: Project) -> Iterator[dict[str, Any]]:
    endings, ranking = ends(project), project.mode == RANK
    for number, end in enumerate(endings, 1):
        about = f"Text {number}: " if ranking else ""
        yield _radio(IS_ANSWER + end, about + words.IS_ANSWER, {"yes": words.IS_AN_ANSWER[1], "no": words.IS_AN_ANSWER[0]})
        if ranking:
            yield _radio(
                numbers(project) + end,
                about + "its place, 1 for the best",
                {str(place): "" for place in range(1, len(endings) + 1)},
            )
        else:
            least, most = min(words.SCALE), max(words.SCALE)
            yield {
                "annotation_type": "likert",
                "name": numbers(project),
                "description": words.HOW_WELL,
                "min_label": words.SCALE[least],
                "max_label": words.SCALE[most],
                "size": most,
            }
    yield _radio(SKIP, "Skip it instead?", {"no": "no, I rate it", **words.SKIPPED})
    yield {"annotation_type": "text", "name": COMMENT, "description": "Comment"}


def _radio(name: str, asked: str, answers: Mapping[str, str]) -> dict[str, Any]:
    labels = [
        {"name": answer, "displayed_label": f"{answer}: {meaning}" if meaning else answer} for answer, meaning in answers.items()
    ]
    return {"annotation_type": "radio", "name": name, "description": asked, "labels": labels}


# ---- reading ---------------------------------------------------------------------------------------------------------------

Kept = tuple[
    str, str, str, Mapping[str, Mapping[str, Any]]
]  # place, rater, instance, and of each question its labels with their values


def read(path: Path) -> list[Given]:
    """What Potato keeps of an annotator (`user_state.json`), or its export of all (CSV, TSV, JSONL).

    Raises:
        BadInput: a line for all that cannot be read: the file, columns that are missing, two answers to one question, an answer that is none.
    """
    found: list[Given] = []
    wrong: list[str] = []
    for where, rater, instance, labels in _state(path) if path.suffix.casefold() == ".json" else _export(path):
        answers: dict[str, str] = {}
        for question, chosen in labels.items():
            said = [text_of(value) if question == COMMENT else name for name, value in chosen.items() if text_of(value)]
            if len(said) > 1:
                wrong.append(f"{where}: {question} is answered with {', '.join(said)}; one answer is accepted")
            answers[question] = "".join(said[:1])
        found += read_answers(instance.split(JOINED), answers, rater, always(where), wrong)
    if wrong:
        raise BadInput(*wrong)
    return found


def _state(path: Path) -> Iterator[Kept]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        rater = state["user_id"]
        for instance, answers in state[LABELS].items():
            labels: dict[str, dict[str, Any]] = {}
            for label, value in answers:
                labels.setdefault(label["schema"], {})[label["name"]] = value
            yield f"{path}: {instance}", rater, instance, labels
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); {STATE} of Potato is required") from None


def _export(path: Path) -> Iterator[Kept]:
    rows = rows_of(path)
    require(path, ["instance_id", "user_id"], {name for _, row in rows for name in row})
    for line, row in rows:
        labels: dict[str, dict[str, Any]] = {}
        if isinstance(row.get("labels"), Mapping):
            labels = {question: dict(chosen) for question, chosen in row["labels"].items() if isinstance(chosen, Mapping)}
        else:
            for column, value in row.items():
                question, dot, label = column.partition(".")
                if dot:
                    labels.setdefault(question, {})[label] = value
        yield f"{path}:{line}", text_of(row["user_id"]), text_of(row["instance_id"]), labels
