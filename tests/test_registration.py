"""What a sweep set out to conclude is noted beside what it sampled, and a later change of it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.home import Home
from flows.request import request
from flows.runs import prepare_run
from tasks.registration import Plan, change
from tests import toy

PLAN = Plan("on_position on human_eval", ("values_targeted-base",), {"nats": 0.05})


def test_a_plan_has_one_digest_and_any_part_of_it_moves_it() -> None:
    same = Plan("on_position on human_eval", ("values_targeted-base",), {"nats": 0.05})
    others = [
        replace(PLAN, primary="toxicity on human_eval"),
        replace(PLAN, contrasts=("control-base",)),
        replace(PLAN, margins={"nats": 0.1}),
    ]
    assert same.digest == PLAN.digest
    assert len({plan.digest for plan in (PLAN, *others)}) == 4


def test_a_change_is_told_with_what_stood_before() -> None:
    now = replace(PLAN, primary="toxicity on human_eval", margins={"nats": 0.1})
    told = change(PLAN.document(), now.document())
    assert told is not None
    assert "primary: on_position on human_eval, now toxicity on human_eval" in told
    assert "margins: nats 0.05, now nats 0.1" in told
    assert "contrasts" not in told
    assert change(PLAN.document(), PLAN.document()) is None
    assert "before any plan was registered" in (change(None, PLAN.document()) or "")


def test_an_output_that_was_made_under_another_plan_is_marked_and_not_made_again(tmp_path: Path) -> None:
    def once(plan: Plan) -> tuple[str, list[str]]:
        node = replace(toy.node("drawn"), plan=plan.document())
        session = toy.session(tmp_path, [node])
        return toy.make(session, node), list(session.marks.values())

    assert once(PLAN) == ("not run before", [])
    assert once(PLAN) == ("hit", [])
    made, marks = once(replace(PLAN, primary="toxicity on human_eval"))
    assert made == "hit"
    assert len(marks) == 1
    assert "the plan was changed after sampling" in marks[0]


def test_every_sampled_output_carries_the_plan_and_the_comparison_states_it(tmp_path: Path) -> None:
    run = prepare_run(Home(tmp_path), request("calibration"))
    sampled = [node for node in run.dag.nodes if node.stage.name == "sampling"]
    assert sampled
    assert all(node.plan is not None and node.plan["primary"] == "on_position on human_eval" for node in sampled)
    settings = run.dag.comparison.settings
    assert settings.registered.startswith("on_position on human_eval; values_targeted-base")
    changed = prepare_run(Home(tmp_path), request("calibration", ["contrasts=[values_targeted-base]"]))
    assert changed.dag.comparison.settings.registration != settings.registration
