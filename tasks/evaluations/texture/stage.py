"""The stage that measures how answers are written: length, how they end, variety and repetition. Needs no model.

Inputs: `completions` (a sampling folder). Outputs: scores.csv (a row a completion), prompts.csv, metrics.json, notes.json (what could not
be computed, and why). The type-token ratio is in metrics.json alone: not every prompt has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from configs.fields import Count, Name, Section
from tasks.contract import Measure, Stage
from tasks.evaluations import COMPLETIONS, Evaluation, Given


class Texture(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    type_token_words: Count = Field(
        40, description="words of an answer that its type-token ratio is of, the first ones; shorter answers have none"
    )


@dataclass(frozen=True)
class Settings:
    type_token_words: int  # the default is the length of the shortest sample that PALMS published


STAGE = Stage(name="texture", version="2", body="tasks.evaluations.texture.body:run")


def measures(section: Texture, suite: str, given: Given) -> list[Measure]:
    return [
        Measure("length_words", "length of an answer", unit="words", outcome=True, drawn=True),
        Measure("cut_off", "answers cut off at the limit", outcome=True, drawn=True),
        Measure("repeated_lines", "repeated lines of an answer", outcome=True),
        Measure("distinct_1", "distinct-1 over a prompt's answers", outcome=True),
        Measure("distinct_2", "distinct-2 over a prompt's answers", outcome=True),
        Measure("type_token_ratio", f"type-token ratio of the first {section.type_token_words} words"),
        Measure("wordless_answers", "answers without a word"),
        Measure("below_type_token_words", f"answers below {section.type_token_words} words"),
    ]


def check(section: Texture, given: Given) -> Iterator[str]:
    """An answer can be as long as its type-token ratio asks: a word takes a token."""
    for name in section.suites:
        if (limit := given.sampled[name].max_new_tokens) < section.type_token_words:
            yield (
                f"evaluations.texture.type_token_words: {section.type_token_words}; answers of suites.{name} end after {limit} tokens,"
                " and no more words are accepted"
            )


EVALUATION = Evaluation(
    asked="texture",
    section=Texture,
    stage=STAGE,
    settings=lambda section, given: Settings(type_token_words=section.type_token_words),
    reads=(COMPLETIONS,),
    measures=measures,
    check=check,
    title="Length and variety",
    lead="What tuning did to answers whatever they say: an arm that only answers shorter, or flatter, has not learned a value. Distinct-1 and "
    "-2 fall as answers grow longer; the type-token ratio is of equally many words of each answer, and has no paired difference, since "
    "shorter answers have none.",
)
