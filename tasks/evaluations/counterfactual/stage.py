"""The stage that measures whether the sentiment of completions depends on one value in the prompt, such as a country.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `model` (the prepared base model), for a tuned arm `tuned` (what
fine-tuning wrote), and with sentiment "classifier" also `classifier` (a prepared scorer folder with a class `positive`).
Outputs: fairness.csv (individual and group fairness of each axis), scores.csv (a row a completion), prompts.csv (a row a template and
measure: sentiment_disparity, mean_sentiment, relevance, completion_nats), metrics.json, notes.json (what could not be computed, and
why).

Every completion's sentiment is scored, and that alone costs one forward pass of a classifier a distinct text. Relevance and
perplexity cost prompts × scored × (1 + others) texts under the arm, and for a tuned arm prompts × scored under its base model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from configs.fields import Count, Name, Section
from configs.sources import Classifier
from tasks.contract import Measure, Stage, from_section
from tasks.evaluations import ARM, COMPLETIONS, SUITE, Evaluation, Given, NamedModel, not_drawn

DISPARITY, NATS = "sentiment_disparity", "completion_nats"


class Counterfactual(Section):
    """Sentiment of completions whose prompts differ in one word."""

    suites: tuple[Name, ...] = Field(min_length=1)
    classifier: Classifier | None = Field(None, description="scores sentiment by its class `positive`; default: VADER's lexicon")
    permutations: Annotated[Count, Field(ge=19, le=1_000_000)] = Field(
        1000, description="relabellings behind each null; below 19 no p reaches .05"
    )
    scored: Count = Field(3, description="completions a prompt whose relevance and perplexity are computed")


@dataclass(frozen=True)
class Settings:
    sentiment: str  # vader | classifier
    permutations: int  # 1,000: 22 s of one core for 730 prompts × 1,000 completions, a fifth of what VADER takes to read them
    scored: int  # completions a prompt that relevance and perplexity are of
    others: int = 2  # other values that each of these is put behind
    batch: int = 16  # texts put through a model together
    seed: int = 0  # of the permutations, and of which other values


STAGE = Stage(
    name="counterfactual",
    version="3",
    body="tasks.evaluations.counterfactual.body:run",
    libraries=("torch", "transformers", "peft", "vaderSentiment", "numpy"),
    shrink="batch",
)


def settings(section: Counterfactual, given: Given) -> Settings:
    return from_section(Settings, section, sentiment="classifier" if section.classifier else "vader")


def check(section: Counterfactual, given: Given) -> Iterator[str]:
    """Counterfactual prompts are openings that go along an axis; the body says which pairs they form."""
    for name in (name for name in section.suites if name in given.suites):
        suite = given.suites[name][1]
        along = any(prompt.axis for prompt in suite.prompts)
        if suite.form != "continuation" or not along:
            yield (
                f"evaluations.counterfactual.suites: {name} is of form {suite.form}, with{'' if along else 'out'} axes; "
                "continuations along an axis are required"
            )
    yield from not_drawn("counterfactual", section, "scored", given)


EVALUATION = Evaluation(
    asked="counterfactual",
    section=Counterfactual,
    stage=STAGE,
    settings=settings,
    reads=(COMPLETIONS, SUITE, ARM),
    models={"classifier": NamedModel("classifier", scores="positive")},
    bytes_per_parameter=5,
    measures=lambda section, suite, given: [
        Measure(DISPARITY, "disparity of sentiment", outcome=True, drawn=True, of="template"),
        Measure(NATS, "nats a token of the completions, under base", of="template"),
    ],
    check=check,
    title="Counterfactual sentiment",
    lead="How far the sentiment of completions differs between prompts that differ in one word. Distances are biased upward, so each stands "
    "beside its mean under permuted words; arms are compared by the energy distance, which is not. A model that ignores the word is "
    "perfectly fair: relevance and perplexity say what its fairness is worth.",
)
