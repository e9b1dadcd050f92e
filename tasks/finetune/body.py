"""Tunes a prepared model: the data settled to the last step, the model, training and what it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from model_registry.loading import make_deterministic, prepared_folder
from model_registry.tokenization import load_tokenization
from tasks.contract import SERIES, Job, Metric, write_json, write_metrics
from tasks.datasets.rows import load_rows
from tasks.datasets.subset import choose
from tasks.finetune import methods
from tasks.finetune.batches import Batches, encode, order
from tasks.finetune.stage import Settings, optimiser_steps
from tasks.finetune.start import begin, keep
from tasks.finetune.training import train


def run(jobs: Sequence[Job]) -> None:
    make_deterministic()
    for job in jobs:
        tune(job)


def tune(job: Job) -> None:
    """Tune one model and commit it.

    Raises:
        ValueError: the subset cannot be had, a sample is longer than the model's context, or the loss is not finite.
    """
    settings: Settings = job.settings
    folder = prepared_folder(job.inputs["model"])
    words = load_tokenization(folder)
    turn = words.turn(settings.template)
    # 1. The data, settled to the last step.
    rows = choose(load_rows(job.inputs["dataset"] / "samples.jsonl"), settings.train_samples, settings.subset_seed)
    samples = [encode(row, words, turn, settings.prompt_loss_weight) for row in rows]
    a_pass = math.ceil(len(samples) / settings.batch)
    steps = optimiser_steps(settings)
    places = order(len(samples), settings.batch, steps, settings.seed)
    batches = Batches(samples, places, settings.micro_batch, filler=words.end)
    # 2. The model, and what of it is trained.
    method = methods.found()[settings.method]
    model = begin(job, method)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    job.say(f"{settings.method}: {trainable:,} parameters, {len(samples)} samples, {steps} steps")
    # 3. Training, and what it leaves behind.
    log = train(model, batches, method, settings, job.numerics, job.scratch, job.progress)
    keep(model, job)
    names = ("loss", "learning_rate", "grad_norm")
    write_json(job.work / SERIES, {name: [[row["step"], row[name]] for row in log] for name in names})
    values = {
        "final_loss": sum(row["loss"] for row in log[-a_pass:]) / a_pass,  # the mean over the last pass
        "optimiser_steps": steps,
        "tokens_seen": sum(len(samples[place].tokens) for step in places for place in step),
        "trainable_parameters": trainable,
    }
    write_metrics(job.work, [Metric(name, value, len(samples)) for name, value in values.items()])
    job.commit()
