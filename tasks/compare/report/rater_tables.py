"""What raters did, as tables and in sentences: `compare.raters`, spelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.compare.raters import Alpha, Crossed, Rater, Ratings, With
from tasks.compare.report import wording
from tasks.compare.report.tables import Cell, Table, arm, spelled, text
from tasks.compare.upstream import Sources
from tasks.statistics import DEGENERATE, Interval
from tasks.statistics.raters import LEAST_RATERS, LEAST_TOGETHER, GroupMeans

POINTS = "score"  # as ratings are spelled
SIMULATED = (
    " SIMULATED: no person rated anything. A program rated by the grammar's own labels, which is circular by construction: it shows that "
    "the machinery works, and nothing else."
)


def tables(ratings: Ratings, sources: Sources) -> Iterator[tuple[str, Table, bool]]:
    """Those that have rows: agreement, each rater, the differences with raters drawn too, other scores beside people, groups of raters."""
    yield "How far raters agree (Krippendorff's alpha, ordinal)", _agreement(ratings.alphas), False
    yield "Each rater", _raters(ratings.each()), True
    yield "Differences with prompts and raters both drawn", _crossed(list(ratings.crossed()), sources), False
    whose = "simulated" if ratings.simulated else "people's"
    yield f"Other scores beside {whose} ratings (Spearman's rank correlation)", _beside(list(ratings.beside()), sources), False
    yield "By what raters say of themselves", _groups(ratings.groups(), sources), True


def lead(ratings: Ratings) -> str:
    """What has to be said of these ratings before any number of theirs."""
    said = f" {len(ratings.raters)} raters, {len(ratings.rows)} ratings."
    if ratings.simulated:
        said = SIMULATED + said
    if len(ratings.raters) < LEAST_RATERS:
        said += f" From {LEAST_RATERS} raters on, an interval that holds for raters like these stands beside."
    agreement = next((one.alpha for one in ratings.alphas if one.arm is None), None)
    if agreement is not None:
        said += f" Krippendorff's alpha over all arms is {agreement.value:.2f} ({_verdict(agreement)})."
    return said


def _verdict(found: Interval) -> str:
    """Krippendorff's own bounds (2004): reliable from 0.800, for tentative conclusions from 0.667."""
    if found.method.startswith(DEGENERATE):
        return "too few prompts to say"
    alpha = found.value
    return "good" if alpha >= 0.8 else "tentative" if alpha >= 0.667 else "too low to rest conclusions on"


def _agreement(rows: Sequence[Alpha]) -> Table:
    return spelled(
        [
            ("arm", lambda row: arm(row.arm) if row.arm else text("all together, which arms that differ raise"), True),
            ("alpha", lambda row: Cell(f"{row.alpha.value:.2f}"), True),
            ("95% interval", lambda row: Cell(_limits(row.alpha)), True),
            ("", lambda row: text(_verdict(row.alpha)), True),
            ("prompts", lambda row: Cell(str(row.alpha.n)), True),
        ],
        rows,
    )


def _raters(rows: Sequence[Rater]) -> Table:
    return spelled(
        [
            ("rater", lambda row: text(row.name), True),
            ("ratings", lambda row: Cell(str(row.ratings)), True),
            ("above the others (points)", lambda row: _with_limits(row.severity.interval), True),
            ("from first to last (points)", lambda row: _with_limits(row.drift.interval), True),
            (
                "the same text twice",
                lambda row: Cell(f"{row.repeats.same:.0%} the same of {row.repeats.n}" if row.repeats else "–"),
                any(row.repeats for row in rows),
            ),
        ],
        rows,
    )


def _crossed(rows: Sequence[Crossed], sources: Sources) -> Table:
    return spelled(
        [
            ("size", lambda row: text(sources.named(row.place.axes.ladder, row.place.axes.size)), True),
            ("contrast", lambda row: arm(row.contrast), True),
            ("difference", lambda row: Cell(wording.difference(row.interval.value, POINTS)), True),
            ("95% interval", lambda row: Cell(wording.limits(row.interval.low, row.interval.high, POINTS)), True),
        ],
        rows,
    )


def _beside(rows: Sequence[With], sources: Sources) -> Table:
    return spelled(
        [
            ("size", lambda row: text(sources.named(row.place.axes.ladder, row.place.axes.size)), True),
            ("arm", lambda row: arm(row.place.axes.arm), True),
            ("score", lambda row: text(row.who), True),
            ("correlation", lambda row: Cell(f"{row.agreement.value:+.2f}"), True),
            ("95% interval", lambda row: Cell(_limits(row.agreement)), True),
        ],
        rows,
    )


def _groups(found: GroupMeans, sources: Sources) -> Table:
    """Nothing where one or two raters alone are outside of the groups shown: their mean would follow from that over all."""
    arms = sorted({name for _, name in found.means}, key=sources.arms.place)
    apart = found.hidden + found.silent
    if not found.means or 0 < apart < LEAST_TOGETHER:
        return Table([])
    rows = [
        [text(group), Cell(str(count)), *(Cell(f"{found.means[group, name]:.2f}") for name in arms)]
        for group, count in found.raters.items()
    ]
    hidden = f"{found.hidden} in groups of fewer than {LEAST_TOGETHER}, {found.silent} said nothing"
    rows.append([text("not shown"), Cell(str(apart), note=hidden), *(Cell("") for _ in arms)])
    return Table(["group", "raters", *(wording.arm_words(name) for name in arms)], rows)


def _with_limits(interval: Interval | None) -> Cell:
    return Cell("–" if interval is None else f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]")


def _limits(interval: Interval) -> str:
    return "–" if interval.method.startswith(DEGENERATE) else f"[{interval.low:.2f}, {interval.high:.2f}]"
