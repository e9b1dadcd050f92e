"""The stage that measures what a model can still do: how well it predicts neutral prose, and tasks of lm-evaluation-harness.

Inputs: `model` (a prepared model), `prose` (a JSON Lines file of paragraphs) and, for a tuned arm, `tuned` (what fine-tuning
wrote). Outputs: prose.csv (a row a paragraph), items.csv (a row an item), prompts.csv, harness.json (what each task asked) and
metrics.json: nats_per_token, perplexity, accuracy (by task) and chance. The verdict on an arm is the comparison's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tasks.contract import Job, Stage

if TYPE_CHECKING:
    from tasks.capability.harness import Item

GRAMMAR_TASK = "calibration_topics"  # made here from the calibration grammar; every other task is the harness's own
HARNESS = "harness.json"  # task → how many items it asked, and their digest


@dataclass(frozen=True)
class Settings:
    """`grammar` is the calibration grammar's digest where `calibration_topics` is among the tasks."""

    tasks: tuple[str, ...]
    limit: int | None = None  # items a task; None: all
    batch: int = 16  # requests scored together; the numbers' last bits depend on it
    seed: int = 0  # of tasks that shuffle
    grammar: str = ""


STAGE = Stage(
    name="capability",
    version="1",
    body="tasks.capability.stage:run",
    libraries=("torch", "transformers", "peft", "lm_eval"),
    shrink="batch",
)


def run(jobs: Sequence[Job]) -> None:
    """Raises what `harness.load_tasks` and `load_paragraphs` raise, before any model is loaded."""
    from model_registry.loading import load_arm, load_tokenizer, make_deterministic, prepared_folder
    from tasks.capability import harness
    from tasks.datasets.paragraphs import load_paragraphs

    make_deterministic()
    loaded: dict[tuple[str, int], Any] = {}  # tasks with their data, shared by the jobs
    for job in jobs:
        settings: Settings = job.settings
        paragraphs = load_paragraphs(job.inputs["prose"])
        missing = [name for name in settings.tasks if (name, settings.seed) not in loaded]
        loaded |= {(name, settings.seed): task for name, task in harness.load_tasks(missing, settings.seed).items()}
        folder = prepared_folder(job.inputs["model"])
        precision, device = job.numerics.precision, job.numerics.device
        model = load_arm(job.inputs["model"], job.inputs.get("tuned"), precision=precision, device=device)
        tokenizer = load_tokenizer(folder)
        _measure(job, model, tokenizer, paragraphs, [loaded[name, settings.seed] for name in settings.tasks])
        del model  # never two in memory


def _measure(job: Job, model: Any, tokenizer: Any, paragraphs: Sequence[Any], tasks: Sequence[Any]) -> None:
    from tasks.capability import harness, prose
    from tasks.contract import write_json, write_metrics, write_rows
    from tasks.levels import level_metrics, write_prompt_rows

    scored = []
    for done, paragraph in enumerate(paragraphs):
        job.progress(done, len(paragraphs), "paragraph")
        scored.append(prose.score(model, tokenizer, paragraph))
    answered = []
    for done, task in enumerate(tasks):
        job.progress(done, len(tasks), "task")
        answered.append(_answered(job, model, tokenizer, task))
    items = [item for found in answered for item in found]
    write_rows(job.work / "prose.csv", [{**asdict(one), "nats_per_token": one.nats_per_token} for one in scored])
    write_rows(job.work / "items.csv", [asdict(item) for item in items], ("task", "item", "choices", "correct", "digest"))
    asked = {found[0].task: {"items": len(found), "digest": harness.content_digest(found)} for found in answered}
    write_json(job.work / HARNESS, asked)
    rows = [*prose.prompt_rows(scored), *harness.prompt_rows(items)]
    write_prompt_rows(job.work, rows)
    write_metrics(job.work, [*level_metrics(rows), prose.perplexity(scored), *harness.chance(items)])
    job.progress(len(tasks), len(tasks), "task")
    job.say(f"{len(scored)} paragraphs, {len(items)} items of {len(tasks)} tasks")
    job.commit()


def _answered(job: Job, model: Any, tokenizer: Any, task: Any) -> list[Item]:
    """The model's answers to one task; those of a finished task are kept over a restart."""
    from tasks.capability import harness
    from tasks.contract import canonical, read_json, replace_file

    kept = job.scratch / f"{task.task_name}.json"
    if kept.exists():
        return [harness.Item(**row) for row in read_json(kept)]
    settings: Settings = job.settings
    items = harness.answer(model, tokenizer, task, settings.limit, settings.batch, settings.seed)
    replace_file(kept, canonical([asdict(item) for item in items]))
    return items
