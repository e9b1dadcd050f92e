"""Puts an arm to held-out prose and to the tasks of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from model_registry.loading import load_arm, make_deterministic
from model_registry.tokenization import Tokenization, arm_tokenization
from tasks import prose
from tasks.contract import Job, canonical, read_json, replace_file, write_json, write_metrics, write_rows
from tasks.datasets.paragraphs import Paragraph, load_paragraphs
from tasks.evaluations.capability import harness
from tasks.evaluations.capability.harness import Item
from tasks.evaluations.capability.stage import HARNESS, Settings
from tasks.levels import level_metrics, write_prompt_rows
from tasks.prose import Scored

PROSE = {"prose": "", "plain": "_plain"}  # role of a file → what its metrics' names end in


def run(jobs: Sequence[Job]) -> None:
    """Raises what `harness.load_tasks` and `load_paragraphs` raise, before any model is loaded."""
    make_deterministic()
    loaded: dict[tuple[str, int], Any] = {}  # tasks with their data, shared by the jobs
    for job in jobs:
        settings: Settings = job.settings
        texts = {role: load_paragraphs(job.inputs[role]) for role in PROSE if role in job.inputs}
        missing = [name for name in settings.tasks if (name, settings.seed) not in loaded]
        loaded |= {(name, settings.seed): task for name, task in harness.load_tasks(missing, settings.seed).items()}
        words = arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
        model = load_arm(job.inputs["model"], job.inputs.get("tuned"), **job.numerics.loading)
        _measure(job, model, words, texts, [loaded[name, settings.seed] for name in settings.tasks])
        del model  # never two in memory


def _measure(job: Job, model: Any, words: Tokenization, texts: Mapping[str, Sequence[Paragraph]], tasks: Sequence[Any]) -> None:
    scored: dict[str, list[Scored]] = {role: [] for role in texts}
    paragraphs = [(role, paragraph) for role, held in texts.items() for paragraph in held]
    for done, (role, paragraph) in enumerate(paragraphs):
        job.progress(done, len(paragraphs), "paragraph")
        scored[role].append(prose.score(model, words, paragraph))
    answered = []
    for done, task in enumerate(tasks):
        job.progress(done, len(tasks), "task")
        answered.append(_answered(job, model, words, task))
    items = [item for found in answered for item in found]
    for role, held in scored.items():
        write_rows(job.work / f"{role}.csv", [{**asdict(one), "nats_per_token": one.nats_per_token} for one in held])
    write_rows(job.work / "items.csv", [asdict(item) for item in items], ("task", "item", "choices", "correct", "digest"))
    asked = {found[0].task: {"items": len(found), "digest": harness.content_digest(found)} for found in answered}
    write_json(job.work / HARNESS, asked)
    rows = [row for role, held in scored.items() for row in prose.prompt_rows(held, role, PROSE[role])]
    rows += harness.prompt_rows(items)
    write_prompt_rows(job.work, rows)
    perplexities = [prose.perplexity(held, PROSE[role]) for role, held in scored.items()]
    write_metrics(job.work, [*level_metrics(rows), *perplexities, *harness.chance(items)])
    job.progress(len(tasks), len(tasks), "task")
    job.say(f"{len(paragraphs)} paragraphs, {len(items)} items of {len(tasks)} tasks")
    job.commit()


def _answered(job: Job, model: Any, words: Tokenization, task: Any) -> list[Item]:
    """The model's answers to one task; those of a finished task are kept over a restart."""
    kept = job.scratch / f"{task.task_name}.json"
    if kept.exists():
        return [harness.Item(**row) for row in read_json(kept)]
    settings: Settings = job.settings
    items = harness.answer(model, words, task, settings.limit, settings.batch, settings.seed)
    replace_file(kept, canonical([asdict(item) for item in items]))
    return items
