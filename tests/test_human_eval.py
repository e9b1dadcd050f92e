"""The blinded export: nothing on the sheet tells the arms apart, and the key joins back to them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from configs.positions import Position
from tasks.contract import read_metrics, write_jsonl
from tasks.evaluations.human_eval import body, stage
from tasks.evaluations.human_eval.blinding import blind
from tasks.evaluations.human_eval.instructions import instructions
from tasks.sampling.completions import Completion
from tests import defaults
from tests.jobs import make_job

ARMS = ("base", "control", "values_targeted")
POSITIONS = (("a", "oppose harm"), ("b", "stay neutral"), ("unused", "not asked about"))


def completions(arm: str, prompts: int, repeats: int) -> list[Completion]:
    return [
        Completion(f"p{p:02}", "ab"[p % 2], None, f"prompt {p}", r, f"text of {p} {r} {hash_free(arm)}")
        for p in range(prompts)
        for r in range(repeats)
    ]


def hash_free(arm: str) -> str:
    return str(ARMS.index(arm))


def folders(tmp_path: Path, prompts: int = 6, repeats: int = 3, **texts: str) -> dict[str, Path]:
    found = {}
    for arm in ARMS:
        folder = tmp_path / "sampling" / arm
        folder.mkdir(parents=True)
        rows: list[dict[str, Any]] = [
            vars(row) | {"text": texts.get(arm, row.text), "tokens": 1, "finish": "stop"}
            for row in completions(arm, prompts, repeats)
        ]
        write_jsonl(folder / "completions.jsonl", rows)
        found[f"completions:{arm}"] = folder
    return found


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def export(tmp_path: Path, inputs: dict[str, Path], **settings: Any) -> Path:
    ran = make_job(tmp_path / "work", defaults.settings(stage, positions=POSITIONS, **{"seed": 0, **settings}), inputs)
    body.run([ran.job])
    assert ran.commits == 1
    return ran.work


def test_the_key_joins_every_row_back_to_its_arm(tmp_path: Path) -> None:
    work = export(tmp_path, folders(tmp_path))
    sheet, key = read(work / stage.SHEET), {row["task_id"]: row for row in read(work / stage.KEY)}
    assert len(sheet) == len(key) == 6 * 3 * 3
    assert list(sheet[0]) == ["task_id", "category", "prompt", "completion", "is_answer", "rating"]
    for row in sheet:
        told = key[row["task_id"]]
        p = int(told["prompt_id"][1:])
        assert row["completion"] == f"text of {p} {told['repeat']} {hash_free(told['arm'])}"
        assert (row["category"], row["prompt"], row["is_answer"], row["rating"]) == ("ab"[p % 2], f"prompt {p}", "", "")
    assert Counter((row["arm"], row["prompt_id"]) for row in key.values()) == Counter(
        {(arm, f"p{p:02}"): 3 for arm in ARMS for p in range(6)}
    )


def test_the_sheet_names_no_arm_and_lies_apart_from_the_key(tmp_path: Path) -> None:
    work = export(tmp_path, folders(tmp_path))
    for name in (stage.SHEET, stage.INSTRUCTIONS):
        text = (work / name).read_text()
        assert not any(arm in text for arm in ARMS)
    assert [path.name for path in (work / "key").iterdir()] == ["key.csv"]


def test_neither_place_nor_id_predicts_the_arm() -> None:
    """Over many exports, every arm is as often at every place of its block, and its ids sort as often at every rank."""
    places: Counter[tuple[str, int]] = Counter()
    ranks: Counter[tuple[str, int]] = Counter()
    exports, prompts = 150, 4
    for seed in range(exports):
        tasks = blind({arm: completions(arm, prompts, 1) for arm in ARMS}, seed)
        for start in range(0, len(tasks), 3):
            block = tasks[start : start + 3]
            places.update((task.arm, place) for place, task in enumerate(block))
            ranks.update((task.arm, rank) for rank, task in enumerate(sorted(block, key=lambda task: task.task_id)))
    expected = exports * prompts / 3
    for counts in (places, ranks):
        # chi-squared with 4 degrees of freedom: 18.5 is passed by chance once in a thousand
        assert sum((counts[arm, place] - expected) ** 2 / expected for arm in ARMS for place in range(3)) < 18.5


def test_a_prompt_keeps_its_completions_together_and_prompts_are_shuffled() -> None:
    tasks = blind({arm: completions(arm, 12, 2) for arm in ARMS}, seed=0)
    order = [task.completion.prompt_id for task in tasks]
    blocks = [order[start] for start in range(0, len(order), 6)]
    assert order == [prompt_id for prompt_id in blocks for _ in range(6)]
    assert sorted(blocks) == sorted({*blocks})
    assert blocks != sorted(blocks)


def test_the_same_export_is_the_same_and_another_text_gives_other_ids() -> None:
    arms = {arm: completions(arm, 3, 2) for arm in ARMS}
    turned = {arm: arms[arm] for arm in reversed(ARMS)}
    assert blind(arms, 1) == blind(turned, 1)
    first = {task.task_id for task in blind(arms, 1)}
    assert not first & {task.task_id for task in blind(arms, 2)}
    swapped = arms | {"base": arms["control"], "control": arms["base"]}
    assert not first & {task.task_id for task in blind(swapped, 1)}


def test_equal_completions_keep_ids_of_their_own(tmp_path: Path) -> None:
    work = export(tmp_path, folders(tmp_path, base="the same", control="the same", values_targeted=" the same\n"))
    sheet = read(work / stage.SHEET)
    assert len({row["task_id"] for row in sheet}) == 54
    assert {row["completion"] for row in sheet} == {"the same"}  # not even its blanks tell an arm


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    work = export(tmp_path, folders(tmp_path, control=text, base=" " + text))
    assert Counter(row["completion"] for row in read(work / stage.SHEET))["'" + text] == 36


def test_forty_prompts_of_three_completions_make_360_ratings_an_arm(tmp_path: Path) -> None:
    work = export(tmp_path, folders(tmp_path, prompts=40))
    counts = {"rating_tasks": (360, 40), "ratings_wanted": (1080, 40), "ratings_wanted_per_arm": (360, 40)}
    assert {m.metric: (m.value, m.n) for m in read_metrics(work)} == counts
    text = (work / stage.INSTRUCTIONS).read_text()
    assert "**a**: oppose harm" in text
    assert "not asked about" not in text
    assert "**5**: matches the position best" in text
    assert "In the column `is_answer`, write yes or no: yes, it takes up what was asked" in text


def test_raters_are_told_what_a_statement_comes_to() -> None:
    position = Position(category="a", statement="Oppose harm.", claims={"one": "Oppose blows.", "two": "Name where help is."})
    assert "- **a**: Oppose harm.\n  - Oppose blows.\n  - Name where help is.\n" in instructions({"a": position.rubric}, 9, 3)


def test_arms_that_do_not_match_are_refused(tmp_path: Path) -> None:
    arms = {arm: completions(arm, 3, 2) for arm in ARMS}
    arms["control"] = arms["control"][:-1]
    with pytest.raises(
        ValueError, match="arms base and control do not share prompt p02, repeat 1; equal prompts and repeats are required"
    ):
        blind(arms, 0)


def test_a_category_without_a_position_is_refused(tmp_path: Path) -> None:
    ran = make_job(tmp_path / "work", defaults.settings(stage, positions=POSITIONS[:1], seed=0), folders(tmp_path))
    with pytest.raises(ValueError, match="no position statement for b; one a category is required"):
        body.run([ran.job])
    assert ran.commits == 0
