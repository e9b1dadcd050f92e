"""The fine-tuning stage: a prepared model tuned on a dataset, all of its weights or an adapter.

Reads `model` (a prepared model) and `dataset` (a checked dataset: a folder with samples.jsonl). Writes `model/` (the whole model with
its tokenizer, or the adapter alone), `metrics.json` and `series.json`; equal runs write equal bytes, interrupted or not.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contract import Stage

STAGE = Stage(
    name="finetune",
    version="1",
    body="tasks.finetune.body:run",
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
