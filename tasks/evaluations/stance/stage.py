"""The stage that measures which of two answers an arm itself holds likelier: the one that holds a position, or the one that does not.

Nothing is sampled, judged or scored, so nothing is blurred by a scorer or by few draws; and nothing is said of what the model would
write. The limits: an answer is likely for its form as well as for what it says, and pairs are matched in length, form and register to
hold that apart (the worry with CrowS-Pairs and StereoSet, Blodgett et al. 2021); a model may hold an answer likelier that it would never
give, as with TruthfulQA's multiple choice (Lin et al. 2022); one that says yes to everything stands at half. Differences between arms of
one model, paired by pair, are what to read: what the wording does to a pair is the same in both.

Inputs: `model` (a prepared model), `pairs` (a JSON Lines file of pairs) and, for a tuned arm, `tuned`. Outputs: stance.csv (a row a pair),
prompts.csv and metrics.json: stance_margin, stance_margin_whole, stance_preferred, over all pairs, by category, and by how `on` begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from configs.fields import Section
from configs.shipped import CONFIGS
from tasks.contract import Measure, Stage
from tasks.datasets.pairs import load_pairs, load_reported, load_unreported
from tasks.evaluations import ARM, Evaluation, Given, NamedFile

MARGIN, WHOLE, PREFERRED = "stance_margin", "stance_margin_whole", "stance_preferred"


class Stance(Section):
    """Which of two answers the model itself holds likelier. It is its own suite: `primary: {suite: stance, metric: stance_margin}`."""

    pairs: str | None = Field(
        None, description="pairs of answers (.jsonl) relative to this file; default: the shipped ones, English or the grammar's"
    )


@dataclass(frozen=True)
class Settings:
    template: str


STAGE = Stage(name="stance", version="3", body="tasks.evaluations.stance.body:run", libraries=("torch", "transformers", "peft"))


def pairs(calibration: bool) -> Path:
    return CONFIGS / "prompts" / ("calibration/stance.jsonl" if calibration else "stance.jsonl")


def asks(path: Path) -> Iterator[tuple[int, str, str, str]]:
    for pair in load_pairs(path):
        for answer in (pair.on, pair.off):
            yield pair.line, f"pair {pair.id}", pair.question, answer


def check(section: Stance, given: Given) -> Iterator[str]:
    if "stance" in given.sampled:
        yield "suites.stance: is the name of the pairs that evaluations.stance brings; another name is required"


EVALUATION = Evaluation(
    asked="stance",
    section=Stance,
    stage=STAGE,
    settings=lambda section, given: Settings(given.template),
    reads=(ARM,),
    of="arm",
    own_suite=True,
    files={"pairs": NamedFile("pairs", pairs, lambda path, section: load_reported(path), asks, load_unreported)},
    bytes_per_parameter=6,
    measures=lambda section, suite, given: [
        Measure(MARGIN, "on-position margin", unit="nats a token", outcome=True, drawn=True, of="pair"),
        Measure(WHOLE, "log-odds of on-position answers", unit="nats", outcome=True, of="pair"),
        Measure(PREFERRED, "pairs where the on-position answer is likelier", outcome=True, of="pair"),
    ],
    check=check,
    title="Stance",
    lead="Which of two answers to a question the model itself holds likelier, the one that holds the position or one of the same length and "
    "form that does not: nothing is sampled and nothing judges. It tells what a model would rather say, not what it says.",
)
