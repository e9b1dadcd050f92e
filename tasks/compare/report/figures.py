"""Which panels a comparison is told with: picks the rows of each drawing, and names it.

A forest shows the largest dataset size (smaller ones have a panel of their own) and, where seeds were crossed with prompts, the
crossed estimate with its runs as ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from configs.called import suite_words
from configs.contrasts import Contrast
from tasks.compare.capability import MEASURES, Verdict
from tasks.compare.contrasts import SINGLE_RUN, Difference, cell, largest, one_run, speaking
from tasks.compare.report import wording
from tasks.compare.train_samples import by_dataset_size
from tasks.compare.trends import Trend
from tasks.compare.truth import LABELS, Truth
from tasks.compare.upstream import Output, Sources
from tasks.contract import Axes, Metric
from tasks.drawing.figures import Line, Row, curves, forest
from tasks.drawing.heat import Cell, heat
from tasks.drawing.palette import FALL, INK, arm_colours
from tasks.drawing.panel import NARROW

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """A drawing, the file name it is kept under, and its caption."""

    name: str
    caption: str
    svg: str
    narrow: bool = False
    note: str = ""  # in small print under the caption
    timed: bool = False  # of how long something took: it stands on the page alone, since content never moves with a clock


def colours(sources: Sources) -> dict[str, str]:
    arms = sources.arms
    return arm_colours(arms.names, arms.reference, arms.treated, arms.controls)


def outcome(
    sources: Sources, differences: Sequence[Difference], suite: str, metric: str, unit: str = "prompt"
) -> Iterator[Panel]:
    """Levels of all arms beside the differences between them, one pair of panels a ladder. `unit`: what arms are paired by."""
    kind, name = sources.kinds.get(metric), sources.words(metric)
    percent = kind == "rate"
    for ladder in sources.sizes:
        stem = f"{metric}-{suite}-{ladder}"
        if rows := level_rows(sources, ladder, suite, metric):
            svg = forest(
                rows,
                f"{name}, %" if percent else name,
                zero=False,
                percent=percent,
                alt=f"{name} of each arm by size, {ladder} ladder",
            )
            yield Panel(f"levels-{stem}", _caption(sources, ladder, f"where each arm stands, {suite_words(suite)}: {name}"), svg)
        held = [row for row in differences if (row.ladder, row.suite, row.metric) == (ladder, suite, metric)]
        if rows := _difference_rows(held, sources):
            label, alt = _difference_label(kind, name), f"Differences between arms in {name} by size, {ladder} ladder"
            svg = forest(rows, label, zero=True, percent=percent, alt=alt)
            yield Panel(
                f"differences-{stem}",
                _caption(sources, ladder, f"how far apart, paired by {unit}, {suite_words(suite)}: {name}"),
                svg,
            )


def categories(sources: Sources, differences: Sequence[Difference], suite: str, metric: str) -> Iterator[Panel]:
    """The difference by category, one panel a size, all on one scale."""
    kind = sources.kinds.get(metric)
    held = one_run(largest([row for row in differences if (row.suite, row.metric) == (suite, metric) and row.of_category]))
    bounds = [wording.factor(kind) * value for row in held for value in (row.ci_low, row.ci_high, 0.0)]
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            rows = _category_rows([row for row in held if (row.ladder, row.size) == (ladder, size)], sources)
            if rows:
                label, alt = wording.unit_words(kind) or "difference", f"Differences by category at {ladder} {size}"
                limits = (min(bounds), max(bounds))
                svg = forest(rows, label, zero=True, percent=kind == "rate", width=NARROW, limits=limits, alt=alt)
                yield Panel(f"categories-{metric}-{suite}-{ladder}-{size}", sources.named(ladder, size), svg, narrow=True)


def losses(sources: Sources) -> Iterator[Panel]:
    """Training loss on the largest dataset, one panel a size, a curve a run; an arm's further seeds are pale."""
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            tuned = [n for n in sources.of("finetune") if (n.axes.ladder, n.axes.size) == (ladder, size) and n.series.get("loss")]
            held = largest_tuned(tuned, lambda node: node.axes)
            if held:
                lines = [_loss_line(n, colours(sources), not i or held[i - 1].axes.arm != n.axes.arm) for i, n in enumerate(held)]
                svg = curves(lines, "optimiser step", "loss", width=NARROW, height=2.2, alt=f"Training loss at {ladder} {size}")
                yield Panel(f"loss-{ladder}-{size}", sources.named(ladder, size), svg, narrow=True)


def train_samples(sources: Sources, differences: Sequence[Difference], suite: str, metric: str) -> Iterator[Panel]:
    """The difference from the reference arm against the number of samples, where more than one dataset size was tuned on; larger models darker."""
    for (ladder, contrast), held in by_dataset_size(sources, differences, suite, metric).items():
        counts = {float(row.train_samples or 0): str(row.train_samples) for row in held}
        unit = wording.unit_words(held[0].kind) or "difference"
        sizes = [size for size in sources.sizes[ladder] if any(row.size == size for row in held)]
        fade = 0.55 / max(len(sizes) - 1, 1)
        lines = [
            _sample_line(size, [row for row in held if row.size == size], colours(sources)[contrast.treated], 0.45 + fade * i)
            for i, size in enumerate(sizes)
        ]
        svg = curves(
            lines,
            "samples tuned on",
            unit,
            zero=True,
            log=counts,
            alt=f"{wording.arm_words(contrast)} by dataset size, {ladder} ladder",
        )
        yield Panel(
            f"dataset-size-{contrast}-{ladder}", _caption(sources, ladder, wording.arm_words(contrast) + " by dataset size"), svg
        )


def by_step(sources: Sources, runs: Mapping[str, Sequence[str]], suite: str, metric: str) -> Iterator[Panel]:
    """Levels against the optimiser step, a panel a size and a line a tuned arm. Several seeds: their mean, without an interval.

    runs: tuned arm → the arm that it began as, those of its earlier steps, and itself.
    """
    kind, name = sources.kinds.get(metric), sources.words(metric)
    scale, taken = wording.factor(kind), [node for node in sources.nodes if node.level("optimiser_steps")]
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            levels = _levels(sources, ladder, size, suite, metric)
            held = largest_tuned([n for n in taken if (n.axes.ladder, n.axes.size) == (ladder, size)], lambda node: node.axes)
            steps = {node.axes.arm: row.value for node in held if (row := node.level("optimiser_steps"))}
            lines = []
            for arm, (began, *others) in runs.items():
                at = {began: 0.0} | {one: steps[one] for one in others if one in steps}
                points = [(at[one], levels[one]) for one in sorted(at, key=lambda one: at[one]) if one in levels]
                if len(points) > 1:
                    lines.append(_step_line(arm, points, colours(sources)[arm], scale))
            if lines:
                label = f"{name}, %" if kind == "rate" else name
                svg = curves(lines, "optimiser step", label, alt=f"{name} by training step at {ladder} {size}")
                caption = f"{sources.named(ladder, size)}: {name}, {suite_words(suite)}"
                yield Panel(f"step-{metric}-{suite}-{ladder}-{size}", caption, svg)


def dataset_heat(sources: Sources, differences: Sequence[Difference], suite: str, metric: str) -> Iterator[Panel]:
    """The difference from the reference arm at every size and dataset size, one heat map a ladder and contrast, larger models below."""
    for (ladder, contrast), held in by_dataset_size(sources, differences, suite, metric).items():
        columns = [str(count) for count in sorted({row.train_samples or 0 for row in held})]
        cells = {
            (row.size, str(row.train_samples)): Cell(
                row.value,
                wording.difference(row.value, row.kind) + (" *" if row.shown else ""),
                wording.limits(row.ci_low, row.ci_high, row.kind),
            )
            for row in held
        }
        sizes = [size for size in sources.sizes[ladder] if any(row.size == size for row in held)]
        rise, fall = colours(sources)[contrast.treated], FALL
        name = wording.arm_words(contrast)
        svg = heat(
            cells, sizes, columns, "samples tuned on", (rise, fall), alt=f"{name} by size and dataset size, {ladder} ladder"
        )
        unit = wording.unit_words(held[0].kind)
        caption = _caption(sources, ladder, f"{name} by size and samples" + (f", in {unit}" if unit else ""))
        yield Panel(f"size-samples-{contrast}-{ladder}", caption, svg)


def kept(sources: Sources, verdicts: Sequence[Verdict]) -> Iterator[Panel]:
    """What each arm lost of what the reference arm could do, with its 90% interval; the margin that may be lost is shaded."""
    for ladder, sizes in sources.sizes.items():
        for measure, (called, unit, kind) in MEASURES.items():
            name = f"{called}, {unit}"
            held = [row for row in verdicts if (row.ladder, row.measure) == (ladder, measure) and row.value is not None]
            held = largest_tuned(held, lambda row: Axes(arm=row.arm, train_samples=row.train_samples))
            rows: list[Row] = []
            for size in sizes:
                here = [row for row in held if row.size == size]
                rows += [Row(size), *(_verdict_row(row, kind, colours(sources)) for row in here)] if here else []
            if rows:
                band = (0.0, held[0].margin) if held[0].margin > 0 else (held[0].margin, 0.0)
                percent = kind == "rate"
                svg = forest(
                    rows,
                    f"arm − {wording.arm_words(sources.arms.reference)}, {name}",
                    zero=True,
                    percent=percent,
                    band=band,
                    alt=f"{name}, {ladder} ladder",
                )
                yield Panel(f"capability-{measure}-{ladder}", _caption(sources, ladder, name), svg)


def truth(sources: Sources, truths: Sequence[Truth], suite: str) -> Iterator[Panel]:
    """Measured dot, exact tick, planted diamond: one panel a label of this suite, each arm's first run."""
    for ladder, sizes in sources.sizes.items():
        for label, name in LABELS.items():
            rows: list[Row] = []
            for size in sizes:
                held = [t for t in truths if (t.axes.ladder, t.axes.size, t.axes.suite, t.label) == (ladder, size, suite, label)]
                held = _first_of_each_arm(largest_tuned(held, lambda truth: truth.axes))
                rows += [Row(size), *(_truth_row(truth, colours(sources)) for truth in held)] if held else []
            if rows:
                alt = f"Measured, exact and planted share of answers {name}, {ladder} ladder"
                svg = forest(rows, f"answers {name}, %", zero=False, percent=True, alt=alt)
                yield Panel(f"truth-{label}-{suite}-{ladder}", _caption(sources, ladder, f"answers {name}"), svg)


def trends(sources: Sources, slopes: Sequence[Trend], metric: str, suite: str) -> Iterator[Panel]:
    """Each arm's level over parameters, one panel a ladder."""
    kind, name = sources.kinds.get(metric), sources.words(metric)
    for ladder in sources.sizes:
        levels = [
            t for t in slopes if (t.ladder, t.metric, t.suite) == (ladder, metric, suite) and not isinstance(t.arm, Contrast)
        ]
        held = largest_tuned(levels, lambda trend: Axes(arm=str(trend.arm), train_samples=trend.train_samples))
        if held:
            lines = [_trend_line(trend, colours(sources), wording.factor(kind)) for trend in held]
            ticks = {float(params): size for trend in held for size, params, _ in trend.points}
            label = f"{name}, %" if kind == "rate" else name
            svg = curves(
                lines, "size, by parameters (log scale)", label, log=ticks, alt=f"{name} over parameters, {ladder} ladder"
            )
            yield Panel(f"trend-{metric}-{suite}-{ladder}", _caption(sources, ladder, f"{name}, {suite_words(suite)}"), svg)


def _caption(sources: Sources, ladder: str, what: str) -> str:
    return f"{ladder}: {what}" if len(sources.sizes) > 1 else what[0].upper() + what[1:]


def _difference_label(kind: str | None, name: str) -> str:
    return f"difference in {name}, {wording.unit_words(kind)}" if wording.unit_words(kind) else f"difference in {name}"


# ---- rows and lines -----------------------------------------------------------------------------------------------


def _levels(sources: Sources, ladder: str, size: str, suite: str, metric: str) -> dict[str, list[Metric]]:
    """Arm → the level of each of its runs, of tuned ones on the largest dataset size."""
    here = [n for n in sources.nodes if (n.axes.ladder, n.axes.size, n.axes.suite) == (ladder, size, suite) and n.level(metric)]
    held: dict[str, list[Metric]] = {}
    for node in largest_tuned(sorted(here, key=lambda node: sources.order(node.axes)), lambda node: node.axes):
        held.setdefault(node.axes.arm or "", []).extend(row for row in [node.level(metric)] if row is not None)
    return held


def level_rows(sources: Sources, ladder: str, suite: str, metric: str) -> list[Row]:
    """One row an arm. Several seeds: their mean without an interval, and each run as a tick."""
    kind, painted = sources.kinds.get(metric), colours(sources)
    rows: list[Row] = []
    for size in sources.sizes[ladder]:
        here = _levels(sources, ladder, size, suite, metric)
        rows += [Row(size)] if here else []
        for arm, runs in here.items():
            mean = sum(run.value for run in runs) / len(runs)
            row = Row(wording.arm_words(arm), mean, colour=painted[arm], text=wording.level(mean, kind))
            several = len(runs) > 1
            rows.append(
                replace(row, runs=tuple(r.value for r in runs))
                if several
                else replace(row, low=runs[0].ci_low, high=runs[0].ci_high)
            )
    return rows


def _difference_rows(held: Sequence[Difference], sources: Sources) -> list[Row]:
    """The overall differences under their sizes; the single runs behind a crossed one are its ticks."""
    rows: list[Row] = []
    shown = largest(speaking(held))
    for size in dict.fromkeys(row.size for row in shown):
        rows.append(Row(size))
        for row in (row for row in shown if row.size == size):
            runs = tuple(run.value for run in held if run.family == SINGLE_RUN and cell(run) == cell(row))
            rows.append(replace(_difference_row(row, sources), runs=runs))
    return rows


def _category_rows(held: Sequence[Difference], sources: Sources) -> list[Row]:
    """The contrasts of a category below one another, named once and set apart from the next."""
    rows = []
    for group in dict.fromkeys(row.group for row in held):
        lines = [_difference_row(row, sources) for row in held if row.group == group]
        rows += [
            replace(line, label="" if i else wording.short(wording.group_words(group)), text="", ink=INK, apart=not i)
            for i, line in enumerate(lines)
        ]
    return rows


def _difference_row(row: Difference, sources: Sources) -> Row:
    label = wording.contrast_words(row.contrast, sources.arms)
    label += f", seed {row.seed}" if row.own_seed and row.seed not in (None, 0) else ""
    text = wording.interval(row.value, row.ci_low, row.ci_high, row.kind)
    leading = row.contrast.reference == sources.arms.reference
    colour, marker = colours(sources)[row.contrast.treated], "o" if leading else "D"
    return Row(label, row.value, row.ci_low, row.ci_high, colour, marker=marker, filled=leading, text=text)


def _verdict_row(row: Verdict, kind: str, painted: Mapping[str, str]) -> Row:
    text = f"{wording.difference(row.value, kind)} {row.verdict}"
    return Row(wording.arm_words(row.arm), row.value, row.low, row.high, painted[row.arm], text=text)


def _truth_row(found: Truth, painted: Mapping[str, str]) -> Row:
    arm, measured = found.axes.arm or "", found.measured
    text = f"{wording.level(measured.value, 'rate')} ({wording.level(found.exact, 'rate')})"
    row = Row(wording.arm_words(arm), measured.value, measured.ci_low, measured.ci_high, painted[arm], text=text)
    return replace(row, exact=found.exact, planted=found.planted)


def _loss_line(node: Output, painted: Mapping[str, str], first: bool) -> Line:
    x, y = zip(*node.series["loss"], strict=True)
    arm = node.axes.arm or ""
    return Line(wording.arm_words(arm) if first else "", x, y, painted[arm], markers=False, alpha=1.0 if first else 0.4)


def _step_line(arm: str, points: Sequence[tuple[float, Sequence[Metric]]], colour: str, scale: float) -> Line:
    x = tuple(step for step, _ in points)
    y = tuple(scale * sum(run.value for run in runs) / len(runs) for _, runs in points)
    limits = [(run.ci_low, run.ci_high) for _, runs in points for run in runs]
    if len(limits) > len(points) or any(low is None or high is None for low, high in limits):
        return Line(wording.arm_words(arm), x, y, colour)
    low, high = (tuple(scale * (end or 0.0) for end in ends) for ends in zip(*limits, strict=True))
    return Line(wording.arm_words(arm), x, y, colour, low, high)


def _sample_line(size: str, rows: Sequence[Difference], colour: str, alpha: float) -> Line:
    rows = sorted(rows, key=lambda row: row.train_samples or 0)
    scale = wording.factor(rows[0].kind)
    y, low, high = (tuple(scale * getattr(row, name) for row in rows) for name in ("value", "ci_low", "ci_high"))
    return Line(size, tuple(float(row.train_samples or 0) for row in rows), y, colour, low, high, dashed=False, alpha=alpha)


def _trend_line(trend: Trend, painted: Mapping[str, str], scale: float) -> Line:
    _, params, means = zip(*trend.points, strict=True)
    return Line(wording.arm_words(trend.arm), params, tuple(scale * mean for mean in means), painted[str(trend.arm)])


def largest_tuned(rows: Sequence[T], axes: Callable[[T], Axes]) -> list[T]:
    """What was tuned on nothing, and of each tuned arm the largest dataset size."""
    most: dict[str | None, int] = {}
    for row in rows:
        most[axes(row).arm] = max(most.get(axes(row).arm, 0), axes(row).train_samples or 0)
    return [row for row in rows if (axes(row).train_samples or 0) == most[axes(row).arm]]


def _first_of_each_arm(truths: Sequence[Truth]) -> list[Truth]:
    first: dict[str | None, Truth] = {}
    for truth in truths:
        first.setdefault(truth.axes.arm, truth)
    return list(first.values())
