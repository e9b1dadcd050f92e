"""The fine-tuning stage: a prepared model tuned on a dataset, all of its weights or an adapter.

Reads `model` (a prepared model) and `dataset` (a checked dataset: a folder with samples.jsonl); where an arm has them, `texts` (plain texts
that are read beside the samples) and `attributes` (the lists of sensitive attributes that its regulariser reads), `prose` and
`plain` (files of paragraphs) where its drift is bounded. Writes `model/` (the whole
model with its tokenizer, or the adapter alone), `steps/` where steps are kept, `metrics.json` and `series.json`; equal runs write equal bytes,
interrupted or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.schema import NESTED, Tuned
from tasks.contract import UNSAID, Measure, Stage, from_section
from tasks.datasets.fold import held_out
from tasks.finetune import methods

STAGE = Stage(
    name="finetune",
    version="5",
    body="tasks.finetune.body:run",
    libraries=("torch", "transformers", "peft", "accelerate"),
    shrink="micro_batch",
)


# Of what tuning wrote, without tuning (`derived`): read `model` and `tuned`, write `model/`.
CHECKPOINT = Stage(name="checkpoint", version="1", body="tasks.finetune.derived:run_step")
NULL_ADAPTER = Stage(
    name="null_adapter",
    version="1",
    body="tasks.finetune.derived:run_null",
    libraries=("torch", "transformers", "peft"),
)
TUNED = tuple(stage.name for stage in (STAGE, CHECKPOINT, NULL_ADAPTER))  # those that write an arm's model
NULL_BYTES = 12  # a parameter, of a model that was tuned whole: where it began, that again as numbers, and as it is
STEPS = "steps"  # beside `model/`, what was kept of earlier steps: a folder a step


@dataclass(frozen=True)
class Regulariser:
    kind: str  # embedding | sentiment
    weight: float  # λ
    attributes: tuple[str, ...]  # of the file of lists


@dataclass(frozen=True)
class Settings:
    """How a model is tuned. What goes through the model at once, `micro_batch` rows and no more than `micro_tokens`, moves the last bits."""

    method: str
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
    options: Mapping[str, Any]  # what the method alone reads
    template: str
    train_samples: int  # size of the subset
    seed: int
    subset_seed: int | None = field(default=None, metadata=UNSAID)  # of a random subset; None: the nested one
    units: int | None = field(default=None, metadata=UNSAID)  # preferences, or prompts, that a pass goes over; None: the samples
    fairness: Regulariser | None = field(default=None, metadata=UNSAID)
    keep_steps: tuple[int, ...] = field(default=(), metadata=UNSAID)  # of which the model is kept beside the last one's
    held_out: float = field(default=0.0, metadata=UNSAID)  # share of the subset that is watched, and not tuned on
    patience: int | None = field(default=None, metadata=UNSAID)  # passes without a lower loss on it
    max_drift: float | None = field(default=None, metadata=UNSAID)  # nats a token that prose may become less likely
    micro_tokens: int | None = field(
        default=None, metadata=UNSAID
    )  # padding counted; one row may have more. None: rows alone are counted


@dataclass(frozen=True)
class StepSettings:
    step: int


def settings(
    arm: Tuned, size: str, train_samples: int, template: str, seed: int, subsets: str = NESTED, units: int | None = None
) -> Settings:
    """How an arm is tuned at one size, on one number of samples; `units`: what a pass goes over, where it is not samples."""
    rate = arm.rate_for(size)
    assert rate is not None  # the schema refuses an arm without a rate for one of its sizes
    stopping = arm.early_stopping
    return from_section(
        Settings,
        arm,
        learning_rate=rate,
        micro_batch=arm.micro_batch or arm.batch,
        micro_tokens=None if arm.micro_batch else MICRO_TOKENS,
        options=methods.options(arm),
        template=template,
        train_samples=train_samples,
        seed=seed,
        subset_seed=None if subsets == NESTED else seed,
        units=units,
        fairness=Regulariser(held.regulariser, held.weight, held.attributes) if (held := arm.fairness) else None,
        **({} if stopping is None else {"held_out": stopping.held_out, "patience": stopping.patience}),
    )


# What goes through at once where an experiment does not say how many rows. 135M parameters by LoRA in fp32, two threads (`benchmarks.
# supervised_tuning`): 178 tokens a second at a peak of 1,547 MiB; of 512 tokens 160 and 1,755; TRL row by row 151 and 1,736. At 10M all of
# 256, 384 and 512 give one speed.
MICRO_TOKENS = 256
PROSE = ("prose", "plain")  # roles of the files of paragraphs that drift is measured on
FEW = 10  # optimiser steps: below, a schedule hardly acts and AdamW's averages are of its start (its second one has a half-life of 693 steps)


def tuned_on(settings: Settings) -> int:
    """How many samples of the subset are not held out."""
    return settings.train_samples - held_out(settings.train_samples, settings.held_out)


def optimiser_steps(settings: Settings) -> int:
    """So many batches as the epochs have, and no fewer than `min_steps`: of the samples, or of what is learned from instead (preferences). At most,
    where tuning may be stopped."""
    return steps_of(settings, settings.units or tuned_on(settings))


def steps_of(tuning: Settings | Tuned, units: int) -> int:
    """`units`: samples, or whatever else a pass goes over."""
    return max(tuning.min_steps, tuning.epochs * math.ceil(units / tuning.batch))


def may_stop(settings: Settings) -> bool:
    """Whether tuning may end before its last step."""
    return settings.patience is not None or settings.max_drift is not None


def unfit(arm: Tuned, train_samples: int) -> str:
    """Why an arm cannot be tuned on so many samples; empty where it can."""
    if arm.early_stopping is None or 0 < (fold := held_out(train_samples, arm.early_stopping.held_out)) < train_samples:
        return ""
    return f"early_stopping.held_out: {arm.early_stopping.held_out:g} of {train_samples} samples is {fold}; at least one on either side is required"


# what is told of a training run beside its loss curve
MEASURES = (Measure("optimiser_steps", "optimiser steps"), Measure("final_loss", "final loss"))
# and beside these of one with a regulariser
WEIGHT, TERM = "fairness_weight", "final_fairness"
REGULARISED = (
    Measure(WEIGHT, "λ of the fairness term"),
    Measure(TERM, "final fairness term"),
    Measure("pairs", "counterfactual pairs read"),
    Measure("projection_accuracy", "accuracy of the sentiment projection, held out"),
)
