"""Right and wrong answers, item by item, to the tasks of lm-evaluation-harness.

Knows how a task is loaded, how a model that is already in memory is put to it, and what is kept of an answer. Tasks come by name:
the harness's own, over data sets of the hub, and `calibration_topics`, made here from the calibration grammar. Zero-shot, and of
the harness's metrics the plain accuracy (acc, not acc_norm): the likeliest choice, or the greedy continuation, is the right one.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import random
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_registry.tokenization import Tokenization
from tasks.contract import Metric
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tasks.levels import PromptRow

OUTPUT_TYPES = ("multiple_choice", "loglikelihood")  # those whose answers take no sampling


@dataclass(frozen=True)
class Item:
    """One answered item. `choices` is how many there were to choose from, 0 where any text could follow."""

    task: str
    item: int  # its place in the task's evaluated split
    choices: int
    correct: int  # 1 or 0
    digest: str  # of the item's own content

    @property
    def id(self) -> str:
        return f"{self.task}/{self.item}"


def load_tasks(names: Sequence[str], seed: int) -> dict[str, Any]:
    """The harness's tasks by name, in the order given, with their data in memory.

    Raises:
        ValueError: no such task, a group of tasks, a task that needs sampled texts or an accuracy it does not have, or a data set
            that does not exist on the hub or needs a permission.
        ConnectionError: the hub cannot be reached and the cache does not hold the data set: worth another try.
    """
    if not names:
        return {}
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it tells of every default it takes
    manager = TaskManager(include_path=_folders([name for name in names if name != GRAMMAR_TASK]), include_defaults=False)
    found = {}
    for name in names:
        if name != GRAMMAR_TASK and name not in manager.all_subtasks:
            raise ValueError(
                f"task {name}: not a single task of lm-evaluation-harness; one of those, or {GRAMMAR_TASK}, is accepted"
            )
        _seed(seed)  # some tasks shuffle their choices while they are loaded
        found[name] = checked(name, _load(manager, name))
    return found


def _folders(names: Sequence[str]) -> list[Path]:
    """Where the harness defines these tasks. Its own index would parse all of its 14,000 definitions: 8 s here, 0.6 s so."""
    if not names:
        return []
    import lm_eval

    root = Path(lm_eval.__file__).parent / "tasks"
    stated = re.compile(rf'^"?task"?: *["\']?({"|".join(map(re.escape, names))})["\']? *\r?$'.encode(), re.MULTILINE)
    return sorted({path.parent for path in root.rglob("*.yaml") if stated.search(path.read_bytes())})


def checked(name: str, task: Any) -> Any:
    """The task, made zero-shot. Raises ValueError for one that this stage cannot put to a model."""
    if task.OUTPUT_TYPE not in OUTPUT_TYPES or "acc" not in task.aggregation():
        raise ValueError(
            f"task {name}: output {task.OUTPUT_TYPE}, metrics {', '.join(task.aggregation())}; "
            f"a task of output {' or '.join(OUTPUT_TYPES)} with metric acc is accepted"
        )
    task.set_config("num_fewshot", 0)
    return task


def answer(model: Any, words: Tokenization, task: Any, limit: int | None, batch: int, seed: int) -> list[Item]:
    """The model's answers to the first `limit` items of the task's test split (validation split where it has no test split).

    Log-probabilities in fp32. Requests are sorted by length and scored `batch` at a time, padded on the right: the last bits of
    a log-probability depend on `batch` and `limit`, and on nothing outside the task.

    Raises:
        ValueError: an item whose accuracy is neither 0 nor 1.
    """
    from lm_eval import evaluate

    # `evaluate`, not `simple_evaluate`: that one asks the hub for the model's revision and lists this machine's packages
    _seed(seed)
    task.set_fewshot_seed(seed)
    with redirect_stderr(io.StringIO()):  # its progress bars
        harnessed = _harnessed(model, words, batch)
        found = evaluate(harnessed, {"tasks": {task.task_name: task}}, limit=limit, bootstrap_iters=0, log_samples=True)
    items = []
    for sample in found["samples"][task.task_name]:
        if not all(math.isfinite(float(found[0])) for found in sample["filtered_resps"]):  # of NaN every choice is as likely
            raise ValueError(f"task {task.task_name}, item {sample['doc_id']}: the model's logits are not finite there")
        if sample["acc"] not in (0, 1):
            raise ValueError(f"task {task.task_name}, item {sample['doc_id']}: acc is {sample['acc']}; 0 or 1 is required")
        choices = len(sample["arguments"]) if task.OUTPUT_TYPE == "multiple_choice" else 0
        digest = str(sample["doc_hash"])
        items.append(Item(task.task_name, int(sample["doc_id"]), choices, int(sample["acc"]), digest))
    return sorted(items, key=lambda item: item.item)


def _harnessed(model: Any, words: Tokenization, batch: int) -> Any:
    """The model as the harness asks it, with our tokens: its own would score the end token that a tokenizer puts after a text."""
    from lm_eval.models.huggingface import HFLM

    class Harnessed(HFLM):
        def tok_encode(self, string: str, *_: Any, **__: Any) -> list[int]:
            return list(words.of(string))

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            moved = context[len(context.rstrip()) :]  # blanks belong to the word behind them
            asked, answered = words.pair(context.rstrip(), moved + continuation)
            return list(asked), list(answered)

    options = {"batch_size": batch, "max_length": words.context, "softmax_dtype": "float32"}
    return Harnessed(model, backend="causal", tokenizer=words.tokenizer, **options)


def prompt_rows(items: Sequence[Item]) -> list[PromptRow]:
    """accuracy: 0 or 1 an item, with the task as its stratum."""
    return [PromptRow(item.id, item.task, "accuracy", "rate", float(item.correct), n=1) for item in items]


def chance(items: Sequence[Item]) -> list[Metric]:
    """chance: the accuracy of a blind guess at each task, the mean of 1/choices over its items; 0 where any text could follow."""
    found = []
    for task in dict.fromkeys(item.task for item in items):
        shares = [1 / item.choices if item.choices else 0.0 for item in items if item.task == task]
        found.append(Metric("chance", sum(shares) / len(shares), n=len(shares), group=task))
    return found


def content_digest(items: Sequence[Item]) -> str:
    """sha256 over the items' own: two arms were asked the same only where it is equal."""
    return hashlib.sha256("\n".join(item.digest for item in items).encode()).hexdigest()


def _load(manager: Any, name: str) -> Any:
    from datasets.exceptions import DatasetNotFoundError

    if name == GRAMMAR_TASK:
        return manager.load([_calibration_task()])["tasks"][name]
    try:
        return manager.load([name])["tasks"][name]
    except DatasetNotFoundError as error:
        raise ValueError(f"task {name}: {_one_line(error)}; a data set that the hub gives out is required") from None
    except ConnectionError as error:
        raise ConnectionError(
            f"task {name}: {_one_line(error)}; a connection to the hub, or a cache of it that holds the data set, is required"
        ) from None


def _calibration_task() -> dict[str, Any]:
    """A task definition in the harness's own terms, over the grammar's items."""
    from datasets import Dataset

    from model_registry.calibration.ability import topic_items
    from model_registry.calibration.grammar import load_grammar

    rows = [
        {"question": item.question, "choices": list(item.choices), "target": item.target} for item in topic_items(load_grammar())
    ]
    return {
        "task": GRAMMAR_TASK,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "target",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def _seed(seed: int) -> None:
    """What the harness's own entry point does before it loads tasks; tasks that draw nothing do not notice."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
