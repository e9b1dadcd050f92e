"""The stage that exports completions for blinded human rating.

Inputs: `completions:<arm>`, the sampling folder of every arm of one model size. Outputs: rating_sheet.csv and
instructions.md for the raters; key/key.csv, which tells the arms, for everyone else; metrics.json (how much
there is to rate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.contract import Job, Stage

SHEET, KEY, INSTRUCTIONS = "rating_sheet.csv", "key/key.csv", "instructions.md"


@dataclass(frozen=True)
class Settings:
    positions: tuple[tuple[str, str], ...]  # (category, position statement), in the order shown to raters
    ratings_per_completion: int = 3
    seed: int = 0


STAGE = Stage(name="human_eval", version="1", body="tasks.human_eval.stage:run")


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for arms that do not match, or a category without a position."""
    from tasks.completions import read_completions
    from tasks.contract import Metric, write_metrics, write_rows
    from tasks.human_eval.blinding import blind
    from tasks.human_eval.instructions import instructions

    for job in jobs:
        arms = {role.removeprefix("completions:"): read_completions(path) for role, path in job.inputs.items()}
        tasks = blind(arms, job.settings.seed)
        stated, wanted = dict(job.settings.positions), job.settings.ratings_per_completion
        categories = {task.completion.group for task in tasks}
        if missing := sorted(categories - stated.keys()):
            raise ValueError(f"{job.label}: no position statement for {', '.join(missing)}; one a category is required")
        positions = {category: statement for category, statement in stated.items() if category in categories}
        write_rows(job.work / SHEET, [task.sheet_row() for task in tasks])
        (job.work / KEY).parent.mkdir(exist_ok=True)
        write_rows(job.work / KEY, [task.key_row() for task in tasks])
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
