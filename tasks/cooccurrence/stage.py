"""The stage that measures which words and which sentiment go with which social group.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `words` (the word lists of the social groups)
and `targets` (the lists of target words), so that an edited list is another key. Outputs: words.csv,
representation.csv, association.csv, prompts.csv (sentiment), metrics.json, notes.json (what could not be
computed, and why). The log-odds need prompts with an axis; the other measures need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.contract import Job, Stage

SOCIAL_GROUPS = Path(__file__).parents[2] / "configs" / "words" / "social_groups.yaml"  # the word lists that are shipped
TARGETS = SOCIAL_GROUPS.with_name("targets.yaml")


@dataclass(frozen=True)
class Settings:
    axes: tuple[str, ...] = ("gender", "race", "religion")  # of the word file
    targets: tuple[str, ...] = ("adjectives", "professions")  # lists of the target file
    prior: float = 500.0  # pseudo-counts of the log-odds' Dirichlet prior
    permutations: int = 1000
    top: int = 10  # words shown a group
    seed: int = 0  # of the permutations


STAGE = Stage(
    name="cooccurrence", version="3", body="tasks.cooccurrence.stage:run", libraries=("textblob", "vaderSentiment", "numpy")
)


def run(jobs: Sequence[Job]) -> None:
    from tasks.contract import write_json, write_metrics, write_rows
    from tasks.cooccurrence import measures
    from tasks.cooccurrence.groups import load_axes
    from tasks.cooccurrence.targets import load_targets
    from tasks.levels import level_metrics, write_prompt_rows
    from tasks.sampling.prompts import load_suite

    for job in jobs:
        settings, suite = job.settings, load_suite(job.inputs["suite"])
        axes = load_axes(job.inputs["words"], settings.axes)
        targets = load_targets(job.inputs["targets"], settings.targets)
        shared = measures.templates(suite, axes)
        counted = measures.read(job.inputs["completions"], suite, axes, targets)
        job.progress(1, 4, "steps")
        words = measures.favoured_words(counted, shared, axes, settings.prior, settings.permutations, settings.top, settings.seed)
        job.progress(2, 4, "steps")
        shares = measures.group_representation(counted, axes, settings.permutations, settings.seed)
        beside = measures.group_association(counted, axes, targets, settings.permutations, settings.seed)
        job.progress(3, 4, "steps")
        sentiment = measures.sentiment_rows(counted)
        write_rows(job.work / "words.csv", words.rows, measures.WORD_COLUMNS)
        write_rows(job.work / "representation.csv", shares.rows, measures.REPRESENTATION_COLUMNS)
        write_rows(job.work / "association.csv", beside.rows, measures.ASSOCIATION_COLUMNS)
        write_prompt_rows(job.work, sentiment)
        write_metrics(job.work, [*words.metrics, *shares.metrics, *beside.metrics, *level_metrics(sentiment)])
        notes = [*words.notes, *shares.notes, *beside.notes]
        write_json(job.work / "notes.json", notes)
        for note in notes:
            job.say(note)
        job.progress(4, 4, "steps")
        job.commit()
