"""Tunes a prepared model: the data settled to the last step, the model, training and what it leaves behind."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_registry.loading import make_deterministic, prepared_folder
from model_registry.tokenization import load_tokenization
from tasks.contract import SERIES, Job, Metric, write_json, write_metrics
from tasks.datasets.fold import split
from tasks.datasets.plain_texts import PlainText, load_plain_texts
from tasks.datasets.rows import load_rows
from tasks.datasets.subset import choose
from tasks.finetune import methods, ranks, sharding
from tasks.finetune.attributes import load_attributes
from tasks.finetune.batches import Batches, Sample, order
from tasks.finetune.counterfactuals import Pair, Read, cut, of_row, of_text, settle
from tasks.finetune.regularisers import EMBEDDING, Regulariser, fit
from tasks.finetune.stage import STEPS, TERM, WEIGHT, Settings, optimiser_steps
from tasks.finetune.start import keep
from tasks.finetune.training import train
from tasks.finetune.watching import watching


def run(jobs: Sequence[Job]) -> None:
    make_deterministic()
    for job in jobs:
        if job.numerics.shards == 1:
            tune(job)
            job.commit()
        else:
            peak_gib = ranks.together(job.numerics, job.scratch, lambda job=job: tune(sharding.own(job)))  # type: ignore[misc]
            job.commit(beside_gib=peak_gib)


def tune(job: Job) -> None:
    """Tune one model, in one process or as one of several ranks.

    Raises:
        ValueError: the subset cannot be had, a sample or text is longer than the model's context, there is nothing to regularise, or the loss
            is not finite.
    """
    settings: Settings = job.settings
    folder = prepared_folder(job.inputs["model"])
    words = load_tokenization(folder, methods.virtual_tokens(settings.options))
    turn = words.turn(settings.template)
    # 1. The data, settled to the last step.
    rows = choose(load_rows(job.inputs["dataset"] / "samples.jsonl"), settings.train_samples, settings.subset_seed)
    rows, fold = split(rows, settings.held_out, settings.seed) if settings.held_out else (rows, [])
    texts = load_plain_texts(job.inputs["texts"]) if "texts" in job.inputs else []
    reads = [of_row(row, words, turn, settings.prompt_loss_weight) for row in rows] + [of_text(text, words) for text in texts]
    samples = [read.encode(read.texts) for read in reads]
    held = [read.encode(read.texts) for read in (of_row(row, words, turn, settings.prompt_loss_weight) for row in fold)]
    a_pass = math.ceil(len(rows) / settings.batch)
    steps = optimiser_steps(settings)
    places = order(len(rows), settings.batch, steps, settings.seed)
    if texts:  # in an order of their own, behind the samples
        beside = order(len(texts), settings.batch, steps, settings.seed)
        places = [own + [len(rows) + place for place in more] for own, more in zip(places, beside, strict=True)]
    pairs = _pairs(job, reads, places)
    batches = Batches(
        samples,
        places,
        settings.micro_batch,
        words.end,
        lambda step: cut(pairs[step], settings.micro_batch, words.end),
        settings.micro_tokens,
        (sharding.rank(), sharding.ranks()),
    )
    # 2. The model, and what of it is trained.
    method = methods.found()[settings.method]
    model, gathered = sharding.begun(job, method)
    regulariser, told = _regulariser(settings, model, texts, samples[len(rows) :], words.end)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    job.say(f"{settings.method}: {trainable:,} parameters, {len(rows)} samples, {steps} steps")
    # 3. Training, and what it leaves behind.
    kept_steps = job.scratch / STEPS

    def keep_whole(folder: Path | None = None) -> None:
        with gathered() as whole:
            if whole is not None:
                keep(whole, job, folder)

    def passed(step: int, steps: int, unit: str) -> None:
        if step in settings.keep_steps:
            keep_whole(kept_steps / str(step))
        job.progress(step, steps, unit)

    watch = watching(job, model, words, method, held, a_pass)
    log = train(model, batches, method, settings, job.numerics, job.scratch, passed, regulariser, watch)
    kept = watch.settle() if watch else None
    keep_whole()
    if sharding.rank() > 0:
        return
    if settings.keep_steps:
        shutil.copytree(kept_steps, job.work / STEPS, dirs_exist_ok=True)
    names = ("loss", "learning_rate", "grad_norm", *(["fairness"] if regulariser else []))
    series = {name: [[row["step"], row[name]] for row in log if name in row] for name in names}
    write_json(job.work / SERIES, series | (watch.series() if watch else {}))
    steps = kept.step if kept else steps
    values = {
        "final_loss": sum(row["loss"] for row in log[:steps][-a_pass:]) / a_pass,  # the mean over the last pass that is kept
        "optimiser_steps": steps,
        "tokens_seen": sum(len(samples[place].tokens) for step in places[: len(log)] for place in step),
        "trainable_parameters": trainable,
    }
    if settings.fairness:
        terms = [row["fairness"] for row in log if "fairness" in row][-a_pass:]
        values |= {WEIGHT: settings.fairness.weight, TERM: sum(terms) / len(terms), "pairs": sum(map(len, pairs))}
    if watch and kept:
        values["stopped_after_steps"] = watch.stopped_at
        values |= {name: value for name in ("held_out_loss", "drift") if (value := getattr(kept, name)) is not None}
        job.say(f"kept: step {kept.step} of {watch.stopped_at} that were made, of {len(places)} planned")
    write_metrics(job.work, [*(Metric(name, value, len(rows)) for name, value in values.items()), *told])


def _pairs(job: Job, reads: Sequence[Read], places: Sequence[Sequence[int]]) -> list[list[Pair]]:
    """What is regularised at each step; nothing where there is no regulariser."""
    settings: Settings = job.settings
    if settings.fairness is None:
        return [[] for _ in places]
    return settle(reads, places, load_attributes(job.inputs["attributes"], settings.fairness.attributes), settings.seed)


def _regulariser(
    settings: Settings, model: Any, texts: Sequence[PlainText], samples: Sequence[Sample], filler: int
) -> tuple[Regulariser | None, list[Metric]]:
    """The regulariser that is asked for, over the model as it is before it is tuned, and how well its projection tells sentiment.
    `samples`: the texts as tokens."""
    if (asked := settings.fairness) is None:
        return None, []
    if asked.kind == EMBEDDING:
        return Regulariser(asked.weight, lambda states: states), []
    clear = [(sample, sign) for sample, text in zip(samples, texts, strict=True) if (sign := text.side) is not None]
    projection, accuracy, held_out = fit(model, clear, filler, settings.micro_batch, settings.seed)
    return Regulariser(asked.weight, projection), [Metric("projection_accuracy", accuracy, held_out)]
