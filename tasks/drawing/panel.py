"""A panel: an empty SVG figure of a given size, and the SVG text that comes of it.

Drawn by matplotlib with a fixed hash salt and no date, so that equal numbers give equal bytes. Text stays text (searchable, in the
page's font). What is drawn in it stands in `figures` and `heat`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.drawing.palette import DARK, GRID, INK, MUTED, variable

WIDE, NARROW = 5.4, 4.2  # inches at 72 points: a half or a third of the page
SMALL = 11.2  # points at 72 an inch: no letter is smaller, and no drawing is shown smaller than it is
LETTER = 0.097  # inches, about, at the size of labels
LEAST = 0.8  # inches that are drawn in
STYLE = {
    "text.parse_math": False,  # a group may be called "$5"
    "svg.fonttype": "none",
    "svg.hashsalt": "palms-sweep",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.labelsize": SMALL,
}


@contextmanager
def panel(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Inches at 72 points; no box, no background."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=72)
        axes = figure.add_subplot()
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        yield figure, axes


def margins(figure: Figure, left: float, right: float, top: float, bottom: float) -> None:
    """Margins in inches, so that rows keep their height however many there are; where names leave no room to draw, the figure is wider."""
    width, height = figure.get_size_inches()
    if (needed := left + right + LEAST) > width:
        width = needed
        figure.set_size_inches(width, height)
    figure.subplots_adjust(left=left / width, right=1 - right / width, top=1 - top / height, bottom=bottom / height)


def svg(figure: Figure, alt: str) -> str:
    """The finished drawing; `alt` is its title for those who do not see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": alt})
    text = stream.getvalue()
    width = round(72 * figure.get_size_inches()[0])
    return text.replace("<svg ", f'<svg role="img" style="min-width: {width}px" ', 1)


def inline(svg: str, name: str) -> str:
    """The drawing for the page: ids of its own, and CSS variables in place of literal colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\b(id|xlink:href)="(#?)', rf'\1="\2{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    for colour in DARK:
        body = body.replace(colour, f"var({variable(colour)})")
    return body
