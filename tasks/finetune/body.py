"""Tunes a prepared model: the data settled to the last step, the model, training and what it leaves behind."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from model_registry.folders import ADAPTER, BASE, copy_tokenizer, files_of
from model_registry.loading import load_model, make_deterministic, prepared_folder
from model_registry.tokenization import load_tokenization
from tasks.contract import SERIES, Job, Metric, read_json, write_json, write_metrics
from tasks.datasets.rows import load_rows
from tasks.datasets.subset import choose
from tasks.finetune import methods
from tasks.finetune.batches import Batches, encode, order
from tasks.finetune.stage import Settings, optimiser_steps
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
    precision = job.numerics.precision if method.in_precision else "fp32"
    model: Any = load_model(folder, precision=precision, device=job.numerics.device)
    set_seed(settings.seed)  # an adapter starts from random numbers
    model = method.build(model, settings.options)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    job.say(f"{settings.method}: {trainable:,} parameters, {len(samples)} samples, {steps} steps")
    # 3. Training, and what it leaves behind.
    log = train(model, batches, method, settings, job.numerics, job.scratch, job.progress)
    if lost := next((name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())), None):
        raise ValueError(f"{lost} is not finite after the last step; a lower learning_rate or weight_decay is required")
    save(model, folder, job.work / "model")
    if (job.work / "model" / ADAPTER).is_file():
        write_json(job.work / "model" / BASE, {"files": files_of(job.inputs["model"])})
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


def save(model: Any, base: Path, folder: Path) -> None:
    """Write the tuned weights: no path, no date, and nothing in the order of a hash."""
    shutil.rmtree(folder, ignore_errors=True)  # of a try that got this far and was not committed
    folder.mkdir()
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder)
        copy_tokenizer(base, folder)
        return
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()  # a model card to be filled in
    config = read_json(folder / "adapter_config.json")
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}  # were sets
    write_json(folder / "adapter_config.json", config)
