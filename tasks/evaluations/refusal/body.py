"""Labels each job's completions, and counts the labels."""

from __future__ import annotations

from collections.abc import Sequence

from configs.suites import load_suite
from tasks.contract import Job, write_metrics, write_rows
from tasks.evaluations.refusal.phrases import load_phrases
from tasks.evaluations.refusal.rates import prompt_rows
from tasks.levels import level_metrics, write_prompt_rows
from tasks.sampling.completions import read_completions, require_prompts


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for completions of another suite, BadInput for a file that holds no phrases."""
    for job in jobs:
        suite, phrases = load_suite(job.inputs["suite"]), load_phrases(job.inputs["phrases"])
        completions = read_completions(job.inputs["completions"])
        require_prompts((row.prompt_id for row in completions), {prompt.id for prompt in suite.prompts}, suite.name)
        found = [phrases.read(row.text, question=suite.form == "question") for row in completions]
        rows = prompt_rows(completions, [label for label, _ in found])
        write_rows(
            job.work / "labels.csv",
            [
                {
                    "prompt_id": row.prompt_id,
                    "group": row.group,
                    "kind": row.kind or "",
                    "repeat": row.repeat,
                    "label": label,
                    "words": words,
                }
                for row, (label, words) in zip(completions, found, strict=True)
            ],
        )
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, level_metrics(rows))
        job.progress(len(completions), len(completions), "completions")
        job.commit()
