"""The fine-tuning stage: a prepared model tuned on a dataset, all of its weights or an adapter.

Reads `model` (a prepared model) and `dataset` (a checked dataset: a folder with samples.jsonl). Writes `model/` (the whole model with
its tokenizer, or the adapter alone), `metrics.json` and `series.json`; equal runs write equal bytes, interrupted or not.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.contract import SERIES, Job, Metric, Stage, read_json, write_json, write_metrics

STAGE = Stage(
    name="finetune",
    version="1",
    body="tasks.finetune.stage:run",
    libraries=("torch", "transformers", "peft", "accelerate"),
    shrink="micro_batch",
)


@dataclass(frozen=True)
class Settings:
    """How a model is tuned. `micro_batch` rows go through the model at once; the last bits depend on it."""

    method: str  # full | lora
    epochs: int
    min_steps: int  # optimiser steps, where the epochs give fewer
    learning_rate: float
    batch: int
    micro_batch: int
    prompt_loss_weight: float  # of a prompt's tokens; a completion's count 1
    weight_decay: float
    warmup: float  # share of the steps
    schedule: str  # linear | cosine | constant
    max_grad_norm: float
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    template: str
    samples: int  # size of the nested subset
    seed: int


def run(jobs: Sequence[Job]) -> None:
    from model_registry.loading import make_deterministic

    make_deterministic()
    for job in jobs:
        tune(job)


def tune(job: Job) -> None:
    """Tune one model and commit it.

    Raises:
        ValueError: the subset cannot be had, a sample is longer than the model's context, or the loss is not finite.
    """
    from transformers import set_seed

    from model_registry.loading import load_model, load_tokenizer, prepared_folder
    from tasks.datasets.rows import load_rows
    from tasks.finetune.batches import Batches, encode, order
    from tasks.finetune.subset import choose
    from tasks.finetune.training import add_adapter, train
    from tasks.sampling.prompts import check_template

    settings: Settings = job.settings
    check_template(settings.template)
    folder = prepared_folder(job.inputs["model"])
    tokenizer = load_tokenizer(folder)
    # 1. The data, settled to the last step.
    rows = choose(load_rows(job.inputs["dataset"] / "samples.jsonl"), settings.samples)
    context = read_context(folder)
    samples = [encode(row, tokenizer, settings.template, settings.prompt_loss_weight, context) for row in rows]
    a_pass = math.ceil(len(samples) / settings.batch)
    steps = max(settings.min_steps, settings.epochs * a_pass)
    places = order(len(samples), settings.batch, steps, settings.seed)
    batches = Batches(samples, places, settings.micro_batch, tokenizer.pad_token_id)
    # 2. The model. Under bf16 the weights that are trained stay in fp32, where small updates are not rounded away.
    lora = settings.method == "lora"
    model: Any = load_model(folder, precision=job.numerics.precision if lora else "fp32", device=job.numerics.device)
    if lora:
        set_seed(settings.seed)  # the adapter starts from random numbers
        model = add_adapter(model, settings)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    job.say(f"{settings.method}: {trainable:,} parameters, {len(samples)} samples, {steps} steps")
    # 3. Training, and what it leaves behind.
    log = train(model, batches, settings, job.numerics, job.scratch, job.progress)
    save(model, folder, job.work / "model")
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


def read_context(folder: Path) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(str(folder), local_files_only=True).max_position_embeddings)


def save(model: Any, base: Path, folder: Path) -> None:
    """Write the tuned weights: no path, no date, and nothing in the order of a hash."""
    from model_registry.folders import TOKENIZER

    shutil.rmtree(folder, ignore_errors=True)  # of a try that got this far and was not committed
    folder.mkdir()
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder)
        for name in TOKENIZER:
            if (base / name).is_file():
                shutil.copyfile(base / name, folder / name)
        return
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()  # a model card to be filled in
    config = read_json(folder / "adapter_config.json")
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}  # were sets
    write_json(folder / "adapter_config.json", config)
