"""What tuning cost, as a table and in sentences: the verdicts of `compare.capability`, spelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tasks.compare.capability import INCONCLUSIVE, KEPT, LOST, MEASURES, NOT_ASSESSABLE, PLAIN, PROSE, TASKS, Verdict
from tasks.compare.contrasts import largest
from tasks.compare.report import wording
from tasks.compare.report.tables import Cell, Table, arm, spelled, text
from tasks.compare.upstream import Sources


def verdicts(rows: Sequence[Verdict], sources: Sources) -> Table:
    """One row an arm, size and capability."""
    several = len({row.train_samples for row in rows}) > 1 or len({row.seed for row in rows}) > 1
    columns: list[tuple[str, Callable[[Verdict], Cell], bool]] = [
        ("size", lambda row: text(sources.named(row.ladder, row.size)), True),
        ("arm", lambda row: arm(row.arm), True),
        ("train samples", lambda row: text(row.train_samples), several),
        ("seed", lambda row: text(row.seed), several),
        ("measure", lambda row: text(", ".join(MEASURES[row.measure][:2])), True),
        (
            f"arm − {wording.arm_words(sources.arms.reference)}",
            lambda row: Cell(wording.difference(row.value, MEASURES[row.measure][2])),
            True,
        ),
        ("90% interval", lambda row: Cell(wording.limits(row.low, row.high, MEASURES[row.measure][2])), True),
        ("margin", lambda row: Cell(wording.difference(row.margin, MEASURES[row.measure][2])), True),
        ("verdict", lambda row: Cell(row.verdict, number=False, strong=row.verdict == LOST), True),
        ("paragraphs or items", lambda row: Cell(str(row.n)), True),
        ("note", lambda row: text(row.note), any(row.note for row in rows)),
    ]
    return spelled(columns, rows)


def verdict_sentences(rows: Sequence[Verdict], sources: Sources) -> list[str]:
    """One sentence a treated arm at its largest dataset size; none where its capability was not measured.

    `Against base, values-targeted tuning: prediction of neutral prose was kept at 30k and lost at 100k; accuracy on …`
    """
    return [
        said
        for treated in sources.arms.treated
        if (said := _verdict_sentence([row for row in rows if row.arm == treated], sources))
    ]


def _verdict_sentence(rows: Sequence[Verdict], sources: Sources) -> str:
    rows = largest(rows)
    several = len({row.seed for row in rows}) > 1
    parts = []
    for measure, name in (
        (PROSE, "prediction of neutral prose"),
        (PLAIN, "prediction of plain prose"),
        (TASKS, "accuracy on tasks"),
    ):
        places: dict[str, list[str]] = {}
        for row in (row for row in rows if row.measure == measure):
            place = sources.named(row.ladder, row.size) + (f" seed {row.seed}" if several else "")
            places.setdefault(row.verdict, []).append(place)
        said = [
            f"{word} at {wording.listed(places[word])}" for word in (KEPT, INCONCLUSIVE, LOST, NOT_ASSESSABLE) if word in places
        ]
        parts += [f"{name} was {wording.listed(said)}"] if said else []
    if not parts:
        return ""
    against, tuning = wording.arm_words(sources.arms.reference), " tuning" if rows[0].train_samples else ""
    return f"Against {against}, {wording.arm_words(rows[0].arm)}{tuning}: {'; '.join(parts)}."
