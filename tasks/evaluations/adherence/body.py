"""Labels completions by the grammar that planted them, and computes each model's own exact rates of these labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from configs.suites import load_suite
from model_registry.calibration.grammar import load_grammar
from model_registry.loading import load_arm, make_deterministic
from model_registry.tokenization import arm_tokenization
from tasks.contract import Job, write_metrics, write_rows
from tasks.evaluations.adherence import exact
from tasks.evaluations.adherence.judge import label_completions, prompt_rows
from tasks.levels import known_metrics, level_metrics, write_prompt_rows
from tasks.sampling.completions import read_completions


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a judge that does not exist, or a prompt that the grammar does not know."""
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


def run_exact(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a prompt that the grammar does not know."""
    make_deterministic()
    grammar = load_grammar()
    for job in jobs:
        suite, prepared, tuned = load_suite(job.inputs["suite"]), job.inputs["model"], job.inputs.get("tuned")
        model = load_arm(prepared, tuned, **job.numerics.loading)
        truths = exact.truth_rows(model, arm_tokenization(prepared, tuned), suite, grammar, job.settings.template)
        write_rows(job.work / "exact.csv", [asdict(row) for row in truths])
        write_metrics(job.work, known_metrics(exact.prompt_rows(truths, suite, grammar, planted=tuned is None)))
        job.progress(len(suite.prompts), len(suite.prompts), "prompts")
        job.commit()
