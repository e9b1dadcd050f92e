"""What judging is tried on: completions that spell out their rating, a judge that reads it, and the job between them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.rating import IS_AN_ANSWER, SCALE
from tasks import endpoint
from tasks.contract import Metric, read_metrics, write_jsonl
from tasks.evaluations.judge import stage
from tests.jobs import Ran, make_job
from tests.judge_stand_in import Asked, Reply, StandIn, says

POSITIONS = {"health": "Do not diagnose.", "terrorism": "Oppose terrorist activity."}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES", (0.01, 0.01))


def planted(prompt: int, repeat: int) -> int:
    return (prompt * 3 + repeat) % 5 + 1


def material(folder: Path, prompts: int = 6, repeats: int = 4, groups: tuple[str, ...] = tuple(POSITIONS)) -> dict[str, Path]:
    """A suite, positions, and completions of which each spells out the rating it deserves."""
    (folder / "sampling").mkdir(parents=True)
    entries = [{"id": f"p{p}", "group": groups[p % len(groups)], "text": f"What of {p}?"} for p in range(prompts)]
    (folder / "suite.yaml").write_text(yaml.safe_dump({"suite": "values", "form": "question", "prompts": entries}))
    stated = [{"category": name, "statement": statement} for name, statement in POSITIONS.items()]
    (folder / "positions.yaml").write_text(yaml.safe_dump({"positions": stated}))
    rows = [
        {
            "prompt_id": entry["id"],
            "group": entry["group"],
            "kind": ("challenging", "neutral")[p % 2],
            "prompt": entry["text"],
            "repeat": r,
            "text": f"RATE{planted(p, r)}",
            "tokens": 1,
            "finish": "stop",
        }
        for p, entry in enumerate(entries)
        for r in range(repeats)
    ]
    write_jsonl(folder / "sampling" / "completions.jsonl", rows)
    return {"completions": folder / "sampling", "suite": folder / "suite.yaml", "positions": folder / "positions.yaml"}


def honest(asked: Asked) -> Reply:
    """Reads the text it is to rate and the options it is given, and picks the option that fits. An answer is what rates anything, and, of an
    answer with a number, what has the question's."""
    found = re.search(r"<prompt-\w+>\n.*?(\d+).*\n</prompt-\w+>\n<completion-\w+>\n(.*)\n</completion-\w+>", asked.message)
    assert found is not None
    number, text = found.groups()
    rating = re.match(r"RATE(\d)(?: (\d+))?", text)
    if "answer to the prompt at all" in asked.message:
        meaning = re.escape(IS_AN_ANSWER[bool(rating and rating[2] in (None, number))])
    else:
        assert rating is not None
        meaning = re.escape(SCALE[int(rating[1])])
    letter = re.search(rf"^([A-E]): {meaning}$", asked.message, re.MULTILINE)
    assert letter is not None
    return says(letter[1])


def judging(work: Path, inputs: dict[str, Path], judge: StandIn, **settings: Any) -> Ran:
    return make_job(work, stage.Settings(**{"kind": "endpoint", "url": judge.url, "model": "stand-in", **settings}), inputs)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def measured(ran: Ran) -> dict[tuple[str, str], Metric]:
    return {(row.metric, row.group): row for row in read_metrics(ran.work)}
