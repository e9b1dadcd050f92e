"""Which panels a comparison is told with: picks the rows of each drawing, and names it.

A forest shows the largest dataset size (smaller ones have a panel of their own) and, where seeds were crossed with prompts, the
crossed estimate with its runs as ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tasks.compare import words
from tasks.compare.answer import largest, speaking
from tasks.compare.contrasts import Contrast
from tasks.compare.figures import NARROW, Line, Row, curves, forest
from tasks.compare.palette import INK, arm_colours
from tasks.compare.trends import Trend
from tasks.compare.truth import LABELS, Truth
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """A drawing, the file name it is kept under, and its caption."""

    name: str
    caption: str
    svg: str
    narrow: bool = False


def colours(sources: Sources) -> dict[str, str]:
    return arm_colours(sorted({node.axes.arm for node in sources.nodes if node.axes.arm}))


def outcome(sources: Sources, differences: Sequence[Contrast], suite: str, metric: str) -> list[Panel]:
    """Levels of all arms beside the differences between them, one pair of panels a ladder."""
    kind, painted, found = sources.kinds.get(metric), colours(sources), []
    percent = kind == "rate"
    name = words.metric_words(metric)
    for ladder in sources.sizes:
        levels = _level_rows(sources, ladder, suite, metric, painted)
        rows = _difference_rows(sources, largest([r for r in speaking(differences) if (r.ladder, r.suite, r.metric) == (ladder, suite, metric)]),
                                differences, painted)  # fmt: skip
        stem = f"{metric}-{suite}-{ladder}"
        if levels:
            unit = ", %" if percent else ""
            found.append(Panel(f"levels-{stem}", _caption(sources, ladder, "where each arm stands"), forest(
                levels, name + unit, zero=False, percent=percent, alt=f"{name} of each arm by size, {ladder} ladder")))  # fmt: skip
        if rows:
            found.append(Panel(f"differences-{stem}", _caption(sources, ladder, "how far apart, paired by prompt"), forest(
                rows, f"difference in {name}, {words.unit_words(kind)}", zero=True, percent=percent,
                alt=f"Differences between arms in {name} by size, {ladder} ladder")))  # fmt: skip
    return found


def categories(sources: Sources, differences: Sequence[Contrast], suite: str, metric: str) -> list[Panel]:
    """The difference by category, one panel a size, all on one scale."""
    kind, painted = sources.kinds.get(metric), colours(sources)
    held = [row for row in differences if (row.suite, row.metric) == (suite, metric) and row.group != "all"]
    held = [row for row in largest(held) if row.seed == _seed_shown([r for r in held if r.size == row.size])]
    scale = 100.0 if kind == "rate" else 1.0
    bounds = [v * scale for row in held for v in (row.ci_low, row.ci_high)]
    found = []
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            rows: list[Row] = []
            for group in dict.fromkeys(row.group for row in held):
                here = [row for row in held if (row.ladder, row.size, row.group) == (ladder, size, group)]
                lines = [_difference_row(row, painted, ()) for row in here]
                rows += [replace(line, label="" if i else words.group_words(group), text="", ink=INK, apart=not i) for i, line in enumerate(lines)]
            if rows:
                found.append(Panel(f"categories-{metric}-{suite}-{ladder}-{size}", sources.named(ladder, size), forest(
                    rows, f"difference in {words.metric_words(metric)}, {words.unit_words(kind)}", zero=True, percent=kind == "rate",
                    width=NARROW, limits=(min(*bounds, 0.0), max(*bounds, 0.0)), alt=f"Differences by category at {ladder} {size}"), narrow=True))  # fmt: skip
    return found


def losses(sources: Sources) -> list[Panel]:
    """Training loss, one panel a size, a curve an arm; smaller datasets dashed."""
    painted, found = colours(sources), []
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            tuned = [n for n in sources.of("finetune") if (n.axes.ladder, n.axes.size) == (ladder, size) and n.series.get("loss")]
            if tuned:
                most = max(node.axes.samples or 0 for node in tuned)
                lines = [_loss_line(node, painted) for node in tuned if (node.axes.samples or 0) == most]
                found.append(Panel(f"loss-{ladder}-{size}", "", curves(lines, "optimiser step", "loss", title=sources.named(ladder, size), width=NARROW, height=2.2,
                                                                         alt=f"Training loss at {ladder} {size}"), narrow=True))  # fmt: skip
    return found


def dataset_sizes(sources: Sources, differences: Sequence[Contrast], settings: Any) -> list[Panel]:
    """The primary difference from base against the number of samples, where more than one dataset size was tuned on."""
    rows = [row for row in speaking(differences) if (row.suite, row.metric) == (settings.primary_suite, settings.primary_metric)]
    found = []
    for ladder, sizes in sources.sizes.items():
        held = [row for row in rows if row.ladder == ladder and row.contrast.endswith("-base") and row.samples]
        counts = sorted({row.samples or 0 for row in held})
        if len(counts) < 2:
            continue
        kind = held[0].kind
        scale = 100 if kind == "rate" else 1
        for contrast in dict.fromkeys(row.contrast for row in held):
            lines = []
            for size in sizes:
                points = sorted((r for r in held if (r.contrast, r.size) == (contrast, size) and r.seed == _seed_shown(held)), key=lambda r: r.samples or 0)
                if points:
                    lines.append(Line(size, tuple(float(r.samples or 0) for r in points), tuple(r.value * scale for r in points),
                                      arm_colours(sizes)[size], tuple(r.ci_low * scale for r in points), tuple(r.ci_high * scale for r in points)))  # fmt: skip
            found.append(Panel(f"dataset-size-{contrast}-{ladder}", "", curves(
                lines, "samples tuned on", words.unit_words(kind), title=_caption(sources, ladder, words.arm_words(contrast)), zero=True,
                log={float(n): str(n) for n in counts}, alt=f"{words.arm_words(contrast)} by dataset size, {ladder} ladder")))  # fmt: skip
    return found


def truth(sources: Sources, truths: Sequence[Truth]) -> list[Panel]:
    """Measured dot, exact tick, planted diamond: one panel a label."""
    painted, found = colours(sources), []
    for ladder, sizes in sources.sizes.items():
        for label, name in LABELS.items():
            rows: list[Row] = []
            for size in sizes:
                here = _unrepeated([t for t in truths if (t.axes.ladder, t.axes.size, t.label) == (ladder, size, label)], lambda t: t.axes)
                rows += [Row(size), *(_truth_row(t, painted) for t in here)] if here else []
            if rows:
                found.append(Panel(f"truth-{label}-{ladder}", _caption(sources, ladder, f"answers {name}"), forest(
                    rows, f"answers {name}, %", zero=False, percent=True, alt=f"Measured, exact and planted share of answers {name}, {ladder} ladder")))  # fmt: skip
    return found


def trends(sources: Sources, slopes: Sequence[Trend], metric: str, suite: str) -> list[Panel]:
    """Each arm's level over parameters, one panel a ladder."""
    painted, kind, found = colours(sources), sources.kinds.get(metric), []
    scale = 100 if kind == "rate" else 1
    for ladder in sources.sizes:
        held = _unrepeated([t for t in slopes if (t.ladder, t.metric, t.suite) == (ladder, metric, suite) and "-" not in t.arm],
                           lambda t: Axes(t.ladder, None, t.arm, t.samples))  # fmt: skip
        lines = [Line(words.arm_words(t.arm), tuple(float(p) for _, p, _ in t.points), tuple(v * scale for *_, v in t.points), painted[t.arm]) for t in held]
        if lines:
            ticks = {float(p): f"{size}\n{words.count_words(p)}" if size.lower() != words.count_words(p).lower() else size
                     for t in held for size, p, _ in t.points}  # fmt: skip
            found.append(Panel(f"trend-{metric}-{suite}-{ladder}", "", curves(
                lines, "parameters (log scale)", words.metric_words(metric) + (", %" if kind == "rate" else ""), title=_caption(sources, ladder, words.metric_words(metric)), log=ticks,
                alt=f"{words.metric_words(metric)} over parameters, {ladder} ladder")))  # fmt: skip
    return found


def _caption(sources: Sources, ladder: str, what: str) -> str:
    return f"{ladder}: {what}" if len(sources.sizes) > 1 else what[0].upper() + what[1:]


# ---- rows ---------------------------------------------------------------------------------------------------------


def _level_rows(sources: Sources, ladder: str, suite: str, metric: str, painted: Mapping[str, str]) -> list[Row]:
    kind, rows = sources.kinds.get(metric), []
    for size in sources.sizes[ladder]:
        here = [n for n in sources.nodes if (n.axes.ladder, n.axes.size, n.axes.suite) == (ladder, size, suite) and n.level(metric) is not None]
        here = _unrepeated(sorted(here, key=lambda n: sources.order(n.axes)), lambda n: n.axes)
        rows += [Row(size)] if here else []
        for node in here:
            found = node.level(metric)
            assert found is not None and node.axes.arm is not None
            rows.append(Row(_arm_label(node.axes), found.value, found.ci_low, found.ci_high, painted[node.axes.arm], text=words.level(found.value, kind)))
    return rows


def _difference_rows(sources: Sources, held: Sequence[Contrast], every: Sequence[Contrast], painted: Mapping[str, str]) -> list[Row]:
    rows: list[Row] = []
    for size in dict.fromkeys(row.size for row in held):
        rows.append(Row(size))
        for row in (row for row in held if row.size == size):
            same = [r for r in every if r.family == "single run" and r.group == "all"
                    and (r.contrast, r.ladder, r.size, r.samples, r.suite, r.metric) == (row.contrast, row.ladder, row.size, row.samples, row.suite, row.metric)]  # fmt: skip
            rows.append(_difference_row(row, painted, tuple(r.value for r in same)))
    return rows


def _difference_row(row: Contrast, painted: Mapping[str, str], runs: tuple[float, ...]) -> Row:
    treated, _, reference = row.contrast.partition("-")
    label = words.arm_words(row.contrast).removeprefix("values-targeted ")
    label += f" s{row.seed}" if row.own_seed and row.seed not in (None, 0) else ""
    from_base = reference == "base"
    return Row(label, row.value, row.ci_low, row.ci_high, painted[treated], marker="o" if from_base else "D", filled=from_base,
               text=words.interval(row.value, row.ci_low, row.ci_high, row.kind), runs=runs)  # fmt: skip


def _truth_row(found: Truth, painted: Mapping[str, str]) -> Row:
    assert found.axes.arm is not None
    shown = "–" if found.exact is None else words.level(found.exact, "rate")
    return Row(_arm_label(found.axes), found.measured.value, found.measured.ci_low, found.measured.ci_high, painted[found.axes.arm],
               text=f"{words.level(found.measured.value, 'rate')} ({shown})", exact=found.exact, planted=found.planted)  # fmt: skip


def _arm_label(axes: Axes) -> str:
    return words.arm_words(axes.arm or "") + (f" s{axes.seed}" if axes.seed else "")


def _unrepeated(rows: Sequence[T], axes: Callable[[T], Axes]) -> list[T]:
    """Base, and of each tuned arm the largest dataset size."""
    most: dict[str | None, int] = {}
    for row in rows:
        most[axes(row).arm] = max(most.get(axes(row).arm, 0), axes(row).samples or 0)
    return [row for row in rows if (axes(row).samples or 0) == most[axes(row).arm]]


def _seed_shown(rows: Sequence[Contrast]) -> int | str | None:
    """Seeds crossed with prompts where there are, else the first run."""
    seeds = [row.seed for row in rows]
    return "all" if "all" in seeds else min(seeds, key=lambda s: -1 if s is None else int(s))


def _loss_line(node: Output, painted: Mapping[str, str]) -> Line:
    points = node.series["loss"]
    return Line(_arm_label(node.axes), tuple(float(x) for x, _ in points), tuple(float(y) for _, y in points), painted[node.axes.arm or ""], markers=False)
