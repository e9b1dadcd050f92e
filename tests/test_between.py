"""Two sweeps against each other, over imagined outputs with known differences."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tasks.compare.between import Change, Data, DataChange, Effect, Side, changes, data_changes, effects
from tasks.compare.contrasts import compare
from tasks.contract import read_json, write_json
from tests.imagined import OUTCOME, SETTINGS, Imagined, build, group, names

BEFORE = dict(zip(names(8), (0.0, 0.25, 0.5, 0.5, 0.25, 0.0, 0.25, 0.5), strict=True))
AFTER = dict(zip(names(8), (0.5, 0.25, 0.75, 0.5, 0.5, 0.25, 0.0, 0.5), strict=True))


def side(made: Imagined) -> Side:
    """As a comparison leaves it: its numbers as text."""
    found = made.found()
    rows = [asdict(row) | {"contrast": str(row.contrast)} for row in compare(found.sources, SETTINGS)]
    return Side(found.sources, [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows])


def first(before: Imagined, after: Imagined) -> Effect:
    return effects(side(before), side(after), [OUTCOME])[0]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Imagined:
    return build(tmp_path_factory.mktemp("before"), BEFORE, sizes=["large"])


def test_the_change_of_an_effect_is_paired_by_prompt_within_categories(before: Imagined, tmp_path: Path) -> None:
    found = effects(side(before), side(build(tmp_path, AFTER, made_by="B")), [OUTCOME])
    assert [(str(one.contrast), one.size) for one in found] == [
        (contrast, size) for contrast in ("values_targeted-base", "values_targeted-control") for size in ("large", "small")
    ]
    large, small = found[:2]
    assert large.before is not None
    assert large.after is not None
    assert large.change is not None
    moved = {category: [AFTER[p] - BEFORE[p] for p in BEFORE if group(p) == category] for category in ("odd", "even")}
    value = np.mean([np.mean(held) for held in moved.values()])
    error = np.sqrt(sum(np.var(held, ddof=1) / len(held) for held in moved.values())) / 2
    reach = stats.t.ppf(0.975, 8 - 2) * error
    assert (large.change.value, large.change.low, large.change.high) == pytest.approx((value, value - reach, value + reach))
    assert large.change.value == pytest.approx(large.after.value - large.before.value)
    assert (large.shared, large.note) == (8, "")
    assert (small.before, small.change) == (None, None)  # a size that A does not have
    assert small.after is not None


def test_only_prompts_that_both_asked_alike_are_paired(before: Imagined, tmp_path: Path) -> None:
    after = build(tmp_path / "one", AFTER, sizes=["large"], asked={"p-000": "Another question?"}, made_by="B")
    one = first(before, after)
    assert one.change is not None
    assert (one.shared, one.note) == (7, "over the 7 prompts that both have")
    other = build(tmp_path / "all", AFTER, sizes=["large"], asked={p: f"Another question than {p}?" for p in AFTER}, made_by="B")
    assert (first(before, other).change, first(before, other).note) == (None, "no prompts in common")


def test_what_did_not_change_is_said_not_measured(before: Imagined, tmp_path: Path) -> None:
    again = first(before, before)
    equal = first(before, build(tmp_path, BEFORE, sizes=["large"], made_by="B"))
    assert again.change is not None
    assert equal.change is not None
    assert (again.note, equal.note) == ("the same outputs", "equal at every prompt")
    assert again.change.method.startswith("degenerate")


def test_another_ruler_is_told(before: Imagined, tmp_path: Path) -> None:
    after = build(tmp_path, AFTER, sizes=["large"], made_by="B")
    for folder in (folder for label, folder in after.inputs.items() if label.startswith("adherence")):
        manifest = read_json(folder / "manifest.json")
        manifest["identity"]["settings"] = {"judge": "another"}
        write_json(folder / "manifest.json", manifest)
    assert first(before, after).note.startswith("measured otherwise")


def test_runs_answer_to_one_another_by_seed_and_alone_whatever_their_seed(before: Imagined, tmp_path: Path) -> None:
    one = first(before, build(tmp_path / "seed1", AFTER, sizes=["large"], seeds=[1], made_by="B"))
    assert (one.note, one.change is not None) == ("seed 0 against 1", True)
    many = [
        build(tmp_path / name, rises, sizes=["large"], seeds=[0, 1, 2], made_by=name)
        for name, rises in (("A", BEFORE), ("B", AFTER))
    ]
    crossed = first(*many)
    assert crossed.change is not None
    assert (crossed.seed, crossed.change.method.partition(",")[0]) == ("all", "stratified crossed over 3 seeds")
    assert first(before, many[1]).note == "not the same seeds"
    others = build(tmp_path / "C", AFTER, sizes=["large"], seeds=[0, 1, 3], made_by="C")
    assert (first(many[0], others).change, first(many[0], others).note) == (None, "not the same seeds")


def test_an_effect_whose_values_are_gone_has_no_interval(before: Imagined, tmp_path: Path) -> None:
    after = side(build(tmp_path, AFTER, sizes=["large"], made_by="B"))
    bare = Side(side(Imagined(tmp_path / "empty")).sources, after.rows)
    one = effects(side(before), bare, [OUTCOME])[0]
    assert (one.change, one.note) == (None, "the values of its prompts are not in the store")


def test_changes_are_told_by_key_path() -> None:
    old = {
        "arms": {"control": {"epochs": 4}, "extra": {"draw": 1}},
        "ladders": [{"ladder": "gpt2", "sizes": ["124m"]}],
        "seeds": [0],
    }
    new = {"arms": {"control": {"epochs": 8}}, "ladders": [{"ladder": "gpt2", "sizes": ["124m", "355m"]}], "seeds": (0,)}
    assert changes(old, new) == [
        Change("arms.control.epochs", 4, 8),
        Change("arms.extra.draw", 1, None),
        Change("ladders.0.sizes", ["124m"], ["124m", "355m"]),
    ]


def test_rows_of_data_are_told_where_they_are_at_hand() -> None:
    old = {"a": Data("1", {"x": 1, "y": 2, "z": 3}), "b": Data("1"), "c": Data("1"), "same": Data("1", {"x": 1})}
    new = {"a": Data("2", {"x": 1, "y": 5, "w": 4}), "b": Data("2"), "d": Data("3"), "same": Data("1", {"x": 1})}
    assert data_changes(old, new) == [
        DataChange("a", old["a"], new["a"], (["w"], ["z"], ["y"])),
        DataChange("b", old["b"], new["b"]),
        DataChange("c", old["c"], None),
        DataChange("d", None, new["d"]),
    ]
