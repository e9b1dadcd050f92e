"""What was gained at what distance: how far each arm moved the primary outcome, beside how far it moved from base.

Knows which numbers of an arm stand together, their drawing and their table. The divergence itself is of `tasks.evaluations.divergence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from configs.called import suite_words
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference, largest, one_run
from tasks.compare.report import figures, tables, wording
from tasks.compare.report.figures import Panel
from tasks.compare.report.tables import Cell, Table
from tasks.compare.upstream import Output
from tasks.contract import Metric
from tasks.drawing.points import Point, points
from tasks.evaluations.divergence.stage import KL, PER_TOKEN, STAGE


@dataclass(frozen=True)
class Stand:
    """An arm of one size, or a size of its dataset: its divergence from base, and what it gained on the primary outcome by the arm that
    it is compared with. Over several runs the mean, without an interval."""

    ladder: str
    size: str
    arm: str
    train_samples: int | None
    kl: Metric
    per_token: Metric
    gained: Mapping[str, Difference]


Column = tuple[str, Callable[[Stand], Cell], bool]  # head, how a row's cell is spelled, whether it is kept


def stands(found: Comparison, suite: str) -> list[Stand]:
    """Every arm whose answers on this suite were weighed, of tuned ones at the largest dataset size, in the order of the report."""
    suite_of, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite_of, metric, "all")]
    rows = one_run(largest(rows))
    nodes = [node for node in found.sources.of(STAGE.name) if node.axes.suite == suite]
    made = []
    for (ladder, size, arm), runs in _runs(figures.largest_tuned(nodes, lambda node: node.axes)).items():
        gained = {
            row.contrast.reference: row for row in rows if (row.ladder, row.size, row.contrast.treated) == (ladder, size, arm)
        }
        of = {row.seed for row in gained.values() if row.own_seed}  # a difference of one run goes with that run's divergence
        runs = [run for run in runs if run.axes.seed in of] or runs
        made.append(Stand(ladder, size, arm, runs[0].axes.train_samples, _level(runs, KL), _level(runs, PER_TOKEN), gained))
    return made


def _runs(nodes: Sequence[Output]) -> dict[tuple[str, str, str], list[Output]]:
    held: dict[tuple[str, str, str], list[Output]] = {}
    for node in nodes:
        held.setdefault((node.axes.ladder or "", node.axes.size or "", node.axes.arm or ""), []).append(node)
    return held


def _level(runs: Sequence[Output], metric: str) -> Metric:
    found = [level for run in runs if (level := run.level(metric)) is not None]
    return found[0] if len(found) == 1 else Metric(metric, sum(one.value for one in found) / len(found), n=found[0].n)


def panels(found: Comparison, suite: str) -> Iterator[Panel]:
    """A drawing a size and arm that others are compared with, on which that arm stands at no difference and its own distance."""
    sources, (_, metric) = found.sources, found.outcome
    held, arms = stands(found, suite), sources.arms
    for ladder, size in dict.fromkeys((one.ladder, one.size) for one in held):
        here = [one for one in held if (one.ladder, one.size) == (ladder, size)]
        for reference in (arms.reference, *arms.controls):
            if any(reference in one.gained for one in here):
                words = wording.arm_words(reference)
                caption = f"{sources.named(ladder, size)}: {sources.words(metric)} from {words}, by distance"
                drawn = [point for one in here if (point := _point(one, reference, figures.colours(sources)[one.arm]))]
                across, up = f"{sources.words(KL)}, {suite_words(suite)}", f"{_unit(held) or 'difference'} from {words}"
                svg = points(drawn, across, up, alt=caption)
                yield Panel(f"gained-{metric}-{reference}-{suite}-{ladder}-{size}", caption, svg)


def _unit(held: Sequence[Stand]) -> str:
    """Of what was gained; empty where it goes without saying."""
    return wording.unit_words(next((row.kind for one in held for row in one.gained.values()), None))


def _point(one: Stand, reference: str, colour: str) -> Point | None:
    """None for an arm that is not compared with this one."""
    row, low, high = one.gained.get(reference), one.kl.ci_low, one.kl.ci_high
    if row is None and one.arm != reference:
        return None
    scale = wording.factor(row.kind) if row else 1.0
    return Point(
        wording.arm_words(one.arm),
        one.kl.value,
        scale * row.value if row else 0.0,
        colour,
        None if low is None or high is None else (low, high),
        (scale * row.ci_low, scale * row.ci_high) if row else None,
    )


def table(found: Comparison, suite: str) -> Table:
    """An arm a row: its divergence, an answer and a token, and what it gained on every arm that something is compared with."""
    sources, arms = found.sources, found.sources.arms
    held = stands(found, suite)
    columns: list[Column] = [
        ("size", lambda one: tables.text(sources.named(one.ladder, one.size)), True),
        ("arm", lambda one: tables.arm(one.arm), True),
        ("nats an answer", lambda one: Cell(wording.plain(one.kl.value)), True),
        ("95% interval", lambda one: Cell(tables.spread(one.kl, "score")), True),
        ("nats a token", lambda one: Cell(wording.plain(one.per_token.value)), True),
    ]
    for name in (arms.reference, *arms.controls):
        there = any(name in one.gained for one in held)
        columns += [
            (f"from {wording.arm_words(name)}", partial(_gain, name), there),
            ("95% interval", partial(_limits, name), there),
        ]
    return tables.spelled(columns, held)


def _gain(reference: str, one: Stand) -> Cell:
    row = one.gained.get(reference)
    return Cell("–" if row is None else wording.difference(row.value, row.kind))


def _limits(reference: str, one: Stand) -> Cell:
    row = one.gained.get(reference)
    return Cell("–" if row is None else wording.limits(row.ci_low, row.ci_high, row.kind))


def heading(found: Comparison, suite: str) -> str:
    """Of the table: what was gained, in which unit, and whose distance."""
    unit, gained = _unit(stands(found, suite)), found.sources.words(found.outcome[1])
    gained += f", {unit}" if unit else ""
    return f"Distance from base on {suite_words(suite)}, and what was gained ({gained})"


def gist(found: Comparison, suite: str) -> str:
    """What the first treated arm that was weighed gained at the largest size on each arm that it is compared with, and at what distance."""
    treated = found.sources.arms.treated
    held = [one for one in stands(found, suite) if one.arm in treated and one.gained]
    if not held:
        return ""
    one = min(reversed(held), key=lambda one: treated.index(one.arm))
    gained = [
        f"{wording.with_unit(wording.difference(row.value, row.kind), row.kind)} from {wording.arm_words(name)}"
        for name, row in one.gained.items()
    ]
    at = f"{wording.arm_words(one.arm)} at {found.sources.named(one.ladder, one.size)}"
    return f"{at}: {wording.listed(gained)}, at {wording.plain(one.kl.value)} nats an answer"
