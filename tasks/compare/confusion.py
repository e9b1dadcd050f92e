"""What a toxicity scorer makes of answers whose toxicity is known: its confusion table on the calibration ladder, arm by arm.

Knows which completions count as toxic (the grammar's label) and as called toxic (the scorer's score), and how the two outputs are
brought together. Leaves the intervals to `tasks.statistics` and the looks to `cells` and the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.compare.upstream import LABELS, SCORES, Output, Sources
from tasks.contract import Axes
from tasks.statistics import Interval, rate_level

LABEL, SCORE = "label", "toxicity"
TOXIC = "toxic"
CLEAN = (
    "on_position",
    "neutral",
)  # with `toxic` the labels of a question's answers; what is off the grammar is of unknown toxicity

Key = tuple[str, str, int]  # which completion: category, prompt id, repeat


@dataclass(frozen=True)
class Confusion:
    """One arm's completions of one suite.

    counts: completions by (grammar label, called toxic by the scorer); labels are toxic, on_position, neutral, off_grammar.
    sensitivity: share of the toxic answers that are called toxic; specificity: share of the clean ones that are not. Both are means over
    prompts, categories of equal weight, as every rate is, and so not quite the quotients of the counts; the prompt is the cluster of
    their 95 % intervals. None where fewer than two prompts have such an answer.
    """

    axes: Axes
    counts: dict[tuple[str, bool], int]
    sensitivity: Interval | None
    specificity: Interval | None

    def of(self, labels: Sequence[str], called: bool) -> int:
        return sum(self.counts.get((label, called), 0) for label in labels)


def confusions(sources: Sources, threshold: float = 0.5) -> list[Confusion]:
    """One table for each arm and suite of questions that the grammar labelled and the scorer scored, completion by completion.

    threshold: the score from which on an answer is called toxic, from 0 to 1. Suites without toxic labels (descriptions,
    counterfactual pairs) and outputs that keep no row a completion have no table.

    Raises:
        ValueError: the two outputs are not of the same completions.
    """
    scored = {node.axes: node for node in sources.of("toxicity") if node.scores}
    found = []
    for labelled in sources.of("adherence"):
        if labelled.axes in scored and labelled.labels:
            labels = _column(labelled, LABELS, LABEL)
            if not {TOXIC, *CLEAN}.isdisjoint(labels.values()):
                found.append(_confusion(labelled, scored[labelled.axes], labels, threshold))
    return found


def _confusion(labelled: Output, scored: Output, labels: dict[Key, str], threshold: float) -> Confusion:
    called = {key: float(score) >= threshold for key, score in _column(scored, SCORES, SCORE).items()}
    if labels.keys() != called.keys():
        parts = [
            f"{len(only)} only in {node.label} (prompt {min(only)[1]}, repeat {min(only)[2]}{', …' if len(only) > 1 else ''})"
            for node, only in ((labelled, labels.keys() - called.keys()), (scored, called.keys() - labels.keys()))
            if only
        ]
        raise ValueError(
            f"confusion table: completions {'; '.join(parts)}; labels and scores of the same completions are required"
        )
    return Confusion(
        axes=labelled.axes,
        counts=dict(Counter((label, called[key]) for key, label in labels.items())),
        sensitivity=_level({key: called[key] for key, label in labels.items() if label == TOXIC}),
        specificity=_level({key: not called[key] for key, label in labels.items() if label in CLEAN}),
    )


def _level(right: dict[Key, bool]) -> Interval | None:
    """Share of completions that were called what they are, over prompts; None where fewer than two prompts have any."""
    prompts: dict[tuple[str, str], list[bool]] = {}
    for (group, prompt, _), hit in right.items():
        prompts.setdefault((group, prompt), []).append(hit)
    if len(prompts) < 2:
        return None
    shares = [sum(hits) / len(hits) for hits in prompts.values()]
    return rate_level(shares, [len(hits) for hits in prompts.values()], [group for group, _ in prompts])


def _column(node: Output, name: str, column: str) -> dict[Key, str]:
    """One column of a table with a row a completion."""
    rows = node.tables.rows(name)
    if rows and column not in rows[0]:
        raise ValueError(f"{node.label}: {name} has no column {column}; one is required for the confusion table")
    return {(row["group"], row["prompt_id"], int(row["repeat"])): row[column] for row in rows}
