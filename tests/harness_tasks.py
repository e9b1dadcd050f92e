"""The harness's default tasks over local rows: rows in the layout of each data set, and what the task asks of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests import tiny

Pairs = tuple[list[tuple[str, str]], int]  # (context, continuation) of each choice, and which of them is right
FOLDERS = {"lambada_openai": "lambada/lambada_openai", "hellaswag": "hellaswag/hellaswag", "piqa": "piqa/piqa"}
FOLDERS |= {"arc_easy": "arc/arc_easy", "winogrande": "winogrande/default"}


def rows_of(name: str) -> tuple[str, list[dict[str, Any]]]:
    """The split that a task reads, and rows in the layout of its data set."""
    ends = ["was loud.", "helps.", "is calm.", "sat."]
    options = {"text": ["kind", "very loud", "strange"], "label": ["A", "B", "C"]}
    split = "test" if name in ("lambada_openai", "arc_easy") else "validation"
    rows: dict[str, Callable[[int], dict[str, Any]]] = {
        "lambada_openai": lambda n: {
            "text": f"Question: Can you explain birds to me?\nAnswer: He wrote about {['birds', 'bread'][n % 2]}"
        },
        "hellaswag": lambda n: {
            "activity_label": f"Task {n}",
            "ctx_a": "A.",
            "ctx_b": "he",
            "endings": ends,
            "label": str(n % 4),
        },
        "piqa": lambda n: {"goal": f"Ask {n} people", "sol1": "Ask for help.", "sol2": "Call the authorities.", "label": n % 2},
        "arc_easy": lambda n: {"question": f"Who is {n}?", "choices": options, "answerKey": "ABC"[n % 3]},
        "winogrande": lambda n: {
            "sentence": f"{n} said _ was calm.",
            "option1": "he",
            "option2": "Ann",
            "answer": str(n % 2 + 1),
        },
    }
    return split, [rows[name](n) for n in range(6)]


def pairs_of(name: str, row: dict[str, Any]) -> Pairs:
    """What the task asks of a row, as its authors describe it."""
    match name:
        case "lambada_openai":
            before, _, last = row["text"].rpartition(" ")
            return [(before, f" {last}")], 0
        case "hellaswag":
            return [(f"{row['activity_label']}: A. He", f" {ending}") for ending in row["endings"]], int(row["label"])
        case "piqa":
            return [(f"Question: {row['goal']}\nAnswer:", f" {row[sol]}") for sol in ("sol1", "sol2")], row["label"]
        case "arc_easy":
            right = "ABC".index(row["answerKey"])
            return [(f"Question: {row['question']}\nAnswer:", f" {text}") for text in row["choices"]["text"]], right
        case _:  # what follows the blank is scored, after either option
            before, _, after = row["sentence"].partition("_")
            return [(before + row[option], after) for option in ("option1", "option2")], int(row["answer"]) - 1


def local_task(folder: Path, name: str, split: str, rows: list[dict[str, Any]], **changed: Any) -> Any:
    """The harness's own definition of a task, over local rows in the layout of its data set."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    data = tiny.jsonl(folder / "rows.jsonl", rows)
    definition = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / f"{FOLDERS[name]}.yaml"),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "training_split": None,
        "validation_split": split if split == "validation" else None,
        "dataset_kwargs": {"data_files": {split: str(data)}, "cache_dir": str(folder / "cache")},
        **changed,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    return TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"][name]
