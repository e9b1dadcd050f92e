"""The tables and metrics of the counterfactual stage, put together from templates, the scores of their completions and the
probabilities of some of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model_registry.likelihood import Asked
from tasks.contract import Metric
from tasks.evaluations.counterfactual.fairness import fairness
from tasks.evaluations.counterfactual.fluency import Chosen, nats, relevance
from tasks.evaluations.counterfactual.pairs import Template
from tasks.levels import PromptRow
from tasks.statistics import mean_energy_distance

FAIRNESS_COLUMNS = ("axis", "measure", "value", "null_mean", "p", "n", "values", "templates")
DISPARITY, NATS = "sentiment_disparity", "completion_nats"

Scores = Mapping[tuple[str, int], float]  # of prompt id and repeat, in [0, 1]
Axes = Mapping[str, Sequence[Template]]


@dataclass(frozen=True)
class Table:
    """Rows of one table, the metrics that sum them up, and what could not be computed and why."""

    rows: list[Any]
    metrics: list[Metric]
    notes: list[str]


def fairness_table(axes: Axes, scores: Scores, permutations: int, seed: int, progress: Callable[[int, int, str], None]) -> Table:
    """Individual and group fairness of each axis, each with the mean of its permutation null and its p.

    Metrics, group `axis:<name>`, n = completions a template and value: individual_fairness, individual_fairness_null,
    individual_fairness_p, and the same of group_fairness.
    """
    table = Table([], [], [])
    for number, (axis, found) in enumerate(axes.items()):
        samples = np.stack([_samples(template, scores) for template in found])
        rng = np.random.default_rng([seed, number])

        def told(done: int, unit: str = f"permutations of {axis}") -> None:
            progress(done, permutations, unit)

        for one in fairness(samples, permutations, rng, told):
            n = samples.shape[2]
            row = (axis, one.measure, one.value, one.null_mean, one.p, n, samples.shape[1], samples.shape[0])
            table.rows.append(dict(zip(FAIRNESS_COLUMNS, row, strict=True)))
            for suffix, value in (("", one.value), ("_null", one.null_mean), ("_p", one.p)):
                table.metrics.append(Metric(one.measure + suffix, value, n=n, group=f"axis:{axis}"))
    return table


def sentiment_table(axes: Axes, scores: Scores) -> Table:
    """Two measures a template, prompt_id being the template's id and group its axis.

    sentiment_disparity: mean over pairs of values of the unbiased energy distance between their scores, n = completions a value; 0 on
    average where sentiment does not depend on the value, then also below it; at most 2. mean_sentiment: mean score, 0 to 1, n = all
    completions of the template. One completion a value shows no spread within a value: there is no disparity then, and a note says so.
    """
    table = Table([], [], [])
    for template in _all(axes):
        samples = _samples(template, scores)
        table.rows.append(PromptRow(template.id, template.axis, "mean_sentiment", "score", float(samples.mean()), samples.size))
        if template.n > 1:
            disparity = mean_energy_distance(samples)
            table.rows.append(PromptRow(template.id, template.axis, DISPARITY, "score", disparity, template.n))
        else:
            table.notes.append(f"template {template.id}: one completion a value; two are needed for sentiment_disparity")
    return table


def fluency_table(axes: Axes, chosen: Sequence[Chosen], own: Mapping[Asked, float], base: Mapping[Asked, float]) -> Table:
    """Two measures a template: relevance, from the log probabilities under the model that wrote the completions, and
    completion_nats, from those under its base model; n = completions read.

    A template whose completions are all empty has neither, and a note says so.
    """
    table = Table([], [], [])
    for template in _all(axes):
        read = [one for one in chosen if one.template == template.id]
        if not read:
            table.notes.append(f"template {template.id}: all completions are empty; no relevance and no perplexity to report")
            continue
        row = PromptRow(template.id, template.axis, "relevance", "score", relevance(read, own), len(read))
        table.rows.extend([row, replace(row, metric=NATS, value=nats(read, base))])
    return table


def perplexities(levels: Sequence[Metric]) -> list[Metric]:
    """perplexity = exp of each level of completion_nats and of its interval: a geometric mean over templates, ≥ 1."""
    bounds = [(row, row.ci_low, row.ci_high) for row in levels if row.metric == NATS]
    return [
        replace(
            row,
            metric="perplexity",
            value=math.exp(row.value),
            ci_low=None if low is None else math.exp(low),
            ci_high=None if high is None else math.exp(high),
        )
        for row, low, high in bounds
    ]


def _all(axes: Axes) -> list[Template]:
    return [template for found in axes.values() for template in found]


def _samples(template: Template, scores: Scores) -> np.ndarray:
    """Scores of one template [values, N]."""
    return np.array([[scores[row.prompt_id, row.repeat] for row in rows] for rows in template.samples.values()])
