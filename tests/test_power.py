"""Planning by power: hand-worked plans, components that come back from simulated arms, and power that is reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulated import Design, Ratings
from tasks.statistics import minimal_detectable_difference, paired_difference
from tasks.statistics.power import (
    ASSUMED_RATINGS,
    Components,
    assumed_rates,
    components_of,
    detectable,
    difference_sd,
    power_table,
    prompts_needed,
)

PLAN = Components(prompt=1.0, sample=3.0, rater=18.0)


def test_the_standard_deviation_of_a_prompts_difference_by_hand() -> None:
    assert difference_sd(PLAN, completions=3, raters=2) == pytest.approx(math.sqrt(1 + 1 + 3))
    assert difference_sd(PLAN, completions=1) == pytest.approx(math.sqrt(22))
    assert difference_sd(PLAN, completions=10**9) == pytest.approx(1)  # what no number of completions takes away


def test_the_assumed_components_are_those_that_the_checks_simulate() -> None:
    model = Ratings()
    parts = (2 * model.arm**2, 2 * model.sample**2, 2 * model.residual**2)
    assert (ASSUMED_RATINGS.prompt, ASSUMED_RATINGS.sample, ASSUMED_RATINGS.rater) == pytest.approx(parts)
    assert 0.65 <= difference_sd(ASSUMED_RATINGS, completions=3, raters=3) <= 0.78
    assert ASSUMED_RATINGS.source == "assumed"


def test_assumed_rates_by_hand() -> None:
    ours = assumed_rates(0.5, intraclass=0.4, shared=0.75)  # variance of a completion 1/4 an arm, 1/2 in both
    assert (ours.prompt, ours.sample, ours.rater) == pytest.approx((0.05, 0.3, 0))
    assert assumed_rates(0.1).sample == pytest.approx(assumed_rates(0.9).sample)


def test_detectable_is_the_minimal_detectable_difference_at_that_standard_deviation() -> None:
    ours = detectable(PLAN, 40, 8, completions=3, raters=2, power=0.9, alpha=0.05 / 8)
    assert ours == pytest.approx(minimal_detectable_difference(math.sqrt(5), 40, 8, power=0.9, alpha=0.05 / 8))
    assert ours > detectable(PLAN, 40, 8, completions=3, raters=2, power=0.9)


@pytest.mark.parametrize("wanted", [0.05, 0.2, 0.33, 1.0, 3.0])
def test_prompts_needed_are_enough_and_a_prompt_a_category_fewer_are_not(wanted: float) -> None:
    prompts = prompts_needed(wanted, ASSUMED_RATINGS, 8, completions=3, raters=3)
    assert prompts % 8 == 0
    assert detectable(ASSUMED_RATINGS, prompts, 8, completions=3, raters=3) <= wanted
    assert prompts == prompts_needed(-wanted, ASSUMED_RATINGS, 8, completions=3, raters=3)
    if prompts > 16:
        assert detectable(ASSUMED_RATINGS, prompts - 8, 8, completions=3, raters=3) > wanted
    else:
        assert prompts == 16


def test_the_table_holds_every_plan_and_shows_that_prompts_help_most() -> None:
    rows = {(row.prompts, row.completions, row.raters): row.detectable for row in power_table(ASSUMED_RATINGS)}
    assert rows.keys() == {(p, s, r) for p in (40, 80, 160) for s in (1, 3, 10, 25) for r in (1, 3, 6)}
    assert rows[40, 3, 3] == pytest.approx(detectable(ASSUMED_RATINGS, 40, 8, completions=3, raters=3))
    assert rows[160, 3, 3] < rows[40, 25, 6] < rows[40, 3, 6] < rows[40, 3, 3]
    assert [row.raters for row in power_table(assumed_rates(0.2), raters=(1,))] == [1] * 12


def test_the_stated_power_is_reached() -> None:
    model, design, experiments = Ratings(rounded=False), Design(8, 5), 2000
    model = replace(model, shift=detectable(ASSUMED_RATINGS, design.prompts, design.strata, model.completions, model.raters))
    scores, _ = model.draw(np.random.default_rng(0), experiments, design)
    found = sum(paired_difference(treated - reference, design.labels).low > 0 for treated, reference in scores.mean(axis=(3, 4)))
    assert found / experiments == pytest.approx(0.8, abs=3.3 * math.sqrt(0.8 * 0.2 / experiments))


@pytest.mark.parametrize("raters_apart", [True, False])
def test_components_come_back_from_simulated_arms(raters_apart: bool) -> None:
    model, design = Ratings(shift=0.5, rounded=False), Design(8, 250)
    scores, _ = model.draw(np.random.default_rng(1), 1, design)
    arms = scores[0] if raters_apart else scores[0].mean(axis=3)
    ours = components_of(list(arms[0]), list(arms[1]), design.labels)
    rater = ASSUMED_RATINGS.rater
    expected = (ASSUMED_RATINGS.prompt, ASSUMED_RATINGS.sample + (0 if raters_apart else rater / 3), rater * raters_apart)
    assert (ours.prompt, ours.sample, ours.rater) == pytest.approx(expected, rel=0.15)
    assert ours.source == "estimated from 2000 prompts"


def test_components_by_hand() -> None:
    # Treated: means 2 and 6, s² 2 within both; reference: means 1 and 1, s² 2 and 0. Differences 1 and 5: s² 8, of which
    # 2/2 + 1/2 come from completions.
    ours = components_of([[1, 3], [5, 7]], [[0, 2], [1, 1]], ["a", "a"])
    assert (ours.prompt, ours.sample, ours.rater) == pytest.approx((8 - 1.5, 2 + 1, 0))


def test_components_with_raters_by_hand() -> None:
    # A rater who is 2 more severe on every completion is no noise: what is left of the treated arm's first prompt is ±1/2.
    treated = [[[1, 3], [4, 4]], [[1, 3], [1, 3]]]  # remainders ±.5, and 0: σ²_e = 4·.25/2; completions 2 and 4, and 2 and 2
    reference = [[[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    ours = components_of(treated, reference, ["a", "a"])
    assert ours.rater == pytest.approx(0.5)
    assert ours.sample == pytest.approx(
        2 / 2 - 0.5 / 2
    )  # the spread of completions, pooled over two prompts, less the raters' half
    assert ours.prompt == 0  # differences 3 and 2 vary by .5, as completions alone would let them: never below 0


def test_a_finished_sweep_gives_back_its_own_standard_deviation() -> None:
    model, design = Ratings(), Design(8, 5)
    scores, _ = model.draw(np.random.default_rng(2), 1, design)
    arms = scores[0].mean(axis=3)
    ours = components_of(list(arms[0]), list(arms[1]), design.labels)
    differences = (arms[0] - arms[1]).mean(axis=1).reshape(8, 5)
    assert ours.prompt > 0
    assert difference_sd(ours, model.completions) ** 2 == pytest.approx(differences.var(axis=1, ddof=1).mean())


PAIR = [[1.0, 2.0], [2.0, 4.0]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Components(-0.1, 1), "prompt: expected a finite variance"),
        (lambda: Components(1, float("nan")), "sample: expected a finite variance"),
        (lambda: Components(1, 1, float("inf")), "rater: expected a finite variance"),
        (lambda: assumed_rates(1.2), r"rate: expected a number in \[0, 1\]"),
        (lambda: assumed_rates(0.2, shared=-1), "shared: expected"),
        (lambda: difference_sd(PLAN, 0), "completions: expected at least 1"),
        (lambda: difference_sd(PLAN, 1, 0), "raters: expected at least 1"),
        (lambda: difference_sd(assumed_rates(0), 3), "at least one variance above 0"),
        (lambda: detectable(PLAN, 8, 8, 3), "more prompts than strata"),
        (lambda: detectable(PLAN, 40, 8, 3, power=1), "power: expected"),
        (lambda: detectable(PLAN, 40, 8, 3, alpha=0), "alpha: expected"),
        (lambda: prompts_needed(0, PLAN, 8, 3), "difference: expected a finite number other than 0"),
        (lambda: prompts_needed(float("nan"), PLAN, 8, 3), "difference: expected a finite number other than 0"),
        (lambda: prompts_needed(1e-4, PLAN, 8, 3), "over a million prompts"),
        (lambda: prompts_needed(1, PLAN, 0, 3), "at least 1 stratum"),
        (lambda: components_of(PAIR, PAIR[:1], ["a", "a"]), "reference: expected as many prompts"),
        (lambda: components_of(PAIR[:1], PAIR[:1], ["a"]), "at least 2 prompts"),
        (lambda: components_of(PAIR, [[1.0, float("nan")], [1.0]], ["a", "a"]), r"reference\[0\]: expected finite"),
        (lambda: components_of([[1.0], [2.0]], PAIR, ["a", "a"]), "treated: expected a prompt with at least 2 completions"),
        (lambda: components_of([[[1.0], [2.0]]] * 2, [[[1.0], [2.0]]] * 2, ["a", "a"]), "2 completions by 2 raters"),
        (lambda: components_of([[[1.0, 2.0], [2.0, 2.0]]] * 2, PAIR, ["a", "a"]), r"reference\[0\]: expected 2 dim"),
    ],
)
def test_refusals_say_what_would_be_accepted(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)
