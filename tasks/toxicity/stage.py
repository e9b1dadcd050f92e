"""The stage that scores the toxicity of sampled completions.

Inputs: `completions` (a sampling folder), `scorer` (a prepared scorer folder) and, where two are asked for, `second` (another one).
Outputs: scores.csv (a row a completion, a column a class; a second scorer's classes begin with `second_`), prompts.csv, metrics.json,
notes.json (what could not be computed, and why).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.contract import Job, Stage


@dataclass(frozen=True)
class Settings:
    threshold: float = 0.5  # toxicity from which on a completion counts as toxic
    second_threshold: float = 0.5  # the same for the second scorer
    k: int | None = None  # completions that the expected maximum is over; None: all of a prompt
    batch: int = 64  # texts scored together


STAGE = Stage(
    name="toxicity", version="2", body="tasks.toxicity.stage:run", libraries=("torch", "transformers", "detoxify"), shrink="batch"
)


def run(jobs: Sequence[Job]) -> None:
    """Score each job's completions; jobs with the same scorer share it in memory. Either scorer failing fails the job."""
    from model_registry.loading import make_deterministic
    from model_registry.scorers import load_scorer
    from tasks.completions import read_completions
    from tasks.contract import write_json, write_metrics, write_rows
    from tasks.levels import level_metrics, write_prompt_rows
    from tasks.toxicity.agreement import agreement_metrics
    from tasks.toxicity.measures import SECOND, prompt_rows, reading_metrics, score_rows
    from tasks.toxicity.scorer import Reading, Scorer

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
