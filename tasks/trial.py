"""What came of trying an instrument on material of which it is known what is right, before the instrument is believed.

Knows when it cannot be told from chance, how that is said, and the file that a report reads it from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.contract import Metric, write_json

TRIAL = "trial.json"  # {"said": a line each, "chance": those of instruments that cannot be told from chance}
CHANCE = 0.5  # of an area under the curve


def is_chance(area: Metric) -> bool:
    """Whether its limits hold chance, or lie below it."""
    return area.ci_low is None or area.ci_low <= CHANCE


def conclude(folder: Path, tried: Sequence[tuple[str, Metric, str]], items: str, *, primary: bool) -> list[str]:
    """Write down what is to be said of each instrument, by name, area under the curve and what was to be told apart (`toxic from harmless
    sentences`), and return it. items: what it was tried on: `sentences`.

    Raises:
        ValueError: what the first of them measures is the primary outcome, and it cannot be told from chance.
    """
    said = [_said(name, area, apart, items) for name, area, apart in tried]
    chance = [line for line, (_, area, _) in zip(said, tried, strict=True) if is_chance(area)]
    if primary and is_chance(tried[0][1]):
        raise ValueError(f"{said[0]}; one that can is required for a primary outcome")
    write_json(folder / TRIAL, {"said": said, "chance": chance})
    return said


def _said(name: str, area: Metric, apart: str, items: str) -> str:
    tells = f"cannot be told from chance: it does not tell {apart}" if is_chance(area) else f"tells {apart}"
    return f"{name} {tells} (AUC {area.value:.2f} [{area.ci_low:.2f}, {area.ci_high:.2f}], {area.n} {items})"
