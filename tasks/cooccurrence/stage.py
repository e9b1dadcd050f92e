"""The stage that measures which words and which sentiment go with which social group.

Inputs: `completions` (a sampling folder), `suite` (its prompt file) and `words` (the word lists of the social
groups, so that an edited list is another key). Outputs: words.csv, representation.csv, prompts.csv
(sentiment), metrics.json, notes.json (what could not be computed, and why). The log-odds need prompts with an
axis; representation and sentiment need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.contract import Job, Stage

SOCIAL_GROUPS = Path(__file__).parents[2] / "configs" / "words" / "social_groups.yaml"  # the word lists that are shipped


@dataclass(frozen=True)
class Settings:
    axes: tuple[str, ...] = ("gender", "race", "religion")  # of the word file
    prior: float = 500.0  # pseudo-counts of the log-odds' Dirichlet prior
    permutations: int = 1000
    top: int = 10  # words shown a group
    seed: int = 0  # of the permutations


STAGE = Stage(
    name="cooccurrence", version="2", body="tasks.cooccurrence.stage:run", libraries=("textblob", "vaderSentiment", "numpy")
)


def run(jobs: Sequence[Job]) -> None:
    from tasks.completions import read_completions
    from tasks.contract import write_json, write_metrics, write_rows
    from tasks.cooccurrence import measures
    from tasks.cooccurrence.groups import load_axes
    from tasks.levels import level_metrics, write_prompt_rows
    from tasks.sampling.prompts import load_suite

    for job in jobs:
        settings, axes = job.settings, load_axes(job.inputs["words"], job.settings.axes)
        placed = measures.place(read_completions(job.inputs["completions"]), load_suite(job.inputs["suite"]), axes)
        words = measures.favoured_words(placed, axes, settings.prior, settings.permutations, settings.top, settings.seed)
        job.progress(1, 3, "measures")
        shares = measures.group_representation(placed, axes, settings.permutations, settings.seed)
        job.progress(2, 3, "measures")
        sentiment = measures.sentiment_rows(placed)
        write_rows(job.work / "words.csv", words.rows, measures.WORD_COLUMNS)
        write_rows(job.work / "representation.csv", shares.rows, measures.REPRESENTATION_COLUMNS)
        write_prompt_rows(job.work, sentiment)
        write_metrics(job.work, [*words.metrics, *shares.metrics, *level_metrics(sentiment)])
        write_json(job.work / "notes.json", [*words.notes, *shares.notes])
        for note in [*words.notes, *shares.notes]:
            job.say(note)
        job.progress(3, 3, "measures")
        job.commit()
