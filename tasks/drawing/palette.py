"""Colours: one an arm, the same in every figure and table, told apart by colour-blind readers (Okabe & Ito 2008).

Figures are drawn with the literal colours of the light page; inside the report each literal becomes a CSS variable, so that the same
drawing follows the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence

INK, MUTED, GRID, ZERO, PAPER = "#1c2126", "#68707a", "#e2e4e8", "#8f98a3", "#fefefd"
FIXED = {"base": "#6e7781", "values_targeted": "#0b6fb8", "control": "#d27c00"}
FALL = "#c74a12"  # a negative number where the positive one has an arm's colour
FURTHER = ("#008f6b", "#b8509a", "#c74a12", "#3f9fd6", "#8a7a00")
DARK = {
    INK: "#e7eaee",
    MUTED: "#9aa4b0",
    GRID: "#2c333b",
    ZERO: "#6c7682",
    PAPER: "#171b20",
    "#6e7781": "#a3adb8",
    "#0b6fb8": "#58b1f2",
    "#d27c00": "#f2a93b",
    "#008f6b": "#2cc79e",
    "#b8509a": "#e58fcb",
    "#c74a12": "#f58457",
    "#3f9fd6": "#8fd0f7",
    "#8a7a00": "#d6c64a",
}


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """arm → colour: the three arms of the method always have the same, further ones take the next free in order of name."""
    others = sorted(arm for arm in arms if arm not in FIXED)
    return FIXED | {arm: FURTHER[i % len(FURTHER)] for i, arm in enumerate(others)}


def variable(colour: str) -> str:
    """The CSS variable that stands for a literal colour inside the report."""
    return f"--c{colour.removeprefix('#')}"
