"""Points of two quantities with an interval both ways, and their names beside them.

Knows how they look, and where a name covers neither a point, an interval nor another name. What is drawn is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.transforms import Affine2D, Transform

from tasks.drawing.figures import signed
from tasks.drawing.palette import GRID, MARKS, PAPER, ZERO
from tasks.drawing.panel import LETTER, WIDE, margins, panel, svg

HEIGHT, EACH, TALLEST = 2.7, 0.16, 4.8  # inches, by how many points there are: names need room
NAME, MARK, GAP, THIN = 0.17, 0.06, 0.05, 0.02  # inches: a name's height, half a mark, between the two, half an interval's line
LABEL = 0.37  # inches left of the ticks for the axis's own name
OFF = 0.2  # inches from which a name is tied to its point
RINGS = 8  # how many names' heights off it may stand

Box = tuple[float, float, float, float]  # left, bottom, right, top, in inches


@dataclass(frozen=True)
class Point:
    """`x_range`, `y_range`: its interval along either axis, where it has one."""

    label: str
    x: float
    y: float
    colour: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def points(held: Sequence[Point], xlabel: str, ylabel: str, *, alt: str) -> str:
    """One dot a point under its name; the lines of no distance and of no difference are drawn."""
    with panel(WIDE, min(HEIGHT + EACH * len(held), TALLEST)) as (figure, axes):
        across = [v for one in held for v in (one.x, *(one.x_range or ()))] + [0.0]
        up = [v for one in held for v in (one.y, *(one.y_range or ()))] + [0.0]
        for limit, drawn, pad in ((axes.set_xlim, across, 0.08), (axes.set_ylim, up, 0.1)):
            room = pad * (max(drawn) - min(drawn)) or 1.0
            limit(min(drawn) - room, max(drawn) + room)
        axes.grid(True, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.axhline(0, color=ZERO, linewidth=1.1, zorder=1)
        axes.axvline(0, color=ZERO, linewidth=1.1, zorder=1)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(signed))
        ticks = max(len(signed(at, None)) for at in axes.get_yticks())
        margins(figure, left=LABEL + LETTER * ticks, right=0.16, top=0.1, bottom=0.5)
        for one in held:
            if one.x_range:
                axes.hlines(one.y, *one.x_range, color=one.colour, linewidth=2.0, alpha=0.45, zorder=2)
            if one.y_range:
                axes.vlines(one.x, *one.y_range, color=one.colour, linewidth=2.0, alpha=0.45, zorder=2)
            mark, _ = MARKS.get(one.colour, ("o", "solid"))
            axes.plot(one.x, one.y, mark, color=one.colour, markersize=7, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=4)
        _name(axes, held)
        axes.set_xlabel(xlabel, labelpad=5)
        axes.set_ylabel(ylabel, labelpad=5)
        told = "; ".join(f"{one.label} {one.y:+.3g} at {one.x:.3g}" for one in held)
        return svg(figure, f"{alt}, {ylabel} at {xlabel}: {told}")


def _name(axes: Axes, held: Sequence[Point]) -> None:
    """Each name where it covers least, the nearest such place first; one that stands off is tied to its point."""
    width, height = axes.bbox.width / 72, axes.bbox.height / 72  # figures are made at 72 dots an inch
    inches = axes.transData + axes.transAxes.inverted() + Affine2D().scale(width, height)
    left, bottom = inches.transform((0.0, 0.0))
    taken = [(left - THIN, 0.0, left + THIN, height), (0.0, bottom - THIN, width, bottom + THIN)]
    taken += [box for one in held for box in _drawn(one, inches)]
    for one in sorted(held, key=lambda one: (-one.y, one.x)):
        x, y = inches.transform((one.x, one.y))
        box = min(_places(x, y, LETTER * len(one.label)), key=lambda box: _covers(box, taken, width, height))
        taken.append(box)
        left, bottom, right, top = box
        near = min(max(x, left), right), min(max(y, bottom), top)
        if hypot(near[0] - x, near[1] - y) > OFF:
            axes.plot(
                *zip((x / width, y / height), (near[0] / width, near[1] / height), strict=True),
                transform=axes.transAxes,
                color=one.colour,
                linewidth=0.9,
                alpha=0.5,
            )
        axes.text(
            (left + right) / 2 / width,
            (bottom + top) / 2 / height,
            one.label,
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=one.colour,
            zorder=5,
        )


def _drawn(one: Point, inches: Transform) -> Iterator[Box]:
    """What a point covers: its dot and its intervals."""
    x, y = inches.transform((one.x, one.y))
    yield x - MARK, y - MARK, x + MARK, y + MARK
    for ends in ([(at, one.y) for at in one.x_range or ()], [(one.x, at) for at in one.y_range or ()]):
        if ends:
            (left, bottom), (right, top) = inches.transform(ends)
            yield left - THIN, bottom - THIN, right + THIN, top + THIN


def _places(x: float, y: float, length: float) -> Iterator[Box]:
    """Where a name may stand about a point, nearest first: to its right and left, above and below, and between."""
    for ring in range(RINGS):
        off = MARK + GAP + ring * NAME
        aside, above = off + length / 2, off + NAME / 2
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            middle, level = x + right * aside, y + up * above
            yield middle - length / 2, level - NAME / 2, middle + length / 2, level + NAME / 2


def _covers(box: Box, taken: Sequence[Box], width: float, height: float) -> float:
    """Square inches of what is drawn already that a name would cover, and of itself that would stand outside."""
    left, bottom, right, top = box
    inside = _shared(box, (0.0, 0.0, width, height))
    return sum(_shared(box, other) for other in taken) + 2 * ((right - left) * (top - bottom) - inside)


def _shared(one: Box, other: Box) -> float:
    across, up = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return across * up if across > 0 and up > 0 else 0.0
