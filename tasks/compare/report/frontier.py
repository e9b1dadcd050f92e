"""What a fairness term buys and costs: levels over its weight λ, for each way of regularising that stands in the sweep with several weights.

Arms are of one way where they differ in the weight alone; an arm without a regulariser that is otherwise the same stands at λ = 0. Reads
levels; compares nothing: differences between arms stand with the evaluation that measured them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.called import suite_words
from tasks.compare.comparison import Comparison
from tasks.compare.report import wording
from tasks.compare.report.figures import Panel, colours, largest_tuned
from tasks.compare.report.tables import Cell, Table, arm, text
from tasks.compare.upstream import Output, Sources
from tasks.contract import digest_of
from tasks.drawing.figures import Line, curves, path
from tasks.drawing.palette import FURTHER, TREATED
from tasks.drawing.panel import NARROW

STAGE, FAIRNESS = "counterfactual", "individual_fairness"
DRAWN = {  # metric → what it is called, and whether it has a null under permuted words
    FAIRNESS: ("individual fairness", True),
    "group_fairness": ("group fairness", True),
    "relevance": ("relevance, nats a token", False),
    "perplexity": ("perplexity under base", False),
}


@dataclass(frozen=True)
class Way:
    """Arms that differ in the weight of their regulariser alone: (λ, arm), from the smallest λ on."""

    name: str
    arms: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Level:
    value: float
    low: float | None = None
    high: float | None = None


def ways(arms: Mapping[str, Mapping[str, Any]]) -> list[Way]:
    """The ways of an experiment's arms, of those with two weights or more."""
    found: dict[str, dict[float, str]] = {}
    named: dict[str, str] = {}
    plain = {digest_of(dict(section)): name for name, section in arms.items()}
    for name, section in arms.items():
        if fairness := section.get("fairness"):
            rest = {key: value for key, value in section.items() if key != "fairness"}
            way = digest_of([rest, {key: value for key, value in fairness.items() if key != "weight"}])
            found.setdefault(way, {}).setdefault(float(fairness["weight"]), name)
            named[way] = fairness["regulariser"]
            if without := plain.get(digest_of(rest)):
                found[way].setdefault(0.0, without)
    found = {way: held for way, held in found.items() if len(held) > 1}
    alike = [named[way] for way in found]
    return [
        Way(
            named[way] if alike.count(named[way]) == 1 else f"{named[way]} ({wording.arm_words(held[max(held)])})",
            tuple(sorted(held.items())),
        )
        for way, held in found.items()
    ]


def panels(found: Comparison) -> Iterator[Panel]:
    """Fairness against perplexity, a point a weight, and each measure over the weights; the reference arm and the control beside."""
    sources, held = found.sources, ways(found.settings.experiment.get("arms", {}))
    beside = [sources.arms.reference, *sources.arms.controls]
    for (ladder, size, suite), levels in _levels(sources).items():
        drawn = [Way(way.name, there) for way in held if len(there := tuple(one for one in way.arms if one[1] in levels)) > 1]
        if not drawn:
            continue
        place = f"{ladder}-{size}-{suite}"
        said = f"{sources.named(ladder, size)}: {{}}, {suite_words(suite)}"
        lines = [_traded(way, levels, colour) for way, colour in zip(drawn, _painted(drawn), strict=True)]
        lines += [_point(name, levels, colours(sources)[name]) for name in beside if name in levels]
        x, y = (DRAWN[metric][0] for metric in ("perplexity", FAIRNESS))
        caption = said.format("fairness against perplexity, a point a λ")
        yield Panel(
            f"frontier-{place}",
            caption,
            path(lines, x, y, alt=caption),
            note="Left and low is fair and fluent; a λ of 0 is no term.",
        )
        for metric, (called, null) in DRAWN.items():
            lines = [
                line
                for way, colour in zip(drawn, _painted(drawn), strict=True)
                for line in _over_weights(way, levels, metric, null, drawn, colour)
            ]
            lines += [
                _across(name, levels[name][metric].value, drawn, colours(sources)[name])
                for name in beside
                if metric in levels.get(name, {})
            ]
            caption = said.format(f"{called.partition(',')[0]} over λ")
            yield Panel(
                f"lambda-{metric}-{place}",
                caption,
                curves(lines, "λ, weight of the fairness term", called, alt=caption, log=_ticks(drawn), width=NARROW, left=0.75),
                narrow=True,
                note="Pale: the mean under permuted words, which is what chance gives." if null else "",
            )


def table(found: Comparison) -> Table:
    """A row an arm that is of some way, the reference arm and the control: what is drawn, in numbers."""
    sources, held = found.sources, ways(found.settings.experiment.get("arms", {}))
    weights = {name: (way.name, weight) for way in held for weight, name in way.arms}
    beside = dict.fromkeys([sources.arms.reference, *sources.arms.controls])
    made = Table(["size", "arm", "regulariser", "λ", *(f"{called.partition(',')[0]}" for called, _ in DRAWN.values())])
    if not held:
        return made
    for (ladder, size, _), levels in _levels(sources).items():
        for name in [*beside, *(name for name in weights if name not in beside)]:
            if name in levels:
                way, weight = weights.get(name, ("", None))
                cells = []
                for metric, (_, null) in DRAWN.items():
                    level, chance = levels[name].get(metric), levels[name].get(f"{metric}_null")
                    cells.append(
                        Cell(
                            "–" if level is None else wording.plain(level.value),
                            note=f"{wording.plain(chance.value)} under permuted words" if null and chance else "",
                        )
                    )
                made.rows.append(
                    [
                        text(sources.named(ladder, size)),
                        arm(name),
                        text(way if weight else ""),
                        Cell("–" if weight is None else wording.plain(weight)),
                        *cells,
                    ]
                )
    return made


# ---- levels and lines -----------------------------------------------------------------------------------------------


def _levels(sources: Sources) -> dict[tuple[str, str, str], dict[str, dict[str, Level]]]:
    """(ladder, size, suite) → arm → metric → its level: of a distance the mean over axes, of several seeds their mean, without an interval."""
    found: dict[tuple[str, str, str], dict[str, list[Output]]] = {}
    for node in largest_tuned(sources.of(STAGE), lambda node: node.axes):
        place = (node.axes.ladder or "", node.axes.size or "", node.axes.suite or "")
        found.setdefault(place, {}).setdefault(node.axes.arm or "", []).append(node)
    return {place: {name: _of(nodes) for name, nodes in arms.items()} for place, arms in found.items()}


def _of(nodes: Sequence[Output]) -> dict[str, Level]:
    levels = {}
    for metric in dict.fromkeys(row.metric for node in nodes for row in node.metrics):
        rows = [row for node in nodes for row in node.metrics if row.metric == metric and row.group == "all"]
        rows = rows or [row for node in nodes for row in node.metrics if row.metric == metric and row.group.startswith("axis:")]
        if rows:
            alone = rows[0] if len(rows) == 1 else None
            mean = sum(row.value for row in rows) / len(rows)
            levels[metric] = Level(mean, alone.ci_low if alone else None, alone.ci_high if alone else None)
    return levels


def _painted(drawn: Sequence[Way]) -> list[str]:
    return [(TREATED, *FURTHER)[i % (1 + len(FURTHER))] for i in range(len(drawn))]


def _ticks(drawn: Sequence[Way]) -> dict[float, str]:
    """Where each weight stands on a logarithmic axis: 0 a step before the smallest."""
    weights = sorted({weight for way in drawn for weight, _ in way.arms})
    return {_at(weight, drawn): wording.plain(weight) for weight in weights}


def _at(weight: float, drawn: Sequence[Way]) -> float:
    positive = [one for way in drawn for one, _ in way.arms if one > 0]
    return weight or min(positive) / 10


def _over_weights(
    way: Way, levels: Mapping[str, Mapping[str, Level]], metric: str, null: bool, drawn: Sequence[Way], colour: str
) -> Iterator[Line]:
    held = [(_at(weight, drawn), levels[name]) for weight, name in way.arms if metric in levels[name]]
    if not held:
        return
    x = tuple(at for at, _ in held)
    of = [level[metric] for _, level in held]
    bounds = [[bound for level in of if (bound := getattr(level, side)) is not None] for side in ("low", "high")]
    low, high = (tuple(side) if len(side) == len(of) else () for side in bounds)
    yield Line(way.name, x, tuple(level.value for level in of), colour, low, high, dashed=False)
    if null:
        yield Line("", x, tuple(level[f"{metric}_null"].value for _, level in held), colour, markers=False, alpha=0.4)


def _across(name: str, value: float, drawn: Sequence[Way], colour: str) -> Line:
    """An arm without a weight: a level line."""
    ends = list(_ticks(drawn))
    return Line(wording.arm_words(name), (ends[0], ends[-1]), (value, value), colour, markers=False)


def _traded(way: Way, levels: Mapping[str, Mapping[str, Level]], colour: str) -> Line:
    held = [(weight, levels[name]) for weight, name in way.arms if {"perplexity", FAIRNESS} <= levels[name].keys()]
    x, y = (tuple(level[metric].value for _, level in held) for metric in ("perplexity", FAIRNESS))
    return Line(way.name, x, y, colour, dashed=False, told=tuple(wording.plain(weight) for weight, _ in held))


def _point(name: str, levels: Mapping[str, Mapping[str, Level]], colour: str) -> Line:
    x, y = (levels[name][metric].value for metric in ("perplexity", FAIRNESS))
    return Line(wording.arm_words(name), (x,), (y,), colour)
