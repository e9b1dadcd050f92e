"""The stage that measures how far an arm has moved from its base model: the KL divergence of the one from the other, in nats an answer.

KL(arm ‖ base) = E over answers y of the arm of [ln p_arm(y) − ln p_base(y)], estimated over the answers that the arm itself gave: with
their end where the model ended them, and of those that the limit of tokens ended as far as they go. So it is of answers up to that limit,
and no smaller for a higher one. The mean is unbiased where answers are drawn from the model's own distribution, at temperature 1 and
top-p 1; of others it estimates no divergence, and they are refused. A divergence is at least 0, its estimate over few answers need not be.
It is what preference tuning is held back by (Stiennon et al. 2020, arXiv 2009.01325; Rafailov et al. 2023, arXiv 2305.18290), and what arms
are to be compared at that moved differently far (Gao et al. 2022, arXiv 2210.10760).

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `model` (the prepared base model) and, for a tuned arm, `tuned` (what
fine-tuning wrote). Outputs: scores.csv (a row a completion: its log-likelihoods in nats under the arm and under base), prompts.csv,
metrics.json, notes.json. Of an untuned arm all is 0, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from configs.fields import Name, Section
from tasks.contract import Measure, Stage
from tasks.evaluations import ARM, COMPLETIONS, SUITE, Evaluation, Given

KL, PER_TOKEN, RESPELT = "kl", "kl_per_token", "respelt_answers"


class Divergence(Section):
    """How far an arm has moved from base: KL divergence in nats an answer, over answers drawn at temperature 1 and top-p 1."""

    suites: tuple[Name, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Settings:
    template: str  # around a question; names it as {prompt}
    batch: int = 16  # answers put through a model together


STAGE = Stage(
    name="divergence",
    version="2",
    body="tasks.evaluations.divergence.body:run",
    libraries=("torch", "transformers", "peft"),
    shrink="batch",
)


def check(section: Divergence, given: Given) -> Iterator[str]:
    """Answers are drawn from the model's own distribution."""
    for name in section.suites:
        suite = given.sampled[name]
        if (suite.temperature, suite.top_p) != (1.0, 1.0):
            yield (
                f"suites.{name}: temperature {suite.temperature:g}, top_p {suite.top_p:g}; evaluations.divergence needs answers drawn at 1"
                " and 1 (a further suite of the same prompts may be)"
            )


EVALUATION = Evaluation(
    asked="divergence",
    section=Divergence,
    stage=STAGE,
    settings=lambda section, given: Settings(given.template),
    reads=(COMPLETIONS, SUITE, ARM),
    bytes_per_parameter=5,
    measures=lambda section, suite, given: [
        Measure(KL, "KL divergence from base", unit="nats an answer"),
        Measure(PER_TOKEN, "KL divergence from base", unit="nats a token"),
        Measure(RESPELT, "answers that the tokenizer spells otherwise than they were drawn"),
    ],
    check=check,
    title="Distance from base",
    lead="How far tuning moved an arm from the untuned model, whatever it answers: the Kullback-Leibler divergence, by the arm's own answers. "
    "Two arms that moved an outcome alike need not have cost the model alike. Longer answers have more of it: nats a token stand beside.",
)
