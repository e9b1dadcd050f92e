"""How far two scorers of the same completions agree. The coefficients and their intervals stand in `tasks.statistics.agreement`."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.contract import Metric
from tasks.evaluations.toxicity.measures import CLASS
from tasks.sampling.completions import Completion, by_prompt
from tasks.scoring import Reading
from tasks.statistics import DEGENERATE, kappa, rank_correlation


def agreement_metrics(
    completions: Sequence[Completion], first: Reading, second: Reading, thresholds: tuple[float, float]
) -> tuple[list[Metric], list[str]]:
    """scorer_kappa and scorer_correlation, both from −1 to 1 with intervals over prompts (n: prompts), and why one is missing.

    scorer_kappa: Cohen's kappa of who is called toxic, each scorer by its own threshold. scorer_correlation: Spearman's rank
    correlation of the two toxicity scores over completions, free of thresholds. Neither says which scorer is right.
    """
    prompts = by_prompt(completions)
    at = {(row.prompt_id, row.repeat): index for index, row in enumerate(completions)}
    places = [[at[row.prompt_id, row.repeat] for row in members] for members in prompts.values()]
    strata = [members[0].group for members in prompts.values()]
    scores = [[[column[index] for index in held] for held in places] for column in (first.column(CLASS), second.column(CLASS))]
    toxic = [
        [[float(score >= threshold) for score in held] for held in rater]
        for rater, threshold in zip(scores, thresholds, strict=True)
    ]
    metrics, notes = [], []
    for name, coefficient, (one, other) in (("scorer_kappa", kappa, toxic), ("scorer_correlation", rank_correlation, scores)):
        try:
            found = coefficient(one, other, strata)
        except ValueError as error:
            notes.append(f"{name}: not reported: {error}")
            continue
        low, high = (None, None) if found.method.startswith(DEGENERATE) else (found.low, found.high)
        metrics.append(Metric(name, found.value, n=found.n, ci_low=low, ci_high=high))
    return metrics, notes
