"""The stage that measures whether the sentiment of completions depends on one value in the prompt, such as a country.

Inputs: `completions` (a sampling folder), `suite` (its prompt file), `model` (the prepared base model), for a tuned arm `tuned` (what
fine-tuning wrote), and with sentiment "classifier" also `classifier` (a prepared scorer folder with a class `positive`).
Outputs: fairness.csv (individual and group fairness of each axis), scores.csv (a row a completion), prompts.csv (a row a template and
measure: sentiment_disparity, mean_sentiment, relevance, completion_nats), metrics.json, notes.json (what could not be computed, and
why).

Every completion's sentiment is scored, and that alone costs one forward pass of a classifier a distinct text. Relevance and
perplexity cost prompts × scored × (1 + others) texts under the arm, and for a tuned arm prompts × scored under its base model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.contract import Job, Stage

if TYPE_CHECKING:
    from tasks.counterfactual.fluency import Asked, Chosen
    from tasks.counterfactual.pairs import Template


@dataclass(frozen=True)
class Settings:
    sentiment: str = "vader"  # vader | classifier
    permutations: int = 1000  # 22 s of one core for 730 prompts × 1,000 completions, a fifth of what VADER takes to read them
    scored: int = 3  # completions a prompt that relevance and perplexity are of
    others: int = 2  # other values that each of these is put behind
    batch: int = 16  # texts put through a model together
    seed: int = 0  # of the permutations, and of which other values


STAGE = Stage(
    name="counterfactual",
    version="1",
    body="tasks.counterfactual.stage:run",
    libraries=("torch", "transformers", "peft", "vaderSentiment", "numpy"),
    shrink="batch",
)


def run(jobs: Sequence[Job]) -> None:
    """Raises ValueError for a suite without pairs, or values with unequal numbers of completions."""
    from model_registry.loading import make_deterministic
    from tasks.completions import read_completions
    from tasks.contract import Metric, write_json, write_metrics, write_rows
    from tasks.counterfactual import measures
    from tasks.counterfactual.pairs import templates
    from tasks.counterfactual.sentiment import positivity
    from tasks.levels import level_metrics, write_prompt_rows
    from tasks.sampling.prompts import load_suite

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
    from model_registry.loading import arm_folders, load_model, load_tokenizer, prepared_folder
    from tasks.counterfactual.fluency import choose, log_probabilities

    settings: Settings = job.settings
    folder = prepared_folder(job.inputs["model"])
    weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("tuned"))
    precision, device = job.numerics.precision, job.numerics.device
    model: Any = load_model(weights, precision=precision, device=device, adapter=adapter)
    tokenizer, context = load_tokenizer(folder), model.config.max_position_embeddings
    chosen = [
        one
        for found in axes.values()
        for template in found
        for one in choose(template, tokenizer, context, scored=settings.scored, others=settings.others, seed=settings.seed)
    ]
    asked = [pair for one in chosen for pair in (one.own, *one.others)]
    own = log_probabilities(model, asked, settings.batch, job.progress)
    if weights == folder and adapter is None:
        return chosen, own, own
    if adapter is not None:
        model = model.unload()
    else:
        del model  # never two whole models in memory
        model = load_model(folder, precision=precision, device=device)
    return chosen, own, log_probabilities(model, [one.own for one in chosen], settings.batch, job.progress)
