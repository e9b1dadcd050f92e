"""The report's tables: which rows and columns, with every number already spelled. Computes no statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from configs.called import suite_words
from configs.contrasts import Contrast
from tasks.compare.contrasts import SINGLE_RUN, Difference, largest, one_run
from tasks.compare.report import wording
from tasks.compare.train_samples import Needs
from tasks.compare.trends import Trend
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes, Metric
from tasks.statistics import Interval
from tasks.statistics.nothing import no_success

Row = TypeVar("Row")

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


def text(value: Any) -> Cell:
    return Cell("–" if value in (None, "") else str(value), number=False)


def arm(name: str | Contrast | None) -> Cell:
    """An arm, or a contrast under the colour of its treated arm."""
    return Cell(wording.arm_words(name or "–"), number=False, arm=name.treated if isinstance(name, Contrast) else name or "")


PLACE = ("arm", "train samples", "seed")


def place(axes: Axes) -> list[Cell]:
    """The cells under PLACE."""
    return [arm(axes.arm), text(axes.train_samples), text(axes.seed)]


def differences(rows: Sequence[Difference], sources: Sources, draws: int) -> Table:
    """All that is said of each difference. A star needs the adjusted test of a family; columns without any entry are left out.
    `draws`: sign-flips behind a p value."""
    several = len({row.train_samples for row in rows}) > 1 or len({row.seed for row in rows}) > 1
    adjustments = sorted({row.adjustment for row in rows if row.adjustment})
    columns: list[tuple[str, Callable[[Difference], Cell], bool]] = [
        ("size", lambda row: text(sources.named(row.ladder, row.size)), True),
        ("contrast", lambda row: arm(row.contrast), True),
        ("train samples", lambda row: text(row.train_samples), several),
        ("seed", lambda row: text(row.seed), several),
        ("treated", lambda row: Cell(wording.level(row.treated, row.kind)), True),
        ("reference", lambda row: Cell(wording.level(row.reference, row.kind)), True),
        ("difference", lambda row: Cell(wording.difference(row.value, row.kind), strong=row.shown), True),
        ("95% interval", lambda row: Cell(wording.limits(row.ci_low, row.ci_high, row.kind)), True),
        (
            f"p, {wording.listed(adjustments or ['adjusted'])}",
            lambda row: Cell(wording.floor_words(row.p_adjusted, _least(row, draws)) + (" *" if row.shown else "")),
            True,
        ),
        ("d", lambda row: Cell(wording.effect(row.d)), any(row.d is not None for row in rows)),
        ("95% interval", lambda row: Cell(wording.effect_limits(row.d_low, row.d_high)), any(row.d is not None for row in rows)),
        (
            "detectable",
            lambda row: Cell(wording.detectable(row.minimal_detectable, row.kind)),
            any(row.minimal_detectable for row in rows),
        ),
        ("prompts", lambda row: Cell(str(row.n)), True),
        ("note", lambda row: text(_note(row)), any(_note(row) for row in rows)),
    ]
    return spelled(columns, rows)


def spelled(columns: Sequence[tuple[str, Callable[[Row], Cell], bool]], rows: Sequence[Row]) -> Table:
    """A table from (head, how a row's cell is spelled, whether the column is kept)."""
    kept = [(name, spell) for name, spell, keep in columns if keep]
    return Table([name for name, _ in kept], [[spell(row) for _, spell in kept] for row in rows])


def _least(row: Difference, draws: int) -> bool:
    return row.p is not None and row.p_adjusted is not None and row.own_seed and row.p * (draws + 1) < 1.5


def _note(row: Difference) -> str:
    return row.note or (SINGLE_RUN if row.family == SINGLE_RUN else "")


def needs(found: Sequence[Needs], sources: Sources) -> Table:
    """How many samples each size needs for the same effect, and what that says of larger models."""
    sizes = list(dict.fromkeys(need.size for row in found for need in row.sizes))
    table = Table(["ladder", "difference", "of", *sizes, "verdict"])
    for row in found:
        held = {need.size: f"{need.bound} {wording.plain(round(need.train_samples))}".strip() for need in row.sizes}
        amount = wording.with_unit(wording.difference(row.effect, row.kind), row.kind)
        cells = [Cell(held.get(size, "–")) for size in sizes]
        table.rows.append([text(row.ladder), arm(row.contrast), Cell(amount), *cells, text(row.verdict)])
    return table


def cost(sources: Sources) -> Table:
    """What each tuned arm took: parameters, steps, the loss it ended on, seconds and memory; further numbers of the stage in their own
    columns."""
    nodes = sources.of("finetune")
    names = list(dict.fromkeys([*COST, *(row.metric for node in nodes for row in node.metrics if row.group == "all")]))
    names = [name for name in names if any(node.level(name) for node in nodes)]
    table = Table(
        ["size", "parameters", "arm", "train samples", "seed", *map(sources.words, names), "seconds", "peak memory, GiB"]
    )
    for node in nodes:
        found = [node.level(name) for name in names]
        params = sources.params(node.axes.ladder, node.axes.size)
        table.rows.append(
            [
                text(sources.named(node.axes.ladder, node.axes.size)),
                Cell(wording.count_words(params)),
                arm(node.axes.arm),
                Cell(str(node.axes.train_samples or "–")),
                text(node.axes.seed),
                *(Cell("–" if metric is None else wording.plain(metric.value)) for metric in found),
                Cell(wording.plain(node.made.get("seconds"))),
                Cell(wording.plain(node.made.get("peak_memory_gib"))),
            ]
        )
    return table


def levels(sources: Sources, nodes: Sequence[Output], contrasts: Sequence[Difference]) -> Table:
    """Every metric of some outputs, over all prompts and by kind of prompt, with the difference from the reference arm where one was
    formed."""
    reference = sources.arms.reference
    table = Table(
        ["metric", "prompts", "size", *PLACE, "level", "95% interval", f"vs {wording.arm_words(reference)}", "95% interval", "n"]
    )
    formed: dict[tuple[Any, ...], Difference] = {
        (r.ladder, r.size, r.train_samples, r.seed, r.suite, r.metric, r.group, r.contrast): r for r in contrasts
    }
    lines = [(node, row) for node in nodes for row in node.metrics if row.group == "all" or ":" in row.group]
    for node, row in sorted(lines, key=lambda pair: (pair[1].metric, pair[1].group, sources.order(pair[0].axes))):
        axes, kind = node.axes, sources.kinds.get(row.metric)
        contrast = Contrast(axes.arm or "", reference)
        found = formed.get((axes.ladder, axes.size, axes.train_samples, axes.seed, axes.suite, row.metric, row.group, contrast))
        table.rows.append(
            [
                text(sources.words(row.metric)),
                text(wording.group_words(row.group)),
                text(sources.named(axes.ladder, axes.size)),
                *place(axes),
                Cell(wording.level(row.value, kind)),
                Cell(spread(row, kind), note=_unseen(node, row, kind)),
                Cell("–" if found is None else wording.difference(found.value, found.kind)),
                Cell("–" if found is None else wording.limits(found.ci_low, found.ci_high, found.kind)),
                Cell(str(row.n)),
            ]
        )
    return table


def _unseen(node: Output, row: Metric, kind: str | None) -> str:
    """Of a rate of none or of all: what that bounds depends on how the answers to a prompt hang together, which it cannot tell."""
    held = node.prompts.get(row.metric, {})
    if kind != "rate" or row.group != "all" or row.value not in (0.0, 1.0) or not held:
        return ""
    answers = sum(prompt.n for prompt in held.values())
    independent, together = (wording.level(one if row.value == 0 else 1 - one, "rate") for one in no_success(len(held), answers))
    which, side = ("none", "at most") if row.value == 0 else ("all", "at least")
    return (
        f"{which} of {answers}: {side} {independent} if answers are independent, {together} if a prompt's stand or fall together"
    )


def distances(nodes: Sequence[Output], sources: Sources) -> Table:
    """Every distance that has a permutation null: with the null's mean, its p and how many observations it is formed from."""
    table = Table(["measure", "axis", "size", *PLACE, "distance", "mean under permutation", "p", "n"])
    for node in nodes:
        for row in node.metrics:
            null, p = node.level(f"{row.metric}_null", row.group), node.level(f"{row.metric}_p", row.group)
            if null is None or p is None:
                continue
            table.rows.append(
                [
                    text(sources.words(row.metric)),
                    text(wording.group_words(row.group)),
                    text(sources.named(node.axes.ladder, node.axes.size)),
                    *place(node.axes),
                    Cell(wording.plain(row.value)),
                    Cell(wording.plain(null.value)),
                    Cell(wording.p_words(p.value)),
                    Cell(wording.plain(row.n)),
                ]
            )
    return table


def heat(rows: Sequence[Difference], sources: Sources) -> Table:
    """Categories × (size, contrast): the difference, shaded by its size on one common scale."""
    rows = one_run(largest([row for row in rows if row.of_category]))
    order = sources.arms.contrasts
    columns = sorted({_column(row) for row in rows}, key=lambda c: (c[0], sources.sizes[c[0]].index(c[1]), order.index(c[2])))
    cells = {(row.group, _column(row)): row for row in rows}
    most = max((abs(row.value) for row in rows), default=0.0) or 1.0
    table = Table(
        [
            "category",
            *(
                f"{sources.named(ladder, size)} {wording.contrast_words(contrast, sources.arms)}"
                for ladder, size, contrast in columns
            ),
        ]
    )
    for group in sorted({row.group for row in rows}):
        line = [text(wording.group_words(group))]
        for column in columns:
            row = cells.get((group, column))
            line.append(
                Cell("–")
                if row is None
                else Cell(
                    wording.difference(row.value, row.kind) + (" *" if row.shown else ""),
                    heat=round(row.value / most, 3),
                    note=wording.limits(row.ci_low, row.ci_high, row.kind),
                )
            )
        table.rows.append(line)
    return table


def trend(slopes: Sequence[Trend], sources: Sources) -> Table:
    """Both slopes of each trend; the verdict comes from the second."""
    columns: list[tuple[str, Callable[[Trend], Cell], bool]] = [
        ("ladder", lambda row: text(row.ladder), len(sources.sizes) > 1),
        ("outcome", lambda row: text(f"{sources.words(row.metric)}, {suite_words(row.suite)}"), True),
        ("arm or difference", lambda row: arm(row.arm), True),
        (
            "train samples",
            lambda row: text(row.train_samples),
            len({row.train_samples for row in slopes if row.train_samples}) > 1,
        ),
        ("seed", lambda row: text(row.seed), len({row.seed for row in slopes if row.seed is not None}) > 1),
        ("sizes", lambda row: Cell(str(row.sizes)), True),
        ("slope: these models", lambda row: Cell(_slope(row.prompts, sources.kinds.get(row.metric))), True),
        ("slope: model sizes", lambda row: Cell(_slope(row.over_sizes, sources.kinds.get(row.metric))), True),
        ("verdict", lambda row: text(row.verdict), True),
    ]
    return spelled(columns, slopes)


def _slope(found: Interval | None, kind: str | None) -> str:
    return "–" if found is None else wording.interval(found.value, found.low, found.high, kind)


def provenance(sources: Sources) -> Table:
    table = Table(["output", "key"])
    for node in sources.nodes:
        table.rows.append([text(node.label), text(node.key[:12])])
    return table


def spread(row: Metric, kind: str | None) -> str:
    if row.ci_low is None or row.ci_high is None:
        return "–"
    return f"[{wording.level(row.ci_low, kind)}, {wording.level(row.ci_high, kind)}]".replace("%", "", 1)


def _column(row: Difference) -> tuple[str, str, Contrast]:
    return row.ladder, row.size, row.contrast
