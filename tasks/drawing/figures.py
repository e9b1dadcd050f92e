"""Forests and curves: small panels that stand side by side on a wide page and above each other on a phone.

Knows how things look; what is drawn is decided in `panels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from matplotlib import ticker
from matplotlib.axes import Axes

from tasks.drawing.palette import GRID, INK, MARKS, PAPER, ZERO
from tasks.drawing.panel import LETTER, SMALL, WIDE, margins, panel, svg

ROW, HEADING, APART = 0.255, 0.32, 0.09  # inches a row takes
LINE = 0.2  # inches between two names


@dataclass(frozen=True)
class Row:
    """One line of a forest: a heading (no value), or a dot with its interval and its number at the right margin."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    colour: str = INK
    ink: str | None = None  # of the label, where it is not an arm's name
    marker: str = "o"
    filled: bool = True
    text: str = ""
    apart: bool = False  # set a little below the row before
    runs: tuple[float, ...] = ()  # single runs behind a crossed estimate: small dots
    exact: float | None = None  # a tick: the model's own exact rate
    planted: float | None = None  # an open diamond: what was planted


@dataclass(frozen=True)
class Line:
    """One curve with its name at its end; `low` and `high` draw intervals at its points, `told` is what is written beside them."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    markers: bool = True
    dashed: bool = True  # as its arm is; sizes of one arm differ by alpha alone
    alpha: float = 1.0
    told: tuple[str, ...] = ()


class WithEnd(Protocol):
    """Whatever has a last height."""

    @property
    def y(self) -> tuple[float, ...]: ...


Ended = TypeVar("Ended", bound=WithEnd)


def forest(
    rows: Sequence[Row],
    xlabel: str,
    *,
    zero: bool,
    percent: bool,
    alt: str,
    width: float = WIDE,
    limits: tuple[float, float] | None = None,
    band: tuple[float, float] | None = None,
) -> str:
    """Dots and intervals under headings. `zero` draws the line of no difference, `band` shades a range; `percent` scales by 100."""
    scale = 100.0 if percent else 1.0
    places, bottom = _places(rows)
    with panel(width, bottom + 0.62) as (figure, axes):
        left = 0.12 + LETTER * max(len(row.label) for row in rows if row.value is not None)
        right = 0.14 + 0.97 * LETTER * max(len(row.text) for row in rows)
        margins(figure, left, right, top=0.04, bottom=0.5)
        axes.set_ylim(bottom, 0)
        axes.set_yticks([])
        drawn = [
            v * scale for row in rows for v in (row.value, row.low, row.high, row.exact, row.planted, *row.runs) if v is not None
        ]
        drawn += [0.0] if zero else []
        drawn += [edge * scale for edge in band or ()]
        low, high = limits or (min(drawn), max(drawn))
        pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.01 * scale  # where all are 0, a percentage point to each side
        axes.set_xlim(low - pad, high + pad)
        axes.xaxis.grid(True, color=GRID, linewidth=0.8)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        if band:
            axes.axvspan(band[0] * scale, band[1] * scale, color=GRID, alpha=0.6, linewidth=0, zorder=0)
        if zero:
            axes.axvline(0, color=ZERO, linewidth=1.1, zorder=1)
            axes.xaxis.set_major_formatter(ticker.FuncFormatter(signed))
        for row, y in zip(rows, places, strict=True):
            _draw(axes, row, y, scale)
        axes.set_xlabel(xlabel, labelpad=5)
        return svg(figure, f"{alt}. {_told(rows, scale)}")


def curves(
    lines: Sequence[Line],
    xlabel: str,
    ylabel: str,
    *,
    alt: str,
    log: Mapping[float, str] | None = None,
    zero: bool = False,
    width: float = WIDE,
    height: float = 2.7,
    named: bool = True,
    left: float = 0.6,
) -> str:
    """Curves, named at their ends unless a legend does. `log` makes x logarithmic, with these ticks only. `left`: inches for ticks and label."""
    with panel(width, height) as (figure, axes):
        names = LETTER * max(len(line.label) for line in lines) if named else 0.0
        margins(figure, left, right=0.16 + names, top=0.12, bottom=0.5)
        axes.yaxis.grid(True, color=GRID, linewidth=0.8)
        if zero:
            axes.axhline(0, color=ZERO, linewidth=1.1, zorder=1)
        if log is not None:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(ticker.FixedLocator(list(log)))
            axes.xaxis.set_major_formatter(ticker.FixedFormatter(list(log.values())))
            axes.xaxis.set_minor_locator(ticker.NullLocator())
        else:
            axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        for line in lines:
            _plot(axes, line)
            if line.low:
                axes.vlines(line.x, line.low, line.high, color=line.colour, linewidth=1.3, alpha=0.55, zorder=2)
        if named:
            _name_ends(axes, lines)
        axes.set_xlabel(xlabel, labelpad=5)
        axes.set_ylabel(ylabel, labelpad=5)
        ends = "; ".join(f"{line.label} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines if line.label)
        return svg(figure, f"{alt}: {ends}")


def path(lines: Sequence[Line], xlabel: str, ylabel: str, *, alt: str, width: float = WIDE, height: float = 3.2) -> str:
    """One measure against another, the points of a line in their order; each line named beside its last point."""
    with panel(width, height) as (figure, axes):
        margins(figure, left=0.75, right=0.16 + LETTER * max(len(line.label) for line in lines), top=0.12, bottom=0.5)
        axes.grid(True, color=GRID, linewidth=0.8)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.margins(0.08)
        for line in lines:
            _plot(axes, line)
            for x, y, told in zip(line.x, line.y, line.told, strict=False):
                axes.annotate(
                    told, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", color=line.colour, fontsize=SMALL
                )
        _name_ends(axes, lines)
        axes.set_xlabel(xlabel, labelpad=5)
        axes.set_ylabel(ylabel, labelpad=5)
        points = "; ".join(
            f"{line.label} "
            + ", ".join(
                f"{told or 'at'} ({x:.3g}, {y:.3g})"
                for x, y, told in zip(line.x, line.y, line.told or ("",) * len(line.x), strict=True)
            )
            for line in lines
        )
        return svg(figure, f"{alt}: {points}")


# ---- pieces -------------------------------------------------------------------------------------------------------


def _told(rows: Sequence[Row], scale: float) -> str:
    """What a forest shows, for those who do not see it."""
    said, name = [], ""
    for row in rows:
        if row.value is None:
            said.append(f"{row.label}:")
        else:
            name = row.label or name
            said.append(f"{name} {row.text or f'{row.value * scale:.3g}'};")
    return " ".join(said).rstrip(";:")


def _places(rows: Sequence[Row]) -> tuple[list[float], float]:
    """The middle of each row in inches from the top, and the whole height."""
    places, top = [], 0.0
    for row in rows:
        height = HEADING if row.value is None else ROW + APART * row.apart
        places.append(top + height - ROW / 2)
        top += height
    return places, top


def _draw(axes: Axes, row: Row, y: float, scale: float) -> None:
    beside = axes.get_yaxis_transform()
    if row.value is None:
        edge = -axes.get_position().x0 / axes.get_position().width  # the panel's own left edge, in the axes' width
        axes.text(edge, y, row.label, transform=beside, va="center", ha="left", fontweight="bold", color=INK, clip_on=False)
        return
    axes.text(-0.03, y, row.label, transform=beside, va="center", ha="right", color=row.ink or row.colour, clip_on=False)
    if row.low is not None and row.high is not None:
        axes.hlines(y, row.low * scale, row.high * scale, color=row.colour, linewidth=2.2, alpha=0.5, zorder=2)
    if row.exact is not None:
        axes.vlines(row.exact * scale, y - ROW * 0.42, y + ROW * 0.42, color=INK, linewidth=1.6, zorder=4)
    if row.planted is not None:
        axes.plot(
            row.planted * scale,
            y,
            marker="D",
            markersize=6.5,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.0,
            zorder=5,
        )
    for run in row.runs:
        axes.plot(run * scale, y, marker="|", markersize=8, color=row.colour, alpha=0.7, zorder=3)
    axes.plot(
        row.value * scale,
        y,
        marker=row.marker,
        markersize=6,
        color=row.colour,
        zorder=4,
        markerfacecolor=row.colour if row.filled else PAPER,
        markeredgecolor=row.colour if not row.filled else PAPER,
        markeredgewidth=1.4 if not row.filled else 0.8,
    )
    axes.text(1.03, y, row.text, transform=beside, va="center", ha="left", color=INK, fontsize=SMALL, clip_on=False)


def _plot(axes: Axes, line: Line) -> None:
    mark, dash = MARKS.get(line.colour, ("o", "solid"))
    axes.plot(
        line.x,
        line.y,
        color=line.colour,
        alpha=line.alpha,
        linewidth=1.8,
        linestyle=dash if line.dashed else "solid",
        zorder=3,
        marker=mark if line.markers else None,
        markersize=5.5,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
    )


def _name_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Names at the curves' ends."""
    for line, y in spread(axes, [line for line in lines if line.label], LINE):
        axes.annotate(
            line.label,
            (1.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="left",
            color=line.colour,
            alpha=line.alpha,
            annotation_clip=False,
        )


def spread(axes: Axes, lines: Sequence[Ended], apart: float) -> Iterator[tuple[Ended, float]]:
    """Each line with the height of its name: at its end, or evenly about their middle where names `apart` inches high would cover
    each other."""
    low, high = axes.get_ylim()
    gap = apart * (high - low) / (axes.bbox.height / 72)  # figures are made at 72 dots an inch
    clusters: list[list[Ended]] = []
    for line in sorted(lines, key=lambda line: line.y[-1]):
        clusters.append([line])
        while (
            len(clusters) > 1
            and _middle(clusters[-1]) - _middle(clusters[-2]) < gap * (len(clusters[-1]) + len(clusters[-2])) / 2
        ):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    for cluster in clusters:
        for i, line in enumerate(cluster):
            yield line, _middle(cluster) + gap * (i - (len(cluster) - 1) / 2)


def _middle(lines: Sequence[Ended]) -> float:
    return sum(line.y[-1] for line in lines) / len(lines)


def signed(value: float, _: Any) -> str:
    """A tick of a scale of differences, as matplotlib asks for it."""
    return "0" if abs(value) < 1e-12 else f"{value:+g}".replace("-", "−")
