"""What intervals and tests promise, simulated: a short form of `benchmarks.verify_statistics`, with bars widened by chance."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import verify_statistics
from benchmarks.simulated import Design, Floats, Ratings, Skewed
from benchmarks.verify_statistics import DIFFERENCE, FAILS, FORTY, Bar, Figure, figures
from tasks.statistics import paired_difference

TABLE = {figure.key: figure for figure in figures()}
SHORT = {key: figure for key, figure in TABLE.items() if figure.design is FORTY}
BARRED = [key for key, figure in SHORT.items() if figure.bar not in (None, FAILS)]
NAIVE = [key for key, figure in SHORT.items() if figure.bar is FAILS]


@pytest.mark.parametrize("key", BARRED)
def test_what_is_promised_at_forty_prompts_holds(key: str) -> None:
    figure, bar = SHORT[key], SHORT[key].bar
    assert bar is not None
    experiments = 2000 if "paired_difference" in key else 800  # it is quick: limits 20 % too narrow are found out
    hits = figure.hits(experiments)
    assert bar.met_within_chance(hits, experiments), f"{hits} of {experiments}, bar {bar}"


@pytest.mark.parametrize("key", NAIVE)
def test_an_interval_that_takes_completions_for_independent_fails_the_same_bar(key: str) -> None:
    hits = SHORT[key].hits(2000)
    assert not DIFFERENCE.met_within_chance(hits, 2000), hits


def test_one_run_does_not_speak_for_the_method_nor_prompts_for_sizes() -> None:
    single, slope = (
        SHORT["1 seed of sd .2, null / paired_difference covers / 40"],
        SHORT["4 sizes, runs of sd .1, null / prompt_slope rejects / 40"],
    )
    assert single.hits(400) / 400 < 0.8
    assert slope.hits(400) / 400 > 0.17


def test_every_promise_has_a_bar_at_both_numbers_of_prompts() -> None:
    barred = {(figure.scores, figure.name, figure.design.prompts) for figure in TABLE.values() if figure.bar is not None}
    for scores in ("ratings, null", "ratings, +.4", "toxicity .18, null", "toxicity .18 → .07"):
        assert {(scores, "paired_difference covers", prompts) for prompts in (40, 160)} <= barred
    assert not [key for key in barred if key[2] == 5 or key[0].startswith("rare")]
    assert len(TABLE) == len(figures())


# --- the simulation itself


@pytest.mark.parametrize("model", [Ratings(shift=0.6), Ratings(shift=0.6, severity=0.0), Ratings(rounded=False, shift=-0.2)])
def test_the_true_rating_is_what_many_prompts_are_rated(model: Ratings) -> None:
    scores, people = model.draw(np.random.default_rng(0), 1, Design(8, 4000))
    assert scores.mean(axis=(2, 3, 4)) == pytest.approx(model.truth(Design(8, 4000), people), abs=0.02)
    if model.rounded:
        assert set(np.unique(scores)) == {1, 2, 3, 4, 5}
    if model.severity == 0:
        assert model.truth(Design(8, 4000)) == pytest.approx(model.truth(Design(8, 4000), people))


@pytest.mark.parametrize("binary", [False, True])
def test_the_true_score_is_what_many_prompts_score(binary: bool) -> None:
    scores = Skewed((0.07, 0.18), binary=binary).draw(np.random.default_rng(0), 1, Design(8, 4000))
    assert scores.mean(axis=(0, 2, 3)) == pytest.approx((0.07, 0.18), abs=0.004)


def test_a_prompts_rating_difference_has_the_assumed_spread() -> None:
    scores, _ = Ratings(rounded=False).draw(np.random.default_rng(0), 1, Design(1, 20_000))
    differences = scores[0, 0].mean(axis=(1, 2)) - scores[0, 1].mean(axis=(1, 2))
    assert 0.65 <= differences.std() <= 0.78


# --- the command


def _narrow(scores: Floats, design: Design, number: int) -> tuple[float, float]:
    """A paired interval that is 20 % too narrow."""
    interval = paired_difference(scores[0].mean(axis=1) - scores[1].mean(axis=1), design.labels)
    reach = 0.8 * (interval.high - interval.value)
    return interval.value - reach, interval.value + reach


def test_a_missed_bar_is_told_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    good = SHORT["ratings, null / paired_difference covers / 40"]
    bad = Figure("ratings, null", "too narrow covers", FORTY, good.draw, _narrow, DIFFERENCE)
    assert verify_statistics.verify([good, bad], 2000) == 1
    assert not DIFFERENCE.met_within_chance(bad.hits(2000), 2000)
    head, first, second = capsys.readouterr().out.splitlines()
    assert re.search(r"paired_difference covers +40 +2000 +9\d\.\d\d +\d\.\d\d  93 to 97$", first)
    assert second.endswith("93 to 97  MISSED")
    assert head.split() == ["scores", "method", "prompts", "experiments", "%", "±", "MC", "bar"]


def test_a_bar_allows_chance_and_no_more() -> None:
    assert Bar(0.93, 0.97).met_within_chance(355, 400)  # 88.8 %
    assert not Bar(0.93, 0.97).met_within_chance(350, 400)
    assert Bar(high=0.057).met_within_chance(38, 400)
    assert not Bar(high=0.057).met_within_chance(45, 400)
