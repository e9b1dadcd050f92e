"""A matching as a page: where each standardised difference lies, and how both datasets are spread on each measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from tasks.datasets.matching import WITHIN, Match, Matching
from tasks.drawing.figures import Line, Row, curves, forest
from tasks.drawing.page import page_style, rendered
from tasks.drawing.palette import CONTROL, FURTHER, INK, TREATED
from tasks.drawing.panel import NARROW, inline

APART = FURTHER[2]
FIRST, SECOND = TREATED, CONTROL


def write_page(path: Path, names: tuple[str, str], matching: Matching) -> None:
    """One HTML file that asks nothing of the network. Raises OSError."""
    spread = [match for match in matching.matches if match.measure.unit != "share" and len({*match.first, *match.second}) > 1]
    drawn = [(None, differences(matching, names)), *((match.measure, curve(match, names)) for match in spread)]
    page = rendered(
        "tasks.datasets",
        "matching.html.j2",
        names=names,
        matching=matching,
        within=WITHIN,
        first=FIRST,
        second=SECOND,
        style=page_style(),
        love=Markup(inline(drawn[0][1], "d")),
        spreads=[(measure, Markup(inline(svg, f"s{i}"))) for i, (measure, svg) in enumerate(drawn[1:])],
    )
    path.write_text(page, encoding="utf-8")


def differences(matching: Matching, names: tuple[str, str]) -> str:
    """d of every measure with its interval; a filled dot is matched."""
    rows: list[Row] = []
    for part in ("answer", "question"):
        rows.append(Row(f"{part}s"))
        rows += [_row(match) for match in matching.matches if match.measure.part == part and match.effect is not None]
    reach = max(0.5, *(abs(v) for row in rows for v in (row.value, row.low, row.high) if v is not None))
    return forest(
        rows,
        f"{names[0]} minus {names[1]}, in sd",  # a longer label is cut off at the edge
        zero=True,
        percent=False,
        alt="Standardised difference of each measure with its 95 % interval",
        limits=(-reach, reach),
        band=(-WITHIN, WITHIN),
    )


def _row(match: Match) -> Row:
    held = match.interval
    return Row(
        match.measure.name,
        match.effect,
        held.low if held else None,
        held.high if held else None,
        colour=INK if match.matched else APART,
        ink=INK,
        filled=match.matched,
        text=f"{match.effect:+.2f}",
    )


def curve(match: Match, names: tuple[str, str]) -> str:
    """The share of samples at or below each value, for both datasets."""
    lines = [
        Line(name, *_steps(values), colour=colour, markers=False)
        for name, values, colour in ((names[0], match.first, FIRST), (names[1], match.second, SECOND))
    ]
    alt = f"{match.measure.name}: cumulative share of samples"
    return curves(lines, match.measure.unit, "share of samples", alt=alt, width=NARROW, height=2.1, named=False)


def _steps(values: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    ordered = np.sort(np.asarray(values, dtype=float))
    shares = np.arange(1, ordered.size + 1) / ordered.size
    x = np.concatenate([ordered[:1], np.repeat(ordered, 2)[1:]])
    y = np.concatenate([[0.0], np.repeat(shares, 2)[:-1]])
    return tuple(x.tolist()), tuple(y.tolist())
