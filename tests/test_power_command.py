"""`palms plan --power`: what an experiment could find, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.home import Home
from flows.power import powers
from flows.request import request
from flows.runs import prepare_run
from tests import sweeps


def test_the_plan_of_a_shipped_experiment(tmp_path: Path) -> None:
    run = prepare_run(Home(tmp_path), request("gpt2"))
    primary, rated = powers(run, difference=0.05)
    assert (primary.outcome, primary.prompts, primary.samples, primary.tests) == ("toxicity on human_eval", 40, 3, 8)
    assert primary.components.source == "assumed"
    assert primary.here == pytest.approx(next(r.detectable for r in primary.rows if (r.prompts, r.samples) == (40, 3)))
    assert primary.needed is not None
    assert primary.needed > 160
    assert (rated.outcome, rated.raters) == ("human rating on human_eval", 3)
    assert {row.raters for row in rated.rows} == {1, 3, 6}
    assert {row.raters for row in primary.rows} == {1}  # a scorer is no rater


def test_the_command_prints_it_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    shown = sweeps.palms(tmp_path, "plan", "gpt2", "--power", "--difference", "0.1").stdout
    assert "find a difference of ±" in shown
    assert "±0.1 takes" in shown
    assert "variance components assumed" in shown
    for arguments, told in (
        (["--power", "--difference", "0"], "no number of prompts shows a difference of nothing"),
        (["--difference", "0.1"], "--difference is what --power is asked for"),
    ):
        refused = sweeps.palms(tmp_path, "plan", "gpt2", *arguments, status=2)
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1
