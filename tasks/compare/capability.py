"""What tuning cost: a verdict on each arm against the reference arm, by a margin that the experiment names.

Non-inferiority, so the burden of proof is turned round: *kept* needs an interval that excludes a loss as large as the margin, *lost*
one that excludes any smaller loss, and everything between is *inconclusive*. Intervals are two-sided at 90 %, so that each limit
is one-sided at 95 %. Each run is judged alone, conditional on its training seed. Leaves measuring to `tasks.evaluations.capability`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.compare.upstream import Output, PromptValue, Sources, references
from tasks.contract import read_json
from tasks.evaluations.capability.stage import HARNESS
from tasks.statistics import DEGENERATE, Interval, paired_difference

STAGE = "capability"
PROSE, PLAIN, TASKS = "prose", "plain", "tasks"
METRICS = {PROSE: "nats_per_token", PLAIN: "nats_per_token_plain", TASKS: "accuracy"}
KEPT, LOST, INCONCLUSIVE, NOT_ASSESSABLE = "kept", "lost", "inconclusive", "not assessable"
LEVEL = 0.90  # both limits of it are one-sided 95 % limits
LARGE_SHARE = 0.1  # of the reference's own loss: a margin beyond it is told
NAMED = 3  # how many missing items an error names


@dataclass(frozen=True)
class Verdict:
    """One capability of one run. `value` is arm − reference: nats a token (positive is worse) or macro accuracy (negative is worse).

    `margin` is the bound in the same unit and sign. `n` counts paragraphs or items. value, low and high are None where nothing could
    be assessed; `note` says why, and which tasks were left out.
    """

    ladder: str
    size: str
    arm: str
    train_samples: int | None
    seed: int | None
    measure: str  # prose, plain or tasks
    value: float | None
    low: float | None
    high: float | None
    margin: float
    verdict: str
    n: int
    note: str = ""


def verdicts(sources: Sources, settings: Any) -> list[Verdict]:
    """Every measure of every arm but the reference whose capability was measured, in the order of the report.

    `settings` names margin_nats, margin_accuracy and above_chance.

    prose, plain: mean over paragraphs of the difference in nats a token, with the t interval of `paired_difference`.
    tasks: mean over tasks, each of equal weight, of the difference in accuracy, paired by item (`accuracy_difference`). A task on
    which the reference is less than `above_chance` above chance is left out: what it cannot do, no arm can lose.

    Raises:
        ValueError: an item or paragraph measured in one arm only, a task that asked the arms different things, or a task of which
            the reference states no chance.
    """
    nodes, reference = sources.of(STAGE), sources.arms.reference
    bases = {node.axes: node for node in nodes if node.axes.arm == reference}
    found = []
    for node in nodes:
        if node.axes.arm in (None, reference):
            continue
        base = next((bases[axes] for axes in references(node.axes, reference) if axes in bases), None)
        for measure, metric in METRICS.items():
            if metric in node.prompts or (base is not None and metric in base.prompts):
                found.append(_verdict(node, base, reference, measure, settings))
    return found


def _verdict(node: Output, base: Output | None, called: str, measure: str, settings: Any) -> Verdict:
    """`called`: the reference arm, by name."""
    margin = -settings.margin_accuracy if measure == TASKS else settings.margin_nats
    axes = node.axes

    def made(interval: Interval | None, verdict: str, n: int, note: str) -> Verdict:
        return Verdict(
            ladder=axes.ladder or "",
            size=axes.size or "",
            arm=axes.arm or "",
            train_samples=axes.train_samples,
            seed=axes.seed,
            measure=measure,
            value=interval.value if interval else None,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            margin=margin,
            verdict=verdict,
            n=n,
            note=note,
        )

    if base is None:
        return made(None, NOT_ASSESSABLE, 0, f"{called} was not measured")
    treated, reference = _paired(node, base, METRICS[measure])
    ids, notes = sorted(treated), []
    if measure == TASKS:
        _same_questions(node, base)
        weak = {
            task: why
            for task in sorted({reference[i].group for i in ids})
            if (why := _weak(base, reference, called, task, settings))
        }
        ids = [i for i in ids if reference[i].group not in weak]
        notes += [f"left out, {called} near chance: {', '.join(weak.values())}"] if weak else []
    if len(ids) < 2:
        few = "one paragraph or item shows no spread" if ids else "no task is left"
        return made(None, NOT_ASSESSABLE, len(ids), "; ".join([*notes, few]))
    strata = [reference[i].group for i in ids]
    differences = np.array([treated[i].value - reference[i].value for i in ids])
    interval = (
        accuracy_difference(differences, strata) if measure == TASKS else paired_difference(differences, strata, level=LEVEL)
    )
    if interval.method.startswith(DEGENERATE):
        if interval.value != 0:
            return made(
                interval, INCONCLUSIVE, len(ids), "no spread between paragraphs: an interval without width bounds nothing"
            )
        notes.append("the same on every paragraph")
    notes += [limit] if (limit := _limit(measure, [reference[i].value for i in ids], called, settings)) else []
    worse = -1.0 if measure == TASKS else 1.0  # turns both measures so that more is worse
    low, high = sorted((worse * interval.low, worse * interval.high))
    verdict = KEPT if high < abs(margin) else LOST if low > abs(margin) else INCONCLUSIVE
    return made(interval, verdict, len(ids), "; ".join(notes))


def accuracy_difference(differences: np.ndarray, strata: Sequence[str]) -> Interval:
    """Equal-weight mean over tasks of −1, 0, 1 an item (lost, as before, gained), with limits that hold where few items change.

    The limits are those of `paired_difference` after each task was given one lost and one gained item more (Bonett & Price 2012, the
    adjusted Wald interval for paired proportions, stratified); they stay in [−1, 1], and the value is that of the items themselves.
    An arm whose true loss is the margin of 2 points must be called kept in 5 % of experiments; simulated, with items that are only
    lost, it was in 20, 9 and 12 % by the plain t limits at 150, 200 and 504 items and in 5, 9 and 6 % by these; with half a point of
    gains beside, in 12, 10 and 7 % and in 4, 5 and 6 %. Items that all stay as they were have no spread, and limits all the same.
    """
    tasks = sorted(set(strata))
    more = paired_difference(
        [*differences, *[1.0, -1.0] * len(tasks)], [*strata, *(task for task in tasks for _ in range(2))], level=LEVEL
    )
    value = float(np.mean([np.mean(differences[np.array(strata) == task]) for task in tasks]))
    low, high = max(min(more.low, value), -1.0), min(max(more.high, value), 1.0)
    return replace(more, value=value, low=low, high=high, n=differences.size)


def _paired(node: Output, base: Output, metric: str) -> tuple[Mapping[str, PromptValue], Mapping[str, PromptValue]]:
    treated, reference = node.prompts.get(metric, {}), base.prompts.get(metric, {})
    odd = [(base, node, reference.keys() - treated.keys()), (node, base, treated.keys() - reference.keys())]
    for one, other, only in odd:
        if only:
            named = ", ".join(sorted(only)[:NAMED]) + (f" and {len(only) - NAMED} more" if len(only) > NAMED else "")
            raise ValueError(f"{metric}: {named} in {one.label} and not in {other.label}; both need the same items")
    return treated, reference


def _same_questions(node: Output, base: Output) -> None:
    """A data set of the hub can change between two measurements without its items being numbered otherwise."""
    asked, before = (read_json(output.folder / HARNESS) for output in (node, base))
    for task, content in asked.items():
        if content != before.get(task):
            raise ValueError(
                f"task {task}: {node.label} and {base.label} were not asked the same items; measure the latter again with the same data set"
            )


def _limit(measure: str, values: Sequence[float], called: str, settings: Any) -> str:
    """What the reference's own level lets a verdict say little of: nothing to gain, or a margin that is a large part of its loss."""
    if measure == TASKS:
        return f"{called} is at its ceiling: {len(values)} of {len(values)} right" if min(values) == 1 else ""
    loss = float(np.mean(values))
    return (
        f"the margin is {settings.margin_nats / loss:.0%} of the loss of {called}"
        if settings.margin_nats > LARGE_SHARE * loss > 0
        else ""
    )


def _weak(base: Output, reference: Mapping[str, PromptValue], called: str, task: str, settings: Any) -> str:
    """`TASK (base 27.0%, chance 25.0%)` where the reference is too near chance for anything to be lost, else ""."""
    chance = base.level("chance", task)
    if chance is None:
        raise ValueError(f"{base.label}: no chance of task {task}; a metric chance of each task is required")
    accuracy = float(np.mean([value.value for value in reference.values() if value.group == task]))
    if round(accuracy - chance.value - settings.above_chance, 12) >= 0:  # without the rounding of binary fractions
        return ""
    return f"{task} ({called} {accuracy:.1%}, chance {chance.value:.1%})"


# measure → what it is called, its unit, and its kind
MEASURES = {
    PROSE: ("prose", "nats a token", "score"),
    PLAIN: ("plain prose", "nats a token", "score"),
    TASKS: ("tasks", "accuracy in points", "rate"),
}
