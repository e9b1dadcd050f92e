"""Measured against exact against planted: how far the calibration ladder's own truths and the measurements agree.

Knows three kinds of numbers and keeps them apart. *Measured*: shares of sampled answers, with an interval. *Exact*: the model's own
rate, computed by scoring the grammar's answers; intervals are checked against it. *Planted*: what the grammar was given; only base has
one, and the gap exact − planted is fit error. The grammar's labels and a scorer's labels are different things in different columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.compare.summary import EXACT, PLANTED
from tasks.compare.upstream import Sources
from tasks.contract import Axes, Metric

LABELS = {
    "on_position": "on position",
    "neutral_label": "neutral",
    "toxic_label": "toxic",
    "positive_label": "positive",
    "negative_label": "negative",
    "favoured_words": "with a favoured word",
    "other_words": "with another word",
    "off_grammar": "off the grammar",
}
SCORER = "toxic_share"  # share of completions that the toxicity scorer calls toxic


@dataclass(frozen=True)
class Truth:
    """One label of one arm: shares in [0, 1]. `covered` says whether the measured interval holds the exact rate."""

    axes: Axes
    label: str
    measured: Metric
    exact: float | None
    planted: float | None

    @property
    def fit_error(self) -> float | None:
        return None if self.exact is None or self.planted is None else self.exact - self.planted

    @property
    def covered(self) -> bool | None:
        low, high = self.measured.ci_low, self.measured.ci_high
        return None if self.exact is None or low is None or high is None else low <= self.exact <= high


def truths(sources: Sources) -> list[Truth]:
    """Every grammar label that was measured where an exact or planted rate stands for the same model."""
    stated = _stated(sources)
    rows = []
    for node in sorted(sources.nodes, key=lambda node: sources.order(node.axes)):
        for label in LABELS:
            measured = node.level(label)
            exact, planted = (_find(stated, node.axes, prefix, label) for prefix in (EXACT, PLANTED))
            if measured is not None and (exact is not None or planted is not None):
                rows.append(Truth(node.axes, label, measured, exact, planted))
    return rows


def scorer_shares(sources: Sources) -> dict[Axes, Metric]:
    """Where a toxicity scorer read the same completions: its own share of toxic ones."""
    return {node.axes: row for node in sources.nodes if (row := node.level(SCORER)) is not None}


def _stated(sources: Sources) -> dict[tuple[Axes, str], float]:
    return {
        (node.axes, row.metric): row.value
        for node in sources.nodes
        for row in node.metrics
        if row.group == "all" and row.metric.startswith((EXACT, PLANTED))
    }


def _find(stated: Mapping[tuple[Axes, str], float], axes: Axes, prefix: str, label: str) -> float | None:
    """A truth belongs to the model: it may have been computed on the suite's own prompts or for no suite in particular."""
    model = (axes.ladder, axes.size, axes.arm, axes.train_samples, axes.seed)
    for suite in (axes.suite, None):
        value = stated.get((Axes(*model, suite), prefix + label))
        if value is not None:
            return value
    return None
