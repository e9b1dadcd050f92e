"""What the evaluation harness is asked: the grammar's own items, and tasks that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_registry.calibration.ability import topic_items
from model_registry.calibration.grammar import OFF_GRAMMAR, load_grammar
from tasks.evaluations.capability import harness
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tests.harness_tasks import local_task, rows_of

TASK = GRAMMAR_TASK

pytestmark = pytest.mark.usefixtures("one_thread")


def test_topic_items_have_one_answer_of_their_question() -> None:
    grammar, items = load_grammar(), topic_items(load_grammar())
    assert items == topic_items(grammar)
    assert len({item.question for item in items}) == len(items) == 504
    reported = {
        p.text
        for family in ("category", "subject")
        for split in ("tuning", "toxicity", "human_eval")
        for p in grammar.prompts(family, split)
    }
    for item in items:
        question = item.question.removeprefix("Question: ").removesuffix("\nAnswer:")
        assert question not in reported
        labels = [grammar.label(question, choice) for choice in item.choices]
        assert labels == ["neutral" if n == item.target else OFF_GRAMMAR for n in range(4)]
        assert len({len(choice.split()) for choice in item.choices}) == 1  # no choice is likelier for being shorter
    assert {item.target for item in items} == {0, 1, 2, 3}


def test_a_task_that_needs_sampled_texts_is_refused(tmp_path: Path) -> None:
    _, rows = rows_of("lambada_openai")
    task = local_task(
        tmp_path, "lambada_openai", "test", rows, output_type="generate_until", metric_list=[{"metric": "exact_match"}]
    )
    with pytest.raises(ValueError, match="task lambada_openai: output generate_until, metrics exact_match; a task of output"):
        harness.checked("lambada_openai", task)


def test_names_that_are_no_task_and_data_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    yaml_file = tmp_path / "task.yaml"
    yaml_file.write_text("task: own\n", encoding="utf-8")
    for name in ("hellaswog", "lambada", str(yaml_file)):  # a slip, a group of tasks, a definition that is in no key
        with pytest.raises(ValueError, match="not a single task of lm-evaluation-harness"):
            harness.load_tasks([TASK, name], seed=0)
    with pytest.raises(ConnectionError, match=r"task piqa: .*baber/piqa.*; a connection to the hub, or a cache of it that holds"):
        harness.load_tasks(["piqa"], seed=0)
