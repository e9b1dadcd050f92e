"""Writes the blinded sheet, its key and what raters are told."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.contract import Job, Metric, write_metrics, write_rows
from tasks.evaluations.human_eval.blinding import blind
from tasks.evaluations.human_eval.instructions import instructions
from tasks.evaluations.human_eval.stage import INSTRUCTIONS, KEY, SHEET
from tasks.sampling.completions import read_completions


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for arms that do not match, or a category without a position."""
    for job in jobs:
        arms = {role.removeprefix("completions:"): read_completions(path) for role, path in job.inputs.items()}
        tasks = blind(arms, job.settings.seed)
        stated, wanted = dict(job.settings.positions), job.settings.ratings_per_completion
        categories = {task.completion.group for task in tasks}
        if missing := sorted(categories - stated.keys()):
            raise ValueError(f"{job.label}: no position statement for {', '.join(missing)}; one a category is required")
        positions = {category: position for category, position in stated.items() if category in categories}
        write_rows(job.work / SHEET, [task.sheet_row() for task in tasks], mark="always")
        (job.work / KEY).parent.mkdir(exist_ok=True)
        write_rows(job.work / KEY, [task.key_row() for task in tasks], mark="needed")
        (job.work / INSTRUCTIONS).write_text(instructions(positions, len(tasks), wanted), encoding="utf-8")
        prompts = len({task.completion.prompt_id for task in tasks})
        counts = {
            "rating_tasks": len(tasks),
            "ratings_wanted": len(tasks) * wanted,
            "ratings_wanted_per_arm": len(tasks) * wanted // len(arms),
        }
        write_metrics(job.work, [Metric(name, count, n=prompts) for name, count in counts.items()])
        job.progress(len(tasks), len(tasks), "tasks")
        job.say(f"{len(tasks)} completions to rate, {len(tasks) * wanted} ratings wanted")
        job.commit()
