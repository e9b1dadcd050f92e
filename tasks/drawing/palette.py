"""Colours: one an arm, the same in every figure and table, told apart by colour-blind readers (Okabe & Ito 2008).

Figures are drawn with the literal colours of the light page; inside the report each literal becomes a CSS variable, so that the same
drawing follows the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence

INK, MUTED, GRID, ZERO, PAPER = "#1c2126", "#68707a", "#e2e4e8", "#8f98a3", "#fefefd"
REFERENCE, TREATED, CONTROL = "#6e7781", "#0b6fb8", "#d27c00"  # by the part that an arm plays
FALL = "#c74a12"  # a negative number where the positive one has an arm's colour
FURTHER = ("#008f6b", "#b8509a", "#c74a12", "#3f9fd6", "#8a7a00")
DARK = {
    INK: "#e7eaee",
    MUTED: "#9aa4b0",
    GRID: "#2c333b",
    ZERO: "#6c7682",
    PAPER: "#171b20",
    REFERENCE: "#a3adb8",
    TREATED: "#58b1f2",
    CONTROL: "#f2a93b",
    "#008f6b": "#2cc79e",
    "#b8509a": "#e58fcb",
    "#c74a12": "#f58457",
    "#3f9fd6": "#8fd0f7",
    "#8a7a00": "#d6c64a",
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
