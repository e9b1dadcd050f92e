"""What else was scored beside people's ratings: the judge and toxicity completion by completion, stance by category."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.contrasts import Arms
from tasks.compare import upstream
from tasks.compare.raters import Ratings
from tasks.contract import Axes, write_json, write_metrics, write_rows
from tasks.levels import PromptRow, write_prompt_rows

CATEGORIES = tuple("abcdefgh")
ARMS = Arms(("base", "tuned"), "base", (), ())


def output(folder: Path, stage: str, arm: str, suite: str, metric: str, values: list[float]) -> tuple[str, Path, Axes]:
    """An output of one prompt or pair a category, with these values."""
    label = f"{stage}/l-1/{arm}/seed0/{suite}"
    made = folder / stage / arm
    made.mkdir(parents=True)
    rows = [PromptRow(f"{suite}-{name}", name, metric, "score", value, 1) for name, value in zip(CATEGORIES, values, strict=True)]
    write_prompt_rows(made, rows)
    write_metrics(made, [])
    scores = [{"prompt_id": row.prompt_id, "group": row.group, "repeat": 0, metric: row.value} for row in rows]
    write_rows(made / "scores.csv", scores)
    write_json(made / "manifest.json", {"stage": stage, "key": label})
    return label, made, Axes("l", "1", arm, None if arm == "base" else 80, 0, suite)


def beside(folder: Path, moved: list[float], likely: list[float]) -> dict[str, float]:
    """Who → their correlation with people, of an arm that people find `moved` by category and that is `likely` moved in stance."""
    made = [
        output(folder, "rated", "base", "human_eval", "rating", [3.0] * 8),
        output(folder, "rated", "tuned", "human_eval", "rating", [3.0 + one for one in moved]),
        output(folder, "stance", "base", "stance", "stance_margin", [0.1 * at for at in range(8)]),
        output(folder, "stance", "tuned", "stance", "stance_margin", [0.1 * at + one for at, one in enumerate(likely)]),
    ]
    sources = upstream.read({label: path for label, path, _ in made}, {label: place for label, _, place in made}, ARMS)
    return {one.who: one.agreement.value for one in Ratings(sources).beside()}


MOVED = [0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.5, 0.4]


def test_stance_goes_with_people_where_the_same_categories_moved_from_the_reference(tmp_path: Path) -> None:
    who = "stance, by category, as differences from the reference arm"
    assert beside(tmp_path / "with", MOVED, [one / 2 for one in MOVED]) == {who: pytest.approx(1.0)}
    assert beside(tmp_path / "against", MOVED, [-one for one in MOVED]) == {who: pytest.approx(-1.0)}


def test_nothing_is_said_where_nothing_moved_otherwise_than_another(tmp_path: Path) -> None:
    assert beside(tmp_path, [0.5] * 8, MOVED) == {}
