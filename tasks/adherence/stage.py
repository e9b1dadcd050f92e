"""The stage that judges whether completions agree with the position statements, on the calibration ladder: by
the grammar.

Inputs: `completions` (a sampling folder) and `suite` (its prompt file). Outputs: labels.csv (a row a
completion), prompts.csv, metrics.json. Counterfactual and co-occurrence suites of the grammar are judged
alike, by their own labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.contract import Job, Stage


@dataclass(frozen=True)
class Settings:
    judge: str = "grammar"


STAGE = Stage(name="adherence", version="1", body="tasks.adherence.stage:run")


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a judge that does not exist, or a prompt that the grammar does not know."""
    from model_registry.calibration.grammar import load_grammar
    from tasks.adherence.judge import label_completions, prompt_rows
    from tasks.completions import read_completions
    from tasks.contract import write_metrics, write_rows
    from tasks.levels import level_metrics, write_prompt_rows
    from tasks.sampling.prompts import load_suite

    for job in jobs:
        if job.settings.judge != "grammar":
            raise ValueError(f'{job.label}: unknown judge "{job.settings.judge}"; "grammar" is the one there is')
        grammar, suite = load_grammar(), load_suite(job.inputs["suite"])
        completions = read_completions(job.inputs["completions"])
        labels = label_completions(completions, suite, grammar)
        rows = prompt_rows(completions, labels, suite, grammar)
        write_rows(
            job.work / "labels.csv",
            [
                {"prompt_id": row.prompt_id, "group": row.group, "repeat": row.repeat, "label": label}
                for row, label in zip(completions, labels, strict=True)
            ],
        )
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, level_metrics(rows))
        job.progress(len(completions), len(completions), "completions")
        job.commit()
