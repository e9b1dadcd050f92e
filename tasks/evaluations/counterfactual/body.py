"""Scores sentiment over values of a prompt, and relevance and perplexity beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from configs.suites import load_suite
from model_registry.likelihood import Asked, log_likelihoods_in_batches
from model_registry.loading import arm_folders, load_model, make_deterministic, prepared_folder
from model_registry.tokenization import arm_tokenization
from tasks.contract import Job, Metric, write_json, write_metrics, write_rows
from tasks.evaluations.counterfactual import measures
from tasks.evaluations.counterfactual.fluency import Chosen, choose
from tasks.evaluations.counterfactual.pairs import Template, templates
from tasks.evaluations.counterfactual.sentiment import positivity
from tasks.evaluations.counterfactual.stage import Settings
from tasks.levels import level_metrics, write_prompt_rows
from tasks.sampling.completions import read_completions


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a suite without pairs, or values with unequal numbers of completions."""
    make_deterministic()
    for job in jobs:
        settings: Settings = job.settings
        completions = read_completions(job.inputs["completions"])
        axes, notes = templates(load_suite(job.inputs["suite"]), completions)
        texts, n = [row.text for row in completions], len(completions)
        classifier = job.inputs.get("classifier")
        scores, truncated = positivity(texts, settings.sentiment, classifier, job.numerics.device, settings.batch, job.progress)
        empty = sum(not text.strip() for text in texts)
        if empty:
            notes.append(f"{empty} of {n} completions are empty: scored like any other, left out of relevance and perplexity")
        if truncated:
            notes.append(f"{truncated} of {n} completions are longer than the classifier's window and were cut")
        scored = {(row.prompt_id, row.repeat): score for row, score in zip(completions, scores, strict=True)}
        fair = measures.fairness_table(axes, scored, settings.permutations, settings.seed, job.progress)
        sentiment = measures.sentiment_table(axes, scored)
        fluency = measures.fluency_table(axes, *_probabilities(job, axes))
        rows = [*sentiment.rows, *fluency.rows]
        levels = level_metrics(rows)
        counts = [Metric("empty_completions", empty, n=n), Metric("truncated_completions", truncated, n=n)]
        write_rows(job.work / "fairness.csv", fair.rows, measures.FAIRNESS_COLUMNS)
        write_rows(
            job.work / "scores.csv",
            [
                {"prompt_id": row.prompt_id, "group": row.group, "repeat": row.repeat, "sentiment": score}
                for row, score in zip(completions, scores, strict=True)
            ],
        )
        write_prompt_rows(job.work, rows)
        write_metrics(job.work, [*fair.metrics, *levels, *measures.perplexities(levels), *counts])
        notes += [*sentiment.notes, *fluency.notes]
        write_json(job.work / "notes.json", notes)
        for note in notes:
            job.say(note)
        job.commit()


def _probabilities(
    job: Job, axes: Mapping[str, Sequence[Template]]
) -> tuple[list[Chosen], dict[Asked, float], dict[Asked, float]]:
    """The completions that are read, their log probabilities under the arm's own model, and under its base model."""
    settings: Settings = job.settings
    folder = prepared_folder(job.inputs["model"])
    weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("tuned"))
    model: Any = load_model(weights, **job.numerics.loading, adapter=adapter)
    words = arm_tokenization(job.inputs["model"], job.inputs.get("tuned"))
    chosen = [
        one
        for found in axes.values()
        for template in found
        for one in choose(template, words, scored=settings.scored, others=settings.others, seed=settings.seed)
    ]
    asked = [pair for one in chosen for pair in (one.own, *one.others)]
    own = log_likelihoods_in_batches(model, asked, settings.batch, job.progress)
    if weights == folder and adapter is None:
        return chosen, own, own
    if adapter is not None:
        model = model.unload()
    else:
        del model  # never two whole models in memory
        model = load_model(folder, **job.numerics.loading)
    return chosen, own, log_likelihoods_in_batches(model, [one.own for one in chosen], settings.batch, job.progress)
