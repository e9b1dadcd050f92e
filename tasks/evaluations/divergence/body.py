"""Weighs each arm's answers by its base and by the arm's own model, one whole model in memory at a time: adapters are put on and off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from configs.suites import SLOT, load_suite
from model_registry.likelihood import log_likelihoods_in_batches
from model_registry.loading import arm_folders, load_model, make_deterministic, prepared_folder, put_adapter
from model_registry.tokenization import arm_tokenization
from tasks.contract import Job, Metric, write_json, write_metrics, write_rows
from tasks.evaluations.divergence.ratios import Weighed, prompt_rows, read
from tasks.evaluations.divergence.stage import RESPELT, Settings
from tasks.levels import level_metrics, write_prompt_rows
from tasks.sampling.body import ends
from tasks.sampling.completions import read_completions, require_prompts


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for completions of another suite, or of which it is not known what ended them."""
    make_deterministic()
    base: Any = None
    held: tuple[Any, ...] = ()  # what `base` was loaded from
    for job in jobs:
        settings: Settings = job.settings
        folder = prepared_folder(job.inputs["model"])
        weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("tuned"))
        suite, words = load_suite(job.inputs["suite"]), arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
        completions = read_completions(job.inputs["completions"])
        require_prompts((row.prompt_id for row in completions), {prompt.id for prompt in suite.prompts}, suite.name)
        turn = words.turn(settings.template if suite.form == "question" else SLOT)
        answers = read(completions, suite.name, words, turn)  # before a model is loaded
        asked = [one.asked for one in answers]

        load: Callable[..., Any] = partial(load_model, **job.numerics.loading)
        if base is None or held != (folder, job.numerics):
            base, held = None, (folder, job.numerics)
            base = load(folder)
        stops = ends(base, words, turn)
        weigh = partial(log_likelihoods_in_batches, asked=asked, batch=settings.batch, progress=job.progress, ends=stops)
        arm = of_base = weigh(base)
        if adapter is not None:
            adapted = put_adapter(base, adapter)
            arm = weigh(adapted)
            base = adapted.unload()
        elif weights != folder:
            base = None  # never two whole models in memory
            arm = weigh(load(weights))
        _write(job, [Weighed(one, arm[one.asked], of_base[one.asked]) for one in answers])
        job.commit()


def _write(job: Job, weighed: Sequence[Weighed]) -> None:
    rows, n = prompt_rows(weighed), len(weighed)
    respelt = sum(one.answer.respelt for one in weighed)
    notes = [f"{respelt} of {n} answers are weighed in other tokens than they were drawn in"] if respelt else []
    write_rows(
        job.work / "scores.csv",
        [
            {
                "prompt_id": one.answer.completion.prompt_id,
                "group": one.answer.completion.group,
                "kind": one.answer.completion.kind or "",
                "repeat": one.answer.completion.repeat,
                "tokens": one.answer.tokens,
                "arm_nats": one.arm_nats,
                "base_nats": one.base_nats,
                "log_ratio": one.log_ratio,
            }
            for one in weighed
        ],
    )
    write_prompt_rows(job.work, rows)
    write_metrics(job.work, [*level_metrics(rows), Metric(RESPELT, respelt, n=n)])
    write_json(job.work / "notes.json", notes)
    for note in notes:
        job.say(note)
