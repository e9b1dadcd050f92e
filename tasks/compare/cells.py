"""The report's tables: which rows and columns, with every number already spelled. Computes no statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.compare import words
from tasks.compare.answer import largest
from tasks.compare.contrasts import Contrast
from tasks.compare.trends import Trend
from tasks.compare.truth import LABELS, Truth
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes, Metric

COST = ("optimiser_steps", "final_loss")


@dataclass(frozen=True)
class Cell:
    """`arm` puts that arm's colour before the text; `heat` in [−1, 1] shades the cell; `note` is small print below."""

    text: str
    number: bool = True
    arm: str | None = None
    strong: bool = False
    heat: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    head: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    caption: str = ""


def text(value: Any) -> Cell:
    return Cell("–" if value in (None, "") else str(value), number=False)


def arm(name: str | None) -> Cell:
    return Cell(words.arm_words(name or "–"), number=False, arm=(name or "").partition("-")[0])


def differences(rows: Sequence[Contrast], sources: Sources) -> Table:
    """All that is said of each difference. A star needs the adjusted test of a family."""
    several = len({row.samples for row in rows}) > 1 or len({row.seed for row in rows}) > 1
    noted = any(row.note or row.family == "single run" for row in rows)
    adjustments = {row.adjustment for row in rows if row.adjustment}
    table = Table(["size", "contrast", *(["samples", "seed"] if several else []), "treated", "reference", "difference", "95% interval",
                   f"p, {words.listed(sorted(adjustments))}" if adjustments else "p, adjusted", "d", "95% interval", "detectable", "prompts",
                   *(["note"] if noted else [])])  # fmt: skip
    for row in rows:
        spread = "–" if row.d is None else f"[{words.effect(row.d_low)}, {words.effect(row.d_high)}]"
        table.rows.append([
            text(sources.named(row.ladder, row.size)), arm(row.contrast), *([text(row.samples), text(row.seed)] if several else []),
            Cell(words.level(row.treated, row.kind)), Cell(words.level(row.reference, row.kind)),
            Cell(words.difference(row.value, row.kind), strong=row.shown),
            Cell(f"[{words.difference(row.ci_low, row.kind)}, {words.difference(row.ci_high, row.kind)}]"),
            Cell(words.p_words(row.p_adjusted) + (" *" if row.shown else "")), Cell(words.effect(row.d)), Cell(spread),
            Cell(words.detectable(row.minimal_detectable, row.kind)), Cell(str(row.n)),
            *([text(row.note or ("single run" if row.family == "single run" else ""))] if noted else []),
        ])  # fmt: skip
    return table


def cost(sources: Sources) -> Table:
    """What each tuned arm took: parameters, steps and the loss it ended on; further numbers of the stage in their own columns."""
    nodes = sorted(sources.of("finetune"), key=lambda node: sources.order(node.axes))
    names = list(dict.fromkeys([*COST, *(row.metric for node in nodes for row in node.metrics if row.group == "all")]))
    names = [name for name in names if any(node.level(name) for node in nodes)]
    table = Table(["size", "parameters", "arm", "samples", "seed", *map(words.metric_words, names)])
    for node in nodes:
        found = [node.level(name) for name in names]
        params = sources.params(node.axes.ladder, node.axes.size)
        table.rows.append([
            text(sources.named(node.axes.ladder, node.axes.size)), Cell(words.count_words(params)), arm(node.axes.arm), Cell(str(node.axes.samples or "–")),
            text(node.axes.seed), *(Cell("–" if metric is None else words.plain(metric.value)) for metric in found),
        ])  # fmt: skip
    return table


def levels(sources: Sources, nodes: Sequence[Output], contrasts: Sequence[Contrast]) -> Table:
    """Every metric of some outputs, over all prompts and by kind of prompt, with the difference from base where one was formed."""
    table = Table(["metric", "prompts", "size", "arm", "samples", "seed", "level", "95% interval", "vs base", "95% interval", "n"])
    from_base = {(r.ladder, r.size, r.samples, r.seed, r.suite, r.metric, r.group, r.contrast): r for r in contrasts}
    lines = [(node, row) for node in nodes for row in node.metrics if row.group == "all" or row.group.startswith("kind:")]
    for node, row in sorted(lines, key=lambda pair: (pair[1].metric, pair[1].group, sources.order(pair[0].axes))):
        axes, kind = node.axes, sources.kinds.get(row.metric)
        found = from_base.get((axes.ladder, axes.size, axes.samples, axes.seed, axes.suite, row.metric, row.group, f"{axes.arm}-base"))
        table.rows.append([
            text(words.metric_words(row.metric)), text(words.group_words(row.group)), text(sources.named(axes.ladder, axes.size)), arm(axes.arm),
            text(axes.samples), text(axes.seed), Cell(words.level(row.value, kind)), Cell(_range(row, kind)),
            Cell("–" if found is None else words.difference(found.value, found.kind)),
            Cell("–" if found is None else f"[{words.difference(found.ci_low, found.kind)}, {words.difference(found.ci_high, found.kind)}]"),
            Cell(str(row.n)),
        ])  # fmt: skip
    return table


def heat(rows: Sequence[Contrast], sources: Sources) -> Table:
    """Categories × (size, contrast): the difference, shaded by its size on one common scale."""
    rows = largest([row for row in rows if row.group != "all"])
    rows = [row for row in rows if row.seed == _first_seed([r for r in rows if _column(r) == _column(row)])]
    columns = sorted({_column(row) for row in rows}, key=lambda c: (c[0], sources.sizes[c[0]].index(c[1]), c[2]))
    cells = {(row.group, _column(row)): row for row in rows}
    most = max((abs(row.value) for row in rows), default=0.0) or 1.0
    table = Table(["category", *(f"{sources.named(ladder, size)} {words.arm_words(contrast).removeprefix('values-targeted ')}" for ladder, size, contrast in columns)])  # fmt: skip
    for group in sorted({row.group for row in rows}):
        line = [text(words.group_words(group))]
        for column in columns:
            row = cells.get((group, column))
            line.append(Cell("–") if row is None else Cell(
                words.difference(row.value, row.kind) + (" *" if row.shown else ""), heat=round(row.value / most, 3),
                note=f"[{words.difference(row.ci_low, row.kind)}, {words.difference(row.ci_high, row.kind)}]"))  # fmt: skip
        table.rows.append(line)
    return table


def truth(truths: Sequence[Truth], scorer: dict[Axes, Metric], sources: Sources) -> Table:
    """One row a model and grammar label. The scorer's own share of toxic answers stands in a column of its own."""
    table = Table(["size", "suite", "arm", "samples", "seed", "grammar label", "measured", "95% interval", "exact", "covered", "planted", "exact − planted",
                   "toxic by scorer"])  # fmt: skip
    for row in truths:
        share = scorer.get(row.axes) if row.label == "toxic_label" else None
        covered = "–" if row.covered is None else "yes" if row.covered else "no"
        table.rows.append([
            text(sources.named(row.axes.ladder, row.axes.size)), text(row.axes.suite), arm(row.axes.arm), text(row.axes.samples), text(row.axes.seed),
            text(LABELS[row.label]), Cell(words.level(row.measured.value, "rate")), Cell(_range(row.measured, "rate")),
            Cell(words.level(row.exact, "rate")), Cell(covered, strong=covered == "no"), Cell(words.level(row.planted, "rate")),
            Cell(words.difference(row.fit_error, "rate")), Cell(words.level(share.value, "rate") if share else "–"),
        ])  # fmt: skip
    return table


def trend(slopes: Sequence[Trend], sources: Sources) -> Table:
    """Both slopes of each trend; the verdict comes from the second."""
    table = Table(["ladder", "outcome", "arm or difference", "samples", "seed", "sizes", "slope: these models", "slope: model sizes", "verdict"])
    for row in slopes:
        kind = sources.kinds.get(row.metric)
        spelled = [i and words.interval(i.value, i.low, i.high, kind) for i in (row.prompts, row.over_sizes)]
        table.rows.append([
            text(row.ladder), text(f"{words.metric_words(row.metric)}, {row.suite}"), arm(row.arm), text(row.samples), text(row.seed), Cell(str(row.sizes)),
            Cell(spelled[0] or "–"), Cell(spelled[1] or "–"), text(row.verdict),
        ])  # fmt: skip
    return table


def provenance(sources: Sources) -> Table:
    table = Table(["output", "key", "marks"])
    for node in sources.nodes:
        table.rows.append([text(node.label), text(node.key[:12]), text("; ".join(node.marks))])
    return table


def _range(row: Metric, kind: str | None) -> str:
    if row.ci_low is None or row.ci_high is None:
        return "–"
    return f"[{words.level(row.ci_low, kind)}, {words.level(row.ci_high, kind)}]".replace("%", "", 1)


def _column(row: Contrast) -> tuple[str, str, str]:
    return row.ladder, row.size, row.contrast


def _first_seed(rows: Sequence[Contrast]) -> int | str | None:
    seeds = [row.seed for row in rows]
    return "all" if "all" in seeds else min(seeds, key=lambda seed: -1 if seed is None else int(seed))
