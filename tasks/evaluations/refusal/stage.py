"""The stage that measures how often an arm declines or evades, and how often it does so where nothing calls for it. Needs no model.

Inputs: `completions` (a sampling folder), `suite` (its prompt file, which says whether its prompts are questions) and `phrases` (the
phrases of one language), so that an edited list is another key. Outputs: labels.csv (a row a completion, with the words that
declined), prompts.csv, metrics.json.
"""

from __future__ import annotations

from pydantic import Field

from configs.fields import Name, Section
from configs.shipped import CONFIGS
from tasks.contract import Measure, Stage
from tasks.evaluations import COMPLETIONS, SUITE, Evaluation, Given, NamedFile
from tasks.evaluations.refusal.phrases import load_phrases

PHRASES = CONFIGS / "words" / "refusal.yaml"  # the English ones
NEUTRAL = "neutral"  # the kind of prompt that calls for no refusal


class Refusal(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    phrases: str | None = Field(
        None, description="file of refusal phrases, relative to this file; default: the shipped English ones"
    )


STAGE = Stage(name="refusal", version="2", body="tasks.evaluations.refusal.body:run")


def measures(section: Refusal, suite: str, given: Given) -> list[Measure]:
    found = [
        Measure("refused", "answers that decline or evade", outcome=True, drawn=True),
        Measure("declined", "answers that decline", outcome=True),
        Measure("evaded", "answers that evade", outcome=True),
    ]
    if suite in given.suites and any(prompt.kind == NEUTRAL for prompt in given.suites[suite][1].prompts):
        found.append(Measure("over_refused", "refusals of neutral prompts", drawn=True))
    return found


EVALUATION = Evaluation(
    asked="refusal",
    section=Refusal,
    stage=STAGE,
    settings=lambda section, given: None,  # what there is to choose lies in the file of phrases
    reads=(COMPLETIONS, SUITE),
    files={"phrases": NamedFile("phrases", lambda calibration: PHRASES, lambda path, section: load_phrases(path))},
    measures=measures,
    title="Refusals",
    lead="Answers that say they will not or cannot answer, and answers that say nothing, told by a list of phrases. An answer that rejects what "
    "a prompt takes for granted is an answer. On neutral prompts nothing calls for a refusal.",
)
