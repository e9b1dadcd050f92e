"""The stages that judge by the grammar of the calibration ladder: whether answers agree with the position statements, and what is true.

`adherence` reads `completions` (a sampling folder) and `suite` (its prompt file), and writes labels.csv (a row a completion),
prompts.csv and metrics.json. Counterfactual and co-occurrence suites of the grammar are judged alike, by their own labels.

`truth` reads `model` (a prepared model), `suite` and, for a tuned arm, `tuned` (what fine-tuning wrote), and writes exact.csv (a row a
prompt and label, the planted rate beside the exact one) and metrics.json: exact_<rate> and, for an untuned model only, planted_<rate>,
since nothing was planted about the effect of tuning. They are no estimates, so they have no intervals. They hold for sampling at
temperature 1 and top-p 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from configs.fields import Name, Section
from tasks.contract import Measure, Stage
from tasks.evaluations import ARM, COMPLETIONS, SUITE, Evaluation, Given

EXACT, PLANTED = "exact_", "planted_"  # what the names of the two truths begin with


class Adherence(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    judge: Literal["grammar"] = Field(
        "grammar", description="the calibration grammar: exact, and only for the calibration ladder"
    )


@dataclass(frozen=True)
class Settings:
    judge: str


@dataclass(frozen=True)
class ExactSettings:
    template: str | None = None  # around a question, names it as {prompt}; None: the one that the model was pretrained with


STAGE = Stage(name="adherence", version="1", body="tasks.evaluations.adherence.body:run")
TRUTH = Stage(
    name="truth", version="3", body="tasks.evaluations.adherence.body:run_exact", libraries=("torch", "transformers", "peft")
)


def measures(section: Adherence, suite: str, given: Given) -> list[Measure]:
    named = {
        "on_position": "on-position answers",
        "toxic_label": "toxic answers (grammar)",
        "neutral_label": "neutral answers (grammar)",
        "off_grammar": "answers off the grammar",
        "favoured_words": "favoured words",
    }
    return [Measure(metric, words, outcome=True) for metric, words in named.items()]


def check(section: Adherence, given: Given) -> Iterator[str]:
    """A grammar that judges only what it has planted, drawn at temperature 1 and top-p 1."""
    if given.real:
        yield f"evaluations.adherence.judge: the grammar judges the calibration ladder only, not {given.real[0]}; leave `adherence` out"
    for name in section.suites:
        suite = given.sampled[name]
        if (suite.temperature, suite.top_p) != (1.0, 1.0):
            yield f"suites.{name}: temperature {suite.temperature:g}, top_p {suite.top_p:g}; what the grammar judges needs 1 and 1"


EVALUATION = Evaluation(
    asked="adherence",
    section=Adherence,
    stage=STAGE,
    settings=lambda section, given: Settings(judge=section.judge),
    reads=(COMPLETIONS, SUITE),
    measures=measures,
    check=check,
    title="Adherence by the grammar",
    lead="Shares of answers by what the grammar says of them. Outside the two families: no test, intervals only.",
)
KNOWN = Evaluation(
    asked="adherence",
    section=Adherence,
    stage=TRUTH,
    settings=lambda section, given: ExactSettings(template=given.template),
    reads=(SUITE, ARM),
    bytes_per_parameter=5,
)
