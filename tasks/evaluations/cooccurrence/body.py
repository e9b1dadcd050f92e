"""Counts words by social group in one pass over the completions, and turns counts into measures."""

from __future__ import annotations

from collections.abc import Sequence

from configs.suites import load_suite
from tasks.contract import Job, write_json, write_metrics, write_rows
from tasks.evaluations.cooccurrence import measures
from tasks.evaluations.cooccurrence.groups import load_axes
from tasks.evaluations.cooccurrence.targets import load_targets
from tasks.levels import level_metrics, write_prompt_rows


def run(jobs: Sequence[Job]) -> None:

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
