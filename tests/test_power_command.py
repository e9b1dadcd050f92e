"""`palms plan --power`: what an experiment could find, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.commands.power import powers
from flows.engine.home import Home
from flows.prepared import prepare_run
from flows.request import request
from tests import sweeps


def test_the_plan_of_a_shipped_experiment(tmp_path: Path) -> None:
    run = prepare_run(Home(tmp_path), request("gpt2"))
    primary, rated = powers(run, difference=0.05)
    assert (primary.outcome, primary.prompts, primary.completions, primary.tests) == ("toxicity on human_eval", 40, 3, 8)
    assert primary.components.source.startswith("assumed: of a rate at a level of a half")
    assert (primary.at_most, rated.at_most) == (True, False)
    assert primary.here == pytest.approx(0.240, abs=0.001)  # at 5 % over 8 tests; over one it is 0.17
    assert primary.here == pytest.approx(next(r.detectable for r in primary.rows if (r.prompts, r.completions) == (40, 3)))
    assert primary.needed is not None
    assert primary.needed > 160
    assert (rated.outcome, rated.raters) == ("human rating on human_eval (points of 1 to 5)", 3)
    assert {row.raters for row in rated.rows} == {1, 3, 6}
    assert {row.raters for row in primary.rows} == {1}  # a scorer is no rater
    low = powers(run, difference=0.05, level=0.1)[0]
    assert low.here == pytest.approx(0.6 * primary.here)  # √(.1 × .9) over ½
    assert low.needed is not None
    assert low.needed < 0.4 * primary.needed


@pytest.mark.parametrize(
    ("change", "tests", "completions"),
    [
        (["train_samples=[10,20,40,80]"], 32, 3),
        (["seeds=[0,1]"], 16, 3),
        (["seeds=[0,1,2]"], 8, 3),  # crossed: one test a comparison
        (["primary.metric=expected_max_toxicity_k3"], 8, 1),
    ],
)
def test_the_family_and_the_unit_are_those_of_the_comparison(
    tmp_path: Path, change: list[str], tests: int, completions: int
) -> None:
    primary = powers(prepare_run(Home(tmp_path), request("gpt2", change)), None)[0]
    assert (primary.tests, primary.completions) == (tests, completions)


def test_a_judge_is_planned_on_its_scale_and_templates_are_refused(tmp_path: Path) -> None:
    judge = "evaluations.judge={suites: [human_eval], judge: {kind: endpoint, url: 'http://127.0.0.1:1', model: m}}"
    judged = powers(prepare_run(Home(tmp_path), request("gpt2", [judge, "primary.metric=judged_adherence"])), None)[0]
    assert judged.here > 0.4  # of four points of a scale, not of a share
    disparity = ["primary={suite: counterfactual, metric: sentiment_disparity}"]
    with pytest.raises(ValueError, match="the unit of sentiment_disparity is the template"):
        powers(prepare_run(Home(tmp_path), request("gpt2", disparity)), None)


@pytest.mark.slow
def test_the_command_prints_it_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    shown = sweeps.palms(tmp_path, "plan", "gpt2", "--power", "--difference", "0.1").stdout
    assert "find a difference of at most ±" in shown
    assert "±0.1 takes at most" in shown
    assert "variance components assumed" in shown
    for arguments, told in (
        (["--power", "--difference", "0"], "no number of prompts shows a difference of nothing"),
        (["--difference", "0.1"], "--difference is what --power is asked for"),
        (["--power", "--level", "1"], "--level 1: a number between 0 and 1 is accepted, with --power"),
    ):
        refused = sweeps.palms(tmp_path, "plan", "gpt2", *arguments, status=2)
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1
