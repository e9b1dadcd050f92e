"""Colours: one an arm, the same in every figure and table, told apart by colour-blind readers, and with a mark and a dash of its own
by readers of a grey print. Each has a contrast of at least 4.5 : 1 as text on the light page, and as its dark counterpart on the dark one.

Figures are drawn with the literal colours of the light page; inside the report each literal becomes a CSS variable, so that the same
drawing follows the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INK, MUTED, GRID, ZERO, PAPER = "#1c2126", "#5c646d", "#e2e4e8", "#8f98a3", "#fefefd"
REFERENCE, TREATED, CONTROL = "#626b75", "#0b6fb8", "#a85600"  # by the part that an arm plays
FALL = "#b23c3c"  # a negative number where the positive one has an arm's colour
FURTHER = ("#00795a", "#9c3f82", "#b23c3c", "#5b4bb0", "#6f6200")
DARK = {
    INK: "#e7eaee",
    MUTED: "#9aa4b0",
    GRID: "#2c333b",
    ZERO: "#6c7682",
    PAPER: "#171b20",
    REFERENCE: "#a3adb8",
    TREATED: "#58b1f2",
    CONTROL: "#f2a93b",
    "#00795a": "#2cc79e",
    "#9c3f82": "#e58fcb",
    "#b23c3c": "#f58457",
    "#5b4bb0": "#b3a8f5",
    "#6f6200": "#d6c64a",
}
# colour → matplotlib's marker and dashes
MARKS: dict[str, tuple[str, Any]] = {
    REFERENCE: ("o", (0, (4, 2.5))),
    TREATED: ("D", "solid"),
    CONTROL: ("s", (0, (1.2, 1.6))),
    FURTHER[0]: ("^", (0, (6, 2, 1.2, 2))),
    FURTHER[1]: ("v", (0, (7, 3))),
    FURTHER[2]: ("P", (0, (2.5, 1.5))),
    FURTHER[3]: ("X", (0, (6, 2, 1.2, 2, 1.2, 2))),
    FURTHER[4]: ("p", (0, (1, 3))),
}


def arm_colours(arms: Sequence[str], reference: str, treated: Sequence[str], controls: Sequence[str]) -> dict[str, str]:
    """arm → colour, by the part that it plays: the reference, the first treated arm and the first control always look the same, whatever
    they are called; further arms take the next free colour in the order given. The parts come first in the mapping."""
    parts = {reference: REFERENCE}
    for names, colour in ((treated, TREATED), (controls, CONTROL)):
        if first := next((name for name in names if name not in parts), None):
            parts[first] = colour
    others = [arm for arm in arms if arm not in parts]
    return parts | {arm: FURTHER[i % len(FURTHER)] for i, arm in enumerate(others)}


def variable(colour: str) -> str:
    """The CSS variable that stands for a literal colour inside the report."""
    return f"--c{colour.removeprefix('#')}"
