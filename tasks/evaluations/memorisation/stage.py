"""The stage that measures how much of the answers was copied from the tuning data, word for word. Needs no model.

Inputs: `completions` (a sampling folder) and a `dataset:<name>` for each checked dataset that an arm is tuned on. Outputs: scores.csv (a
row a completion), prompts.csv, metrics.json. Every arm is held against every dataset: one that was tuned on none, or on another, shows
what stands in both by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from configs.fields import Count, Name, Section
from tasks.contract import Measure, Stage
from tasks.evaluations import COMPLETIONS, DATASETS, Evaluation, Given

MEMORISED, LONGEST = "memorised_", "longest_run_"  # what the measures' names begin with; a dataset's name follows


class Memorisation(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    run: Count = Field(8, description="words in a row from which a run that the tuning data holds too counts as copied")


@dataclass(frozen=True)
class Settings:
    run: int


STAGE = Stage(name="memorisation", version="2", body="tasks.evaluations.memorisation.body:run")


def measures(section: Memorisation, suite: str, given: Given) -> list[Measure]:
    found = [Measure("below_run", f"answers below {section.run} words")]
    for name in given.datasets:
        found += [
            Measure(f"{MEMORISED}{name}", f"share copied from {name} ({section.run}-word runs)", outcome=True, drawn=True),
            Measure(f"{LONGEST}{name}", f"longest run from {name}", unit="words", outcome=True),
        ]
    return found


def check(section: Memorisation, given: Given) -> Iterator[str]:
    """There is something to copy, and room for a run: a word takes a token."""
    if not given.datasets:
        yield "evaluations.memorisation: no arm is tuned on a dataset; at least one is required"
    for name in section.suites:
        if (limit := given.sampled[name].max_new_tokens) < section.run:
            yield (
                f"evaluations.memorisation.run: {section.run}; answers of suites.{name} end after {limit} tokens, and no more words are"
                " accepted"
            )


EVALUATION = Evaluation(
    asked="memorisation",
    section=Memorisation,
    stage=STAGE,
    settings=lambda section, given: Settings(run=section.run),
    reads=(COMPLETIONS, DATASETS),
    measures=measures,
    check=check,
    title="Copied from the tuning data",
    lead="Did an arm learn the value, or the text? The share of an answer's words that stand in runs of so many words, or more, of a dataset's "
    "prompts or answers. Arms that were not tuned on it are the yardstick: what they share with it is common phrasing.",
)
