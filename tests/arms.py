"""The three arms of the method, with what was measured of them, as an experiment hands them to the comparison."""

from __future__ import annotations

from pathlib import Path

from configs.contrasts import Arms, Contrast
from tasks.compare.stage import Part
from tasks.compare.summary import Row, tables
from tasks.contract import Measure

TO_BASE, TO_CONTROL = Contrast("values_targeted", "base"), Contrast("values_targeted", "control")
MEASURES = (
    Measure("on_position", "on-position answers", outcome=True),
    Measure("toxicity", "mean toxicity", outcome=True, secondary=True),
)
PARTS = (Part("toxicity", "Toxicity", "The mean score."), Part("cooccurrence", "Co-occurrence", "Words."))
ARMS = Arms(("base", "values_targeted", "control"), "base", (TO_BASE, TO_CONTROL))


def primary_rows(folder: Path) -> list[Row]:
    """The rows of the primary outcome's small tables."""
    return [row for table in tables(folder) if "(primary outcome)" in table.title for row in table.rows]
