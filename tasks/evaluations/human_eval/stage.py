"""The stage that exports completions for blinded human rating.

Inputs: `completions:<arm>`, the sampling folder of every arm of one model size. Outputs: rating_sheet.csv and
instructions.md for the raters; key/key.csv, which tells the arms, for everyone else; metrics.json (how much
there is to rate).
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contract import Stage

SHEET, KEY, INSTRUCTIONS = "rating_sheet.csv", "key/key.csv", "instructions.md"


@dataclass(frozen=True)
class Settings:
    positions: tuple[tuple[str, str], ...]  # (category, position statement), in the order shown to raters
    ratings_per_completion: int = 3
    seed: int = 0


STAGE = Stage(name="human_eval", version="1", body="tasks.evaluations.human_eval.body:run")
