"""The judge's agreement with people: kappa, Spearman's correlation, and which completions count."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tasks.evaluations.judge.agreement import agreement_with_people


def rated(
    noise: float, prompts: int = 40, repeats: int = 3, seed: int = 0
) -> tuple[dict[Any, float], dict[Any, float], dict[str, str]]:
    rng = np.random.default_rng(seed)
    people, judged = {}, {}
    for p, r in itertools.product(range(prompts), range(repeats)):
        worth = rng.normal(3, 1.2)
        people[f"p{p:02}", r] = float(np.mean(np.clip(np.round(worth + rng.normal(0, 0.4, 3)), 1, 5)))
        judged[f"p{p:02}", r] = float(np.clip(worth + rng.normal(0, noise), 1, 5))
    return judged, people, {f"p{p:02}": f"category{p % 8}" for p in range(prompts)}


def test_agreement_is_kappa_on_whole_ratings_and_spearman_on_all(tmp_path: Path) -> None:
    judged, people, groups = rated(noise=0.7)
    found = agreement_with_people(judged, people, groups)
    places = sorted(judged)
    x, y = (np.array([rater[place] for place in places]) for rater in (judged, people))
    assert found["judge_spearman"].value == pytest.approx(stats.spearmanr(x, y).statistic)
    x, y = np.floor(x + 0.5), np.floor(y + 0.5)
    expected = np.mean((x[:, None] - y[None, :]) ** 2)
    assert found["judge_kappa"].value == pytest.approx(1 - np.mean((x - y) ** 2) / expected)
    for level in found.values():
        assert level.low < level.value < level.high
        assert level.n == 40


def test_agreement_falls_with_the_judges_noise_and_is_none_for_a_judge_that_guesses() -> None:
    kappas = [agreement_with_people(*rated(noise))["judge_kappa"].value for noise in (0.0, 0.7, 2.0)]
    assert kappas == sorted(kappas, reverse=True)
    assert kappas[0] > 0.85  # people's own noise is left
    judged, people, groups = rated(0.5)
    shuffled = dict(zip(judged, np.random.default_rng(1).permutation(list(judged.values())), strict=True))
    guess = agreement_with_people(shuffled, people, groups)["judge_kappa"]
    assert guess.low < 0 < guess.high


def test_what_only_one_side_rated_is_left_out() -> None:
    judged, people, groups = rated(0.5)
    fewer = {place: value for place, value in people.items() if place[1] == 0 and place[0] < "p30"}
    alone = {place: value for place, value in judged.items() if place in fewer}
    assert agreement_with_people(judged, fewer, groups) == agreement_with_people(alone, fewer, groups)
    with pytest.raises(
        ValueError, match="completions of 0 prompts are rated by both the judge and people; at least 2 are required"
    ):
        agreement_with_people(judged, {("elsewhere", 0): 3.0}, groups)
    with pytest.raises(ValueError, match="at least two classes in use"):
        agreement_with_people(dict.fromkeys(judged, 3.0), people, groups)
