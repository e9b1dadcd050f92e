"""A heat map: a grid of numbers, each written in its cell and shaded by its share of the largest.

A cell's shade is the opacity of one colour over the page, so that the drawing follows a light or a dark page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.patches import Rectangle

from tasks.drawing.palette import INK, MUTED, PAPER
from tasks.drawing.panel import LETTER, SMALL, margins, panel, svg

WIDTH, HEIGHT = 1.3, 0.56  # inches a cell takes
DEEPEST = 0.62  # opacity of the largest; text stays readable on it


@dataclass(frozen=True)
class Cell:
    """`value` shades the cell; `text` stands in it with `note` in small print below."""

    value: float
    text: str
    note: str = ""


def heat(
    cells: Mapping[tuple[str, str], Cell],
    rows: Sequence[str],
    columns: Sequence[str],
    across: str,
    colours: tuple[str, str],
    *,
    alt: str,
) -> str:
    """Cells by (row, column); `across` names what the columns are. `colours`: of values above zero and below."""
    names = 0.3 + LETTER * max(map(len, rows))
    most = max((abs(cell.value) for cell in cells.values()), default=0.0) or 1.0
    width, height = names + WIDTH * len(columns) + 0.1, HEIGHT * len(rows) + 0.52
    with panel(width, height) as (figure, axes):
        margins(figure, left=names, right=0.1, top=0.04, bottom=0.48)
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns)
        axes.set_yticks([y + 0.5 for y in range(len(rows))], rows)
        axes.set_xlabel(across, labelpad=5)
        for y, row in enumerate(rows):
            for x, column in enumerate(columns):
                cell = cells.get((row, column))
                if cell is None:
                    axes.text(x + 0.5, y + 0.5, "–", ha="center", va="center", color=MUTED)
                    continue
                shade = colours[cell.value < 0]
                opacity = DEEPEST * abs(cell.value) / most
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=shade, alpha=opacity, edgecolor=PAPER, linewidth=1.5))
                axes.text(x + 0.5, y + 0.38, cell.text, ha="center", va="center", color=INK)
                axes.text(x + 0.5, y + 0.72, cell.note, ha="center", va="center", color=INK, fontsize=SMALL)
        return svg(figure, alt)
