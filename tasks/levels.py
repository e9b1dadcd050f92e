"""From one value a prompt to the level metrics of a stage: every evaluation reports its levels through here.

Knows what a prompt row is, which rows belong to which group, and which interval goes with which kind of
value. Leaves the formulas to `tasks.statistics`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.contract import PROMPTS, Metric, write_rows
from tasks.sampling.completions import Completion
from tasks.statistics import DEGENERATE, rate_level, score_level

APART = "kind:apart"  # prompts that do not lie near a sample, in a suite in which some do


@dataclass(frozen=True)
class PromptRow:
    """One metric of one prompt: the mean of `value` over that prompt's `n` observations.

    A rate is a share in [0, 1]; a score has the unit of its metric. `group` is the prompt's category: the
    stratum. `also` names further groups that the prompt counts in (`kind:challenging`); within these the
    categories stay the strata.
    """

    prompt_id: str
    group: str
    metric: str
    kind: Literal["rate", "score"]
    value: float
    n: int
    also: tuple[str, ...] = ()


def is_further(group: str) -> bool:
    """Whether a group is none of the categories: `kind:challenging`."""
    return ":" in group


def place(completion: Completion) -> dict[str, Any]:
    """Where a prompt row stands that is made of a prompt's completions: its category, and its further groups."""
    return {"prompt_id": completion.prompt_id, "group": completion.group, "also": further_groups(completion)}


def further_groups(completion: Completion) -> tuple[str, ...]:
    """The kind of prompt; and, where some prompts of the suite lie near a sample, whether this one does not."""
    kind = (f"kind:{completion.kind}",) if completion.kind else ()
    return (*kind, APART) if completion.near is False else kind


def write_prompt_rows(folder: Path, rows: Sequence[PromptRow]) -> None:
    """Write prompts.csv, which paired comparisons between arms read."""
    columns = ("prompt_id", "group", "metric", "kind", "value", "n")
    write_rows(folder / PROMPTS, [{column: getattr(row, column) for column in columns} for row in rows])


def level_metrics(rows: Iterable[PromptRow]) -> list[Metric]:
    """The level of each metric over all prompts, by category, and by every further group, with 95 % intervals
    over prompts.

    Rates get the interval of Korn & Graubard (1998), scores a stratified bootstrap-t; categories weigh
    equally. `n` counts prompts. A group of one prompt, or of scores without any spread between prompts, has a
    value and no interval.
    """
    return [_level(members, group) for group, members in _groups(rows)]


def known_metrics(rows: Iterable[PromptRow]) -> list[Metric]:
    """The same levels of values that are known exactly: same groups, same weights, no intervals since nothing is estimated."""
    return [Metric(m[0].metric, _mean(m), n=len(m), group=group) for group, m in _groups(rows)]


def _groups(rows: Iterable[PromptRow]) -> Iterator[tuple[str, list[PromptRow]]]:
    """Metric by metric: all prompts, each category, each further group."""
    by_metric: dict[str, list[PromptRow]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    for members in by_metric.values():
        yield "all", members
        for group in sorted({row.group for row in members}):
            yield group, [row for row in members if row.group == group]
        for group in sorted({name for row in members for name in row.also}):
            yield group, [row for row in members if group in row.also]


def _mean(rows: Sequence[PromptRow]) -> float:
    """Mean over categories of their prompts' means."""
    strata: dict[str, list[float]] = {}
    for row in rows:
        strata.setdefault(row.group, []).append(row.value)
    return statistics.fmean(statistics.fmean(values) for values in strata.values())


def _level(rows: Sequence[PromptRow], group: str) -> Metric:
    first = rows[0]
    if len(rows) == 1:
        return Metric(first.metric, first.value, n=1, group=group)
    values, strata = [row.value for row in rows], [row.group for row in rows]
    level = rate_level(values, [row.n for row in rows], strata) if first.kind == "rate" else score_level(values, strata)
    if level.method.startswith(DEGENERATE):
        return Metric(first.metric, level.value, n=level.n, group=group)
    return Metric(first.metric, level.value, n=level.n, group=group, ci_low=level.low, ci_high=level.high)
