"""The stage that exports completions for blinded human rating, and the one that measures what came back.

Export. Inputs: `completions:<arm>`, the sampling folder of every arm of one model size. Outputs: rating_sheet.csv and
instructions.md for the raters; key/key.csv, which tells the arms, for everyone else; metrics.json (how much
there is to rate).

Rated, once ratings have been imported. Inputs: `completions` of one arm and `ratings`, all that were imported for the sweep. Outputs:
ratings.csv (a row a rating), scores.csv (a row a rated completion), prompts.csv, metrics.json.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from configs.fields import Count, Name, Section
from tasks.contract import Measure, Stage, from_section
from tasks.evaluations import COMPLETIONS, RATINGS, Evaluation, Given, without_position

SHEET, KEY, INSTRUCTIONS = "rating_sheet.csv", "key/key.csv", "instructions.md"
RATING, ANSWERS, RANKED = "rating", "human_answer_share", "human_rank_share"


class HumanEval(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    ratings_per_completion: Count = 3


@dataclass(frozen=True)
class Settings:
    positions: tuple[tuple[str, str], ...]  # (category, statement and claims), in the order shown to raters
    ratings_per_completion: int
    seed: int


STAGE = Stage(name="human_eval", version="3", body="tasks.evaluations.human_eval.body:run")


def measures(section: HumanEval, suite: str, given: Given) -> list[Measure]:
    """Raters who do not exist are never called people, wherever a number of theirs stands."""
    who, whose = ("simulated raters", "simulated") if given.simulated else ("people", "human")
    return [
        Measure(RATING, f"mean {whose} rating", outcome=True, drawn=True, rated=True),
        Measure(ANSWERS, f"completions that {who} take for answers at all"),
        Measure(RANKED, f"how often {who} rank a completion above one of another arm", drawn=True),
    ]


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
    check=lambda section, given: without_position("human_eval", section, given),
)
RATED = Evaluation(
    asked="human_eval",
    section=HumanEval,
    stage=Stage(name="rated", version="1", body="tasks.evaluations.human_eval.rated:run"),
    settings=lambda section, given: None,
    reads=(COMPLETIONS, RATINGS),
    measures=measures,
    title="Rated by people",
    lead="Ratings from 1 to 5 of how well a completion matches the position of its category, by raters who did not know which arm wrote it. "
    "Intervals are over prompts and conditional on these raters: a rater's severity cancels from differences and not from levels.",
)
