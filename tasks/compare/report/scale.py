"""Limits as they are shown: none beyond the ends of what is measured. The tables beside the page keep them as they were computed.

An interval by Student's t may pass an end of the scale; that says nothing of what lies beyond it.
"""

from __future__ import annotations

from dataclasses import replace

from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference
from tasks.compare.upstream import Output, Sources
from tasks.contract import Metric


def within_scale(found: Comparison) -> Comparison:
    """The same comparison with every limit of a rate, or of a score from 0 to 1, cut at the ends of the scale."""
    bounded = {metric for metric in found.sources.kinds if _from_0_to_1(metric, found.sources)}
    nodes = tuple(replace(node, metrics=tuple(_level(row, bounded) for row in node.metrics)) for node in found.sources.nodes)
    return replace(
        found,
        sources=replace(found.sources, nodes=nodes),
        differences=[_difference(row) if row.metric in bounded else row for row in found.differences],
    )


def _from_0_to_1(metric: str, sources: Sources) -> bool:
    """A rate, or a score that its evaluation gives without a unit and whose every value lies there."""
    if sources.kinds[metric] == "rate":
        return True
    measure = sources.measures.get(metric)
    if measure is None or not measure.outcome or measure.unit or measure.rated:
        return False
    return all(0 <= prompt.value <= 1 for node in sources.nodes for prompt in _prompts(node, metric))


def _prompts(node: Output, metric: str) -> list:
    return list(node.prompts.get(metric, {}).values())


def _level(row: Metric, bounded: set[str]) -> Metric:
    if row.metric not in bounded or row.ci_low is None or row.ci_high is None:
        return row
    return replace(row, ci_low=max(row.ci_low, 0.0), ci_high=min(row.ci_high, 1.0))


def _difference(row: Difference) -> Difference:
    return replace(row, ci_low=max(row.ci_low, -1.0), ci_high=min(row.ci_high, 1.0))
