"""The first screen: two drawings of levels against model size, and the matrix of what was shown against which arm at which size.

A cell of the matrix is shaded only where the family's adjusted test holds; where it does not, it says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.called import suite_words
from configs.contrasts import Contrast
from tasks.compare.capability import MEASURES, PLAIN, PROSE, TASKS, Verdict
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference, largest, one_run, speaking
from tasks.compare.report import figures, wording
from tasks.compare.report.figures import Panel, level_rows
from tasks.compare.report.headline import outcomes, title
from tasks.compare.report.standing import compared_with
from tasks.compare.upstream import Output
from tasks.drawing.bands import Band, bands
from tasks.drawing.figures import forest

UNTOUCHED = "untouched"
STACKED = 4  # arms that may stand above one another at a single size; more stand in rows
ROWS = {PROSE: "Neutral prose", PLAIN: "Plain prose", TASKS: "Tasks"}


@dataclass(frozen=True)
class Mark:
    """A cell: a number, its interval, what the test says of it (`said`; "shown" shades it)."""

    text: str
    interval: str = ""
    said: str = ""
    up: bool | None = None

    @property
    def shown(self) -> bool:
        return self.said == "shown"


@dataclass(frozen=True)
class Matrix:
    """`groups`: contrasts in words; each stands over all `sizes`, and so do the marks of a row."""

    caption: str
    sizes: list[str]
    groups: list[str]
    rows: list[tuple[str, str, list[Mark]]]  # an outcome, where and in which unit it was measured, its marks


def charts(found: Comparison) -> Iterator[Panel]:
    """The primary outcome, and the second family on one suite: the primary one where it is measured there."""
    secondary = [
        (suite, metric)
        for metric in found.settings.secondary
        for suite in _suites(found, metric)
        if (suite, metric) != found.outcome
    ]
    beside = sorted(secondary, key=lambda place: place[0] != found.outcome[0])[:1]
    for ladder in found.sources.sizes:
        for suite, metric in [found.outcome, *beside]:
            if panel := _chart(found, ladder, suite, metric):
                yield panel


def _suites(found: Comparison, metric: str) -> list[str]:
    return list(dict.fromkeys(node.axes.suite or "" for node in found.sources.nodes if metric in node.prompts))


def _chart(found: Comparison, ladder: str, suite: str, metric: str) -> Panel | None:
    sources = found.sources
    nodes = [n for n in sources.nodes if (n.axes.ladder, n.axes.suite) == (ladder, suite) and n.level(metric)]
    nodes = figures.largest_tuned(sorted(nodes, key=lambda node: sources.order(node.axes)), lambda node: node.axes)
    if not nodes:
        return None
    kind = sources.kinds.get(metric)
    sizes = [size for size in sources.sizes[ladder] if any(node.axes.size == size for node in nodes)]
    arms = [name for name in figures.colours(sources) if any(node.axes.arm == name for node in nodes)]
    name, of = sources.words(metric), suite_words(suite)
    heading, percent = title(found, suite, metric), kind == "rate"
    if len(sizes) == 1 and len(arms) > STACKED:
        drawn = forest(
            level_rows(sources, ladder, suite, metric),
            f"{name}, %" if percent else name,
            zero=False,
            percent=percent,
            alt=heading,
        )
    else:
        known = all(sources.params(ladder, size) for size in sizes)
        at = {size: float(sources.params(ladder, size) or 0) if known else float(i) for i, size in enumerate(sizes)}
        lines = [_line([node for node in nodes if node.axes.arm == name], name, metric, at, found) for name in arms]
        says = "; ".join(
            f"{wording.arm_words(arm)} {', '.join(f'{y:.3g} at {size}' for y, size in zip(line.y, _sizes(line, at), strict=True))}"
            for arm, line in zip(arms, lines, strict=True)
        )
        drawn = bands(
            lines,
            [(place, size) for size, place in at.items()],
            "parameters (log scale)" if known else "model size",
            percent=percent,
            log=known and len(sizes) > 1,
            alt=f"{heading}. {name} on {of}{', in percent' if percent else ''}: {says}.",
        )
    several = f"{ladder}: " if len(sources.sizes) > 1 else ""
    return Panel(f"first-{metric}-{suite}-{ladder}", f"{several}{heading}", drawn, note=f"{name} on {of}, with 95% intervals")


def _sizes(line: Band, at: dict[str, float]) -> list[str]:
    return [next(size for size, place in at.items() if place == x) for x in line.x]


def _line(nodes: Sequence[Output], arm: str, metric: str, at: dict[str, float], found: Comparison) -> Band:
    """An arm's level at each size with its interval; of several seeds the mean, with each run."""
    kind = found.sources.kinds.get(metric)
    scale = wording.factor(kind)
    held = {size: [level for n in nodes if n.axes.size == size and (level := n.level(metric))] for size in at}
    held = {size: runs for size, runs in held.items() if runs}
    means = [sum(run.value for run in runs) / len(runs) for runs in held.values()]
    samples = {node.axes.train_samples for node in nodes if node.axes.train_samples}
    label = f"{wording.arm_words(arm)} {wording.level(means[-1], kind) if kind != 'rate' else f'{100 * means[-1]:.0f}%'}"
    limits = [(runs[0].ci_low, runs[0].ci_high) for runs in held.values() if len(runs) == 1]
    whole = len(limits) == len(held) and all(low is not None and high is not None for low, high in limits)
    return Band(
        label,
        f"{max(samples)} samples" if samples else UNTOUCHED,
        tuple(at[size] for size in held),
        tuple(scale * mean for mean in means),
        figures.colours(found.sources)[arm],
        low=tuple(scale * (low or 0.0) for low, _ in limits) if whole else (),
        high=tuple(scale * (high or 0.0) for _, high in limits) if whole else (),
        runs=() if whole else tuple(tuple(scale * run.value for run in runs) for runs in held.values()),
    )


def matrices(found: Comparison) -> list[Matrix]:
    """One a ladder and treated arm: its contrasts, and beside them what each control does by itself."""
    arms, made = found.sources.arms, []
    rows = one_run(largest(speaking(found.differences)))
    for ladder, sizes in found.sources.sizes.items():
        for treated in arms.treated:
            against = compared_with(treated, arms)
            contrasts = [Contrast(treated, name) for name in against]
            contrasts += [
                one for name in against if (one := Contrast(name, arms.reference)) in arms.exploratory and name != arms.reference
            ]
            held = {(row.suite, row.metric, row.contrast, row.size): row for row in rows if row.ladder == ladder}
            lines = [
                (
                    *_row_name(found, suite, metric),
                    [_mark(held.get((suite, metric, one, size))) for one in contrasts for size in sizes],
                )
                for suite, metric in outcomes(found)
                if any((suite, metric, one, size) in held for one in contrasts for size in sizes)
            ]
            if lines:
                lines += _kept(found, ladder, sizes, contrasts)
                several = f"{ladder}, " if len(found.sources.sizes) > 1 else ""
                caption = f"{several}{wording.arm_words(treated)}: differences at each size, shaded where the adjusted test holds"
                made.append(Matrix(caption, sizes, [_group(one, found) for one in contrasts], lines))
    return made


def _group(contrast: Contrast, found: Comparison) -> str:
    words = f" {wording.MINUS} ".join(wording.arm_words(name) for name in contrast.arms)
    return words if contrast in found.settings.tested else f"{words} (described)"


def _row_name(found: Comparison, suite: str, metric: str) -> tuple[str, str]:
    name, unit = found.sources.words(metric), wording.unit_words(found.sources.kinds.get(metric))
    return f"{name[0].upper()}{name[1:]}", f"{suite_words(suite)}, {unit}" if unit else suite_words(suite)


def _mark(row: Difference | None) -> Mark:
    if row is None:
        return Mark("–")
    said = "" if row.p_adjusted is None else "shown" if row.shown else "not shown"
    limits = wording.limits(row.ci_low, row.ci_high, row.kind)
    return Mark(wording.difference(row.value, row.kind), limits, said, row.value > 0 if row.value else None)


def _kept(
    found: Comparison, ladder: str, sizes: Sequence[str], contrasts: Sequence[Contrast]
) -> Iterator[tuple[str, str, list[Mark]]]:
    """What tuning cost, under the contrasts with the reference arm; it is judged against no other."""
    held: dict[tuple[str, Contrast, str], Verdict] = {}
    for row in largest(found.verdicts):
        if row.ladder == ladder:
            held.setdefault((row.measure, Contrast(row.arm, found.sources.arms.reference), row.size), row)
    for measure, name in ROWS.items():
        if any(key[0] == measure for key in held):
            marks = [_verdict(held.get((measure, one, size))) for one in contrasts for size in sizes]
            yield name, f"{MEASURES[measure][1]}, 90% intervals", marks


def _verdict(row: Verdict | None) -> Mark:
    if row is None:
        return Mark("–")
    kind = MEASURES[row.measure][2]
    return Mark(wording.difference(row.value, kind), wording.limits(row.low, row.high, kind), row.verdict)
