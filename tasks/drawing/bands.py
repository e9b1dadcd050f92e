"""Levels against model size: one line an arm with its interval as a band, its name at its end.

Made to be read at the width of a phone: no letter is smaller than 11 pixels there. Arms differ by colour, mark and dash, so that the
drawing holds in grey. What is drawn is decided by the report's `first`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import ticker
from matplotlib.axes import Axes

from tasks.drawing.figures import spread
from tasks.drawing.palette import GRID, MARKS, MUTED, PAPER
from tasks.drawing.panel import margins, panel, svg

WIDTH, HEIGHT = 5.0, 2.75  # inches at 72 points, or as high as the names are
LETTER = 0.103  # inches that a letter takes
NAME, NOTE = 12.6, 12.2
APART = 0.38  # inches between two names with their notes
TOP, BOTTOM = 0.12, 0.56  # inches above and below what is drawn in


@dataclass(frozen=True)
class Band:
    """One arm. `low` and `high` are the interval at each point; without them, `runs` are the single runs behind each mean."""

    label: str
    note: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    runs: tuple[tuple[float, ...], ...] = ()


def bands(lines: Sequence[Band], ticks: Sequence[tuple[float, str]], xlabel: str, *, percent: bool, log: bool, alt: str) -> str:
    """`ticks`: where the sizes stand on x, and their names; percent: y is in percent, from 0 to at most 100."""
    with panel(WIDTH, max(HEIGHT, TOP + APART * len(lines) + BOTTOM)) as (figure, axes):
        names = LETTER * max(len(text) for line in lines for text in (line.label, line.note))
        margins(figure, left=0.56, right=0.14 + names, top=TOP, bottom=BOTTOM)
        axes.tick_params(labelsize=NOTE)
        axes.yaxis.grid(True, color=GRID, linewidth=0.9)
        if log:
            axes.set_xscale("log")
        axes.margins(x=0.08)
        for line in lines:
            _draw(axes, line)
        _tick(axes, ticks)
        _scale(axes, lines, percent)
        _name(axes, lines)
        axes.set_xlabel(xlabel, labelpad=6, fontsize=NOTE)
        return svg(figure, alt)


def _tick(axes: Axes, ticks: Sequence[tuple[float, str]]) -> None:
    """Name the sizes, from the largest down, wherever the name does not cover one that is there."""
    axes.xaxis.set_major_locator(ticker.FixedLocator([place for place, _ in ticks]))
    names, edge = [""] * len(ticks), float("inf")
    for i in range(len(ticks) - 1, -1, -1):
        place, name = ticks[i]
        middle, half = axes.transData.transform((place, 0))[0] / 72, LETTER * len(name) / 2
        if middle + half <= edge:
            names[i], edge = name, middle - half - LETTER / 2
    axes.xaxis.set_major_formatter(ticker.FixedFormatter(names))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def _draw(axes: Axes, line: Band) -> None:
    mark, dash = MARKS[line.colour]
    if line.low and len(line.x) > 1:
        axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.15, linewidth=0, zorder=1)
    elif line.low:
        axes.vlines(line.x, line.low, line.high, color=line.colour, linewidth=3, alpha=0.4, zorder=1)
    for x, held in zip(line.x, line.runs, strict=False):
        axes.plot([x] * len(held), held, linestyle="none", marker="_", markersize=9, color=line.colour, alpha=0.7, zorder=2)
    axes.plot(
        line.x,
        line.y,
        color=line.colour,
        linewidth=2.2,
        linestyle=dash,
        marker=mark,
        markersize=7,
        markerfacecolor=line.colour if dash == "solid" else PAPER,
        markeredgecolor=line.colour,
        markeredgewidth=1.8,
        zorder=3,
    )


def _scale(axes: Axes, lines: Sequence[Band], percent: bool) -> None:
    held = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    top = max(held)
    if min(held) >= 0:
        axes.set_ylim(0, min(top * 1.06, 100.5) if percent else top * 1.06 or 1)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if percent:
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}%"))


def _name(axes: Axes, lines: Sequence[Band]) -> None:
    """Name and note at the end of each line, spread where they would cover each other."""
    for line, y in spread(axes, lines, APART):
        for text, size, colour, weight, up in (
            (line.label, NAME, line.colour, "bold", 6),
            (line.note, NOTE, MUTED, "normal", -8),
        ):
            axes.annotate(
                text,
                (1.03, y),
                xycoords=("axes fraction", "data"),
                xytext=(0, up),
                textcoords="offset points",
                va="center",
                ha="left",
                fontsize=size,
                fontweight=weight,
                color=colour,
                annotation_clip=False,
            )
