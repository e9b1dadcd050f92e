"""Ways of tuning side by side: what each arm did, and what that cost on prose, against what it trained, how long it took and its memory.

Knows which numbers of an arm stand together and their drawings. Trained parameters are spread over many powers of ten: arms stand in
their order, a row each. Seconds and memory are facts of the machine, drawn as they are, on the page alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference, largest, one_run
from tasks.compare.report import figures, wording
from tasks.compare.report.figures import Panel
from tasks.compare.upstream import Output, Sources
from tasks.drawing.figures import Row, forest
from tasks.drawing.points import Point, points

FEWEST = 3  # numbers of trained parameters, and arms in a drawing, from which it says more than a table
TOOK = {"seconds": "seconds of tuning", "peak_memory_gib": "peak memory of tuning, GiB"}  # fact of an output → the axis

Tuned = tuple[str, int | None]  # arm, samples that it was tuned on
Measured = tuple[float, float | None, float | None]  # value and its interval


@dataclass(frozen=True)
class Outcome:
    """One outcome of the tuned arms of a size: what its drawings are called by, its unit, and each arm's difference from the reference."""

    name: str
    words: str
    kind: str | None
    values: Mapping[Tuned, Measured]


def panels(found: Comparison) -> Iterator[Panel]:
    """Of each size at which at least `FEWEST` numbers of parameters were trained."""
    sources, (suite, metric) = found.sources, found.outcome
    rows = one_run(largest([row for row in found.differences if (row.suite, row.metric, row.group) == (suite, metric, "all")]))
    rows = [row for row in rows if row.contrast.reference == sources.arms.reference]
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            nodes = [node for node in sources.of("finetune") if (node.axes.ladder, node.axes.size) == (ladder, size)]
            nodes = [node for node in nodes if node.level("trainable_parameters")]
            trained = {_tuned(node): level.value for node in nodes if (level := node.level("trainable_parameters"))}
            if len(set(trained.values())) < FEWEST:
                continue
            for outcome in _outcomes(found, rows, ladder, size):
                place = f"{ladder}-{size}"
                words = f"{sources.named(ladder, size)}: {outcome.words}, from {wording.arm_words(sources.arms.reference)}"
                yield from _by_trained(f"trained-{outcome.name}-{place}", words, outcome, trained, sources)
                for fact, axis in TOOK.items():
                    name = f"{fact.partition('_')[0]}-{outcome.name}-{place}"
                    yield from _by_amount(name, f"{words}, by {axis}", outcome, _mean_of(nodes, fact), axis, sources)


def _outcomes(found: Comparison, rows: Sequence[Difference], ladder: str, size: str) -> Iterator[Outcome]:
    """rows: what the primary outcome differs by from the reference arm."""
    sources, (_, metric) = found.sources, found.outcome
    here = [row for row in rows if (row.ladder, row.size) == (ladder, size)]
    moved = {(row.contrast.treated, row.train_samples): (row.value, row.ci_low, row.ci_high) for row in here}
    yield Outcome(metric, sources.words(metric), sources.kinds.get(metric), moved)
    held = [one for one in found.verdicts if (one.ladder, one.size, one.measure) == (ladder, size, "prose")]
    lost = {(one.arm, one.train_samples): (one.value, one.low, one.high) for one in held if one.value is not None}
    yield Outcome("prose", "nats a token on prose", "score", lost)


def _by_trained(name: str, words: str, outcome: Outcome, trained: Mapping[Tuned, float], sources: Sources) -> Iterator[Panel]:
    """A row an arm, so that arms which train about as many stand apart."""
    there = sorted((arm for arm in outcome.values if arm in trained), key=lambda arm: trained[arm])
    rows = []
    for arm in there:
        value, low, high = outcome.values[arm]
        label = f"{wording.arm_words(arm[0])}, {wording.count_words(round(trained[arm]))}"
        text = wording.difference(value, outcome.kind)
        rows.append(Row(label, value, low, high, figures.colours(sources)[arm[0]], text=text))
    if len(rows) >= FEWEST:
        percent = outcome.kind == "rate"
        yield Panel(name, words, forest(rows, _unit(outcome), zero=True, percent=percent, alt=words))


def _by_amount(
    name: str, words: str, outcome: Outcome, took: Mapping[Tuned, float], axis: str, sources: Sources
) -> Iterator[Panel]:
    """A point an arm, by what its tuning took."""
    scale, drawn = wording.factor(outcome.kind), []
    for arm, (value, low, high) in outcome.values.items():
        if arm in took:
            limits = None if low is None or high is None else (scale * low, scale * high)
            named, colour = wording.arm_words(arm[0]), figures.colours(sources)[arm[0]]
            drawn.append(Point(named, took[arm], scale * value, colour, y_range=limits))
    if len(drawn) >= FEWEST:
        yield Panel(name, words, points(drawn, axis, _unit(outcome), alt=words), timed=True)


def _mean_of(nodes: list[Output], fact: str) -> dict[Tuned, float]:
    """Over the seeds of an arm; of those that say it."""
    held: dict[Tuned, list[float]] = {}
    for node in nodes:
        if node.made.get(fact) is not None:
            held.setdefault(_tuned(node), []).append(float(node.made[fact]))
    return {arm: fmean(values) for arm, values in held.items()}


def _tuned(node: Output) -> Tuned:
    return node.axes.arm or "", node.axes.train_samples


def _unit(outcome: Outcome) -> str:
    return wording.unit_words(outcome.kind) or "difference"
