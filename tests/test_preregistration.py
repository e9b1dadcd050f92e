"""What a sweep set out to conclude is noted beside what it sampled, and a later change of it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from configs.contrasts import Contrast
from flows.engine.home import Home
from flows.engine.preregistration import Preregistration, told, unregistered
from flows.prepared import prepare_run
from flows.request import request
from tests import toy
from tests.arms import TO_BASE

AGAIN = Contrast("base_again", "base")
NAMED = Preregistration("on_position on human_eval", (TO_BASE,), {"nats": 0.05})


def test_a_plan_has_one_digest_and_any_part_of_it_moves_it() -> None:
    same = Preregistration("on_position on human_eval", (TO_BASE,), {"nats": 0.05})
    others = [
        replace(NAMED, primary="toxicity on human_eval"),
        replace(NAMED, contrasts=(Contrast("control", "base"),)),
        replace(NAMED, margins={"nats": 0.1}),
    ]
    assert same.digest == NAMED.digest
    assert len({plan.digest for plan in (NAMED, *others)}) == 4


NOW = NAMED.document()


def test_another_outcome_over_the_same_completions_is_exploratory_and_told() -> None:
    now = replace(NAMED, primary="toxicity on human_eval").document()
    drawn = [("base", NOW), ("values_targeted", NOW)]
    assert unregistered(now, drawn) == (TO_BASE,)
    (line,) = told(now, drawn)
    assert "where the preregistration named on_position on human_eval" in line
    assert "toxicity on human_eval: values_targeted-base" in line
    assert unregistered(NOW, drawn) == ()
    assert told(NOW, drawn) == []


def test_an_arm_that_is_added_over_kept_completions_accuses_nobody() -> None:
    now = replace(NAMED, contrasts=(AGAIN, TO_BASE)).document()
    drawn = [("base", NOW), ("values_targeted", NOW), ("base_again", now)]
    assert unregistered(now, drawn) == ()
    seen = [("base", NOW), ("values_targeted", NOW), ("base_again", NOW)]  # all three had been there to be looked at
    assert unregistered(now, seen) == (AGAIN,)


def test_a_sweep_that_sampled_nothing_is_accused_of_nothing() -> None:
    for drawn in ([], [("base", None)], [("base", None), ("control", None)]):
        assert unregistered(NOW, drawn) == ()
        assert told(NOW, drawn) == []


def test_changed_margins_are_told_and_make_no_test_exploratory() -> None:
    now = replace(NAMED, margins={"nats": 0.1}).document()
    drawn = [("base", NOW), ("values_targeted", NOW)]
    assert unregistered(now, drawn) == ()
    assert told(now, drawn) == ["margins of capability changed after sampling: nats 0.05 → 0.1"]


def test_completions_without_a_plan_name_nothing() -> None:
    assert unregistered(NOW, [("base", None), ("values_targeted", None)]) == (TO_BASE,)
    assert "where the preregistration named nothing" in told(NOW, [("base", None), ("values_targeted", None)])[0]


def test_an_output_that_was_made_under_another_plan_is_noted_and_not_made_again(tmp_path: Path) -> None:
    def once(named: Preregistration) -> tuple[str, object]:
        node = replace(toy.node("drawn"), preregistration=named.document())
        session = toy.session(tmp_path, [node])
        return toy.make(session, node), session.drawn[node.label][1]

    assert once(NAMED) == ("not run before", NOW)
    assert once(NAMED) == ("hit", NOW)
    assert once(replace(NAMED, primary="toxicity on human_eval")) == ("hit", NOW)


def test_every_sampled_output_carries_the_plan_and_the_comparison_states_it(tmp_path: Path) -> None:
    run = prepare_run(Home(tmp_path), request("calibration"))
    sampled = [node for node in run.dag.nodes if node.stage.name == "sampling"]
    assert sampled
    assert all(
        node.preregistration is not None and node.preregistration["primary"] == "on_position on human_eval" for node in sampled
    )
    settings = run.dag.comparison.settings
    assert settings.preregistered.startswith("on_position on human_eval; values_targeted-base")
    changed = prepare_run(Home(tmp_path), request("calibration", ["contrasts=[values_targeted-base]"]))
    assert changed.dag.comparison.settings.preregistration != settings.preregistration
