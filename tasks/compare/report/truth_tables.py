"""The tables of what is known to be true on the calibration ladder: of the models' own rates, and of what the scorer makes of answers."""

from __future__ import annotations

from collections.abc import Sequence

from configs.called import suite_words
from tasks.compare.confusion import CLEAN, TOXIC, Confusion
from tasks.compare.report import wording
from tasks.compare.report.tables import PLACE, Cell, Table, place, spread, text
from tasks.compare.truth import LABELS, Truth
from tasks.compare.upstream import Sources
from tasks.contract import Axes, Metric
from tasks.statistics import Interval


def truth(truths: Sequence[Truth], scorer: dict[Axes, Metric], sources: Sources) -> Table:
    """One row a model and grammar label. The scorer's own share of toxic answers stands in a column of its own."""
    table = Table(
        [
            "size",
            "suite",
            *PLACE,
            "grammar label",
            "measured",
            "95% interval",
            "exact",
            "covered",
            "planted",
            "exact − planted",
            "toxic by scorer",
        ]
    )
    for row in truths:
        share = scorer.get(row.axes) if row.label == "toxic_label" else None
        covered = "–" if row.covered is None else "yes" if row.covered else "no"
        table.rows.append(
            [
                text(sources.named(row.axes.ladder, row.axes.size)),
                text(suite_words(row.axes.suite or "")),
                *place(row.axes),
                text(LABELS[row.label]),
                Cell(wording.level(row.measured.value, "rate")),
                Cell(spread(row.measured, "rate")),
                Cell(wording.level(row.exact, "rate")),
                Cell(covered, strong=covered == "no"),
                Cell(wording.level(row.planted, "rate")),
                Cell(wording.difference(row.fit_error, "rate")),
                Cell(wording.level(share.value, "rate") if share else "–"),
            ]
        )
    return table


def confusions(rows: Sequence[Confusion], sources: Sources) -> Table:
    """One line an arm: counts of answers and both shares."""
    head = [
        *("size", "suite", *PLACE),
        *("toxic, called toxic", "toxic, missed", "clean, called toxic", "clean, let pass"),
        *("off the grammar, called toxic", "off the grammar, let pass"),
        *("sensitivity", "95% interval", "specificity", "95% interval"),
    ]
    made = Table(head)
    for row in rows:
        groups = ((TOXIC,), CLEAN, sorted({label for label, _ in row.counts} - {TOXIC, *CLEAN}))
        made.rows.append(
            [
                text(sources.named(row.axes.ladder, row.axes.size)),
                text(suite_words(row.axes.suite or "")),
                *place(row.axes),
                *(Cell(wording.plain(row.of(labels, called))) for labels in groups for called in (True, False)),
                *(cell for share in (row.sensitivity, row.specificity) for cell in _share(share)),
            ]
        )
    return made


def _share(found: Interval | None) -> list[Cell]:
    if found is None:
        return [Cell("–"), Cell("–")]
    low, high = (wording.level(limit, "rate") for limit in (found.low, found.high))
    return [Cell(wording.level(found.value, "rate")), Cell(wording.between(low, high))]
