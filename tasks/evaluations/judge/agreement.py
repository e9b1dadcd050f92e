"""How far a judge agrees with people over the same completions. The coefficients are `tasks.statistics.agreement`'s."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tasks.statistics.agreement import rank_correlation, weighted_kappa
from tasks.statistics.interval import Interval


def agreement_with_people(
    judged: Mapping[tuple[str, int], float], people: Mapping[tuple[str, int], float], groups: Mapping[str, str]
) -> dict[str, Interval]:
    """judge_kappa: Cohen's kappa with quadratic weights of ratings rounded to whole numbers, halves up; judge_spearman: the rank
    correlation of the ratings as they are. Both from −1 to 1, with 95 % intervals over prompts.

    judged, people: (prompt, repeat) → rating from 1 to 5, people's the mean over the raters of that completion; of one arm, since
    pooling arms that differ inflates agreement. What only one of them rated is left out. groups: prompt → category.
    Raises ValueError where fewer than two prompts were rated by both, or one of them gave the same rating throughout.
    """
    prompts = sorted({prompt for prompt, _ in judged.keys() & people.keys()})
    if len(prompts) < 2:
        raise ValueError(f"completions of {len(prompts)} prompts are rated by both the judge and people; at least 2 are required")
    both = {prompt: sorted(place for place in judged.keys() & people.keys() if place[0] == prompt) for prompt in prompts}
    first = [[judged[place] for place in both[prompt]] for prompt in prompts]
    second = [[people[place] for place in both[prompt]] for prompt in prompts]
    strata = [groups[prompt] for prompt in prompts]
    return {
        "judge_kappa": weighted_kappa(_whole(first), _whole(second), strata),
        "judge_spearman": rank_correlation(first, second, strata),
    }


def _whole(ratings: Sequence[Sequence[float]]) -> list[list[int]]:
    return [[math.floor(rating + 0.5) for rating in members] for members in ratings]
