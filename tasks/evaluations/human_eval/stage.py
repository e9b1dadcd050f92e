"""The stage that exports completions for blinded human rating.

Inputs: `completions:<arm>`, the sampling folder of every arm of one model size. Outputs: rating_sheet.csv and
instructions.md for the raters; key/key.csv, which tells the arms, for everyone else; metrics.json (how much
there is to rate).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from configs.fields import Count, Name, Section
from tasks.contract import Measure, Stage, from_section
from tasks.evaluations import COMPLETIONS, Evaluation, without_position

SHEET, KEY, INSTRUCTIONS = "rating_sheet.csv", "key/key.csv", "instructions.md"


class HumanEval(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    ratings_per_completion: Count = 3


@dataclass(frozen=True)
class Settings:
    positions: tuple[tuple[str, str], ...]  # (category, statement and claims), in the order shown to raters
    ratings_per_completion: int
    seed: int


STAGE = Stage(name="human_eval", version="3", body="tasks.evaluations.human_eval.body:run")


EVALUATION = Evaluation(
    asked="human_eval",
    section=HumanEval,
    stage=STAGE,
    settings=lambda section, given: from_section(
        Settings,
        section,
        positions=tuple((category, position.rubric) for category, position in given.positions.items()),
        seed=given.seed,
    ),
    reads=(COMPLETIONS,),
    of="arms",
    measures=lambda section, suite, given: [Measure("rating", "mean human rating", rated=True)],
    check=lambda section, given: without_position("human_eval", section, given),
)
