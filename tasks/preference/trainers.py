"""TRL's trainers over our tokens and checkpoints: which trainer a method is, and what each is given.

Knows what TRL 1.16 would do by itself and must not: make tokens of text in its own way, truncate them, recompute activations, take bf16 where
fp32 was asked for, write model cards. Optimiser, schedule, checkpoints and resuming are those of `tasks.finetune.training`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
)
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from tasks.contract import Job
from tasks.finetune.stage import Settings
from tasks.finetune.training import KeepsTrained, Progress, on_one_device, optimiser, quiet
from tasks.preference.guard import Watched
from tasks.preference.stage import RewardSettings
from tasks.preference.tokens import Encoded

IGNORED = -100  # a label that has no loss
REFERENCE = "ref"  # TRL's name for the adapter that is the start


class OnTokens(KeepsTrained):
    """What is given is tokens already, and a run leaves no card."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def create_model_card(self, *_: Any, **__: Any) -> None:
        pass


class Dpo(OnTokens, DPOTrainer):  # type: ignore[misc]
    pass


class Kto(OnTokens, KTOTrainer):  # type: ignore[misc]
    pass


class Orpo(OnTokens, ORPOTrainer):  # type: ignore[misc]
    def tokenize_row(self, feature: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
        row: dict[str, Any] = _masked("prompt", feature["prompt_ids"])
        for kind in ("chosen", "rejected"):
            row |= _masked(kind, feature["prompt_ids"] + feature[f"{kind}_ids"])
            row[f"{kind}_labels"] = [IGNORED] * len(feature["prompt_ids"]) + feature[f"{kind}_ids"]
        return row


class Reward(OnTokens, RewardTrainer):  # type: ignore[misc]
    pass


class Answering(OnTokens):
    """A trainer whose model answers the prompts itself. `asked`: prompt → its tokens; `watched` measures the model after each step."""

    asked: Mapping[str, Sequence[int]]
    watched: Watched

    def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self.asked[prompt]) for prompt in prompts], None, {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs = {**logs, "held_out_margin": self.watched.margin(self.model)}
        super().log(logs, start_time)  # type: ignore[misc]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)
        assert output_dir is not None
        self.watched.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.watched.load(Path(resume_from_checkpoint))


class Rloo(Answering, RLOOTrainer):  # type: ignore[misc]
    pass


class Grpo(Answering, GRPOTrainer):  # type: ignore[misc]
    pass


def on_pairs(job: Job, model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Encoded], steps: int) -> Any:
    """The trainer of a method that learns from pairs."""
    settings: Settings = job.settings
    ids: list[dict[str, Any]] = [
        {"prompt_ids": [*one.prompt], "chosen_ids": [*one.chosen], "rejected_ids": [*one.rejected]} for one in pairs
    ]
    given = _arguments(job, steps) | {"beta": settings.options["beta"]}
    match settings.method:
        case "dpo":
            kind, arguments, rows = Dpo, DPOConfig(**given, max_length=None), ids
        case "kto":  # a preference is two answers
            given["per_device_train_batch_size"] *= 2
            kind, arguments, rows = Kto, KTOConfig(**given, max_length=None), _apart(ids, settings.micro_batch, settings.seed)
        case "orpo":
            longest = max(len(one.prompt) + max(len(one.chosen), len(one.rejected)) for one in pairs)
            arguments = ORPOConfig(**given, max_length=longest, max_completion_length=longest)
            kind, rows = Orpo, [{**row, "prompt": "", "chosen": "", "rejected": ""} for row in ids]
        case other:
            raise ValueError(f"no trainer for {other}")
    return _made(kind, job, model, tokenizer, arguments, rows)


def on_rewards(
    job: Job,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Mapping[str, Sequence[int]],
    reward: Callable[..., list[float]],
    watched: Watched,
    steps: int,
) -> Any:
    """The trainer of a method that goes by the reward of the model's own answers. `asked`: prompt → its tokens."""
    options, given = job.settings.options, _arguments(job, steps)
    given["per_device_train_batch_size"] *= options["completions"]
    given |= {
        "beta": options["beta"],
        "num_generations": options["completions"],
        "max_completion_length": options["max_new_tokens"],
        "temperature": options["temperature"],
        "top_k": 0,
    }
    kind, arguments = (Rloo, RLOOConfig(**given)) if job.settings.method == "rloo" else (Grpo, GRPOConfig(**given))
    rows = [{"prompt": prompt} for prompt in asked]
    trainer = _made(kind, job, model, tokenizer, arguments, rows, reward_funcs=[reward])
    trainer.asked, trainer.watched = asked, watched
    return trainer


def on_reward_pairs(job: Job, model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Encoded], steps: int) -> Any:
    """The trainer of a reward model: −log σ(reward of the chosen − reward of the rejected)."""
    settings: RewardSettings = job.settings
    rows = [{f"{kind}_ids": [*one.prompt, *getattr(one, kind)] for kind in ("chosen", "rejected")} for one in pairs]
    given = {
        **quiet(job.numerics, settings.seed, steps, job.scratch),
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch,
        "gradient_checkpointing": False,
    }
    return _made(Reward, job, model, tokenizer, RewardConfig(**given, max_length=None), rows)


def _made(kind: Any, job: Job, model: Any, tokenizer: Any, arguments: Any, rows: list[Any], **more: Any) -> Any:
    return kind(
        model=model,
        args=on_one_device(arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Progress(job.progress)],
        **more,
    )


def _arguments(job: Job, steps: int) -> dict[str, Any]:
    settings: Settings = job.settings
    return {
        **quiet(job.numerics, settings.seed, steps, job.scratch),
        **optimiser(settings, steps),
        "per_device_train_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": settings.batch // settings.micro_batch,
        "gradient_checkpointing": False,
    }


def _masked(kind: str, ids: Sequence[int]) -> dict[str, list[int]]:
    return {f"{kind}_input_ids": list(ids), f"{kind}_attention_mask": [1] * len(ids)}


def _apart(rows: Sequence[Mapping[str, list[int]]], pairs: int, seed: int) -> list[dict[str, Any]]:
    """Answers one by one, wanted and unwanted in turn. The reference point of KTO is read off answers to other prompts: those of a batch, each moved
    on to the next prompt, so that neighbours are of different pairs."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    answers: list[dict[str, Any]] = []
    for place, row in enumerate(order):
        other = order[(place + 2) % len(order)]
        answers.append({"prompt_ids": row["prompt_ids"], "completion_ids": row["chosen_ids"], "label": True})
        answers.append({"prompt_ids": other["prompt_ids"], "completion_ids": other["rejected_ids"], "label": False})
    for start in range(0, len(answers), 2 * pairs):
        batch = answers[start : start + 2 * pairs]
        moved = [batch[-1]["completion_ids"], *(one["completion_ids"] for one in batch[:-1])]
        for answer, completion in zip(batch, moved, strict=True):
            answer["KL_completion_ids"] = completion
    return answers
