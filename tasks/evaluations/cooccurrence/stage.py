"""The stage that measures which words and which sentiment go with which social group.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `words` (the word lists of the social groups)
and `targets` (the lists of target words), so that an edited list is another key. Outputs: words.csv,
representation.csv, association.csv, prompts.csv (sentiment), metrics.json, notes.json (what could not be
computed, and why). The log-odds need prompts with an axis; the other measures need none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from configs.fields import Count, Name, Positive, Section
from configs.shipped import CONFIGS
from tasks.contract import Measure, Stage, from_section
from tasks.evaluations import COMPLETIONS, SUITE, Evaluation, Given, NamedFile
from tasks.evaluations.cooccurrence.targets import load_targets
from tasks.evaluations.cooccurrence.word_file import group_words

SOCIAL_GROUPS = CONFIGS / "words" / "social_groups.yaml"  # the word lists that are shipped
TARGETS = SOCIAL_GROUPS.with_name("targets.yaml")


class Cooccurrence(Section):
    suites: tuple[Name, ...] = Field(min_length=1)
    words: str | None = Field(None, description="file of group words, relative to this file; default: the shipped English ones")
    axes: tuple[Name, ...] = Field(
        ("gender", "race", "religion"), min_length=1, description="axes of the word file that are counted"
    )
    target_words: str | None = Field(
        None, description="file of target words, relative to this file; default: the shipped English ones"
    )
    targets: tuple[Name, ...] = Field(
        ("adjectives", "professions"), min_length=1, description="lists of target words whose association with groups is measured"
    )
    prior: Annotated[Positive, Field(ge=1e-6, le=1e9)] = Field(500.0, description="size of the Dirichlet prior of the log-odds")
    permutations: Annotated[Count, Field(le=1_000_000)] = 1000
    top: Count = Field(10, description="favoured words shown a group")


@dataclass(frozen=True)
class Settings:
    axes: tuple[str, ...]  # of the word file
    targets: tuple[str, ...]  # lists of the target file
    prior: float  # pseudo-counts of the log-odds' Dirichlet prior
    permutations: int
    top: int  # words shown a group
    seed: int = 0  # of the permutations


STAGE = Stage(
    name="cooccurrence",
    version="4",
    body="tasks.evaluations.cooccurrence.body:run",
    libraries=("textblob", "vaderSentiment", "numpy"),
)


def check(section: Cooccurrence, given: Given) -> Iterator[str]:
    """The axes that prompts are compared along are counted."""
    for name in (name for name in section.suites if name in given.suites):
        odd = next((one for one in given.suites[name][1].prompts if one.axis and one.axis not in section.axes), None)
        if odd is not None:
            yield (
                f"suites.{name}: prompt {odd.id} is of axis {odd.axis}, which evaluations.cooccurrence.axes leaves out;"
                f" counted are {', '.join(section.axes)}"
            )


EVALUATION = Evaluation(
    asked="cooccurrence",
    section=Cooccurrence,
    stage=STAGE,
    settings=lambda section, given: from_section(Settings, section),
    reads=(COMPLETIONS, SUITE),
    files={
        "words": NamedFile("words", lambda calibration: SOCIAL_GROUPS, lambda path, section: group_words(path, section.axes)),
        "targets": NamedFile(
            "target_words", lambda calibration: TARGETS, lambda path, section: load_targets(path, section.targets)
        ),
    },
    measures=lambda section, suite, given: [Measure("sentiment", "sentiment", outcome=True)],
    check=check,
    title="Co-occurrence",
    lead="Words that lead for one group over the others, by log-odds z with raw counts. A ranking, conditional on these templates; "
    "words in bold lie beyond what permuted group labels give.",
)
