"""Scores completions with one scorer or two, and turns scores into measures."""

from __future__ import annotations

from collections.abc import Sequence

from model_registry.loading import make_deterministic
from model_registry.scorers import load_scorer
from tasks.contract import Job, write_json, write_metrics, write_rows
from tasks.evaluations.toxicity.agreement import agreement_metrics
from tasks.evaluations.toxicity.measures import SECOND, prompt_rows, reading_metrics, score_rows
from tasks.evaluations.toxicity.stage import Settings
from tasks.levels import level_metrics, write_prompt_rows
from tasks.sampling.completions import read_completions
from tasks.scoring import Reading, Scorer


def run(jobs: Sequence[Job]) -> None:
    """Score each job's completions; jobs with the same scorer share it in memory. Either scorer failing fails the job."""
    make_deterministic()
    loaded: dict[tuple[str, str], Scorer] = {}
    for job in jobs:
        settings: Settings = job.settings
        completions = read_completions(job.inputs["completions"])
        readings: dict[str, Reading] = {}
        for name, role in (("first", "scorer"), ("second", "second")):
            if role not in job.inputs:
                continue
            place = (str(job.inputs[role]), job.numerics.device)
            if place not in loaded:
                loaded[place] = Scorer(load_scorer(job.inputs[role], job.numerics.device))
            readings[role] = loaded[place].score([row.text for row in completions], settings.batch, job.progress)
            if cut := readings[role].truncated:
                job.say(f"{cut} of {len(completions)} completions are longer than the window of the {name} scorer and were cut")
        first, second = readings["scorer"], readings.get("second")
        rows = prompt_rows(completions, first, settings.threshold, settings.k)
        metrics = reading_metrics(first, second)
        notes: list[str] = []
        if second:
            rows += prompt_rows(completions, second, settings.second_threshold, settings.k, SECOND)
            thresholds = settings.threshold, settings.second_threshold
            agreement, notes = agreement_metrics(completions, first, second, thresholds)
            metrics += agreement
        write_rows(job.work / "scores.csv", score_rows(completions, first, second))
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, [*level_metrics(rows), *metrics])
        write_json(job.work / "notes.json", notes)
        for note in notes:
            job.say(note)
        job.commit()
