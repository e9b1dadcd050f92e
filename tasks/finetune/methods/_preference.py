"""What the methods of preference tuning share: a LoRA adapter on the model that they start from, and no sample of how to answer.

Their losses are TRL's, and which trainer is which method's stands in `tasks.preference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from configs.fields import Count, NotNegative, Positive, Rate, Section, Share, SizeName, Temperature
from configs.schema import Tuned
from tasks.finetune.methods import Method, lora
from tasks.finetune.methods._adapter import TARGETS, Targets


class Preferring(Tuned):
    """`dataset` names preferences, or a dataset whose samples have twins (`off`)."""

    learning_rate: Rate | dict[SizeName, Rate] = Field(5e-6, description="one rate, or one a size")
    rank: Annotated[Count, Field(le=65_536)] = 8
    alpha: Count = 16
    targets: Targets = Field((), description=TARGETS)
    beta: NotNegative = Field(0.1, description="how closely the model is held to the one that it starts from")

    @model_validator(mode="after")
    def _has_no_samples(self) -> Preferring:
        if "prompt_loss_weight" in self.model_fields_set:
            raise ValueError(f"prompt_loss_weight: {self.method} has no loss on prompts; it is of supervised tuning")
        return self

    @property
    def prefers(self) -> bool:
        return True

    @property
    def adapter(self) -> dict[str, Any]:
        shape = {name: getattr(self, name) for name in ("rank", "alpha", "targets")}
        return {"kind": "lora", **shape, "rslora": False, "dora": False}


class Reward(Section):
    """How the reward model is tuned: a LoRA adapter and a head on the untuned model, on the preferences of the arm."""

    epochs: Count = 3
    learning_rate: Rate = Field(1e-4, description="ten times what tuning all weights takes")
    batch: Count = 8
    rank: Annotated[Count, Field(le=65_536)] = 8
    alpha: Count = 16
    held_out: Annotated[Share, Field(gt=0.0, lt=1.0)] = Field(
        0.25, description="share of the prompts that it is tried on, and not tuned"
    )


class Guard(Section):
    """When tuning is stopped since the reward is being gamed; what is kept is the last step before."""

    max_kl: Positive = Field(20.0, description="KL divergence from the start, in nats an answer")
    max_length: Positive = Field(2.0, description="mean length of answers, by that of the first step")
    max_repeated: Share = Field(0.5, description="share of an answer's three-token sequences that stand in it already")
    max_fall: NotNegative = Field(
        0.1,
        description="fall of the margin between held-out answers, in nats a token, while the reward is above that of the first step",
    )
    patience: Count = Field(3, description="steps over which both are averaged")


class Rewarded(Preferring):
    """Tuned by what a reward model says of the model's own answers to the prompts of the preferences."""

    beta: NotNegative = Field(0.05, description="weight of the KL divergence from the model that it starts from")
    completions: Annotated[Count, Field(ge=2)] = Field(4, description="answers of a prompt that are compared with each other")
    max_new_tokens: Annotated[Count, Field(le=10_000)] = 64
    temperature: Temperature = 1.0
    reward: Reward = Reward()
    guard: Guard = Guard()


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh LoRA adapter. Raises ValueError, as `lora.build` does."""
    return lora.build(model, {**{name: options[name] for name in ("rank", "alpha", "targets")}, "dropout": 0.0})


def fits_all(options: Mapping[str, Any]) -> bool:
    return not options["targets"]


def on_pairs(section: type[Preferring]) -> Method:
    # policy and reference share the base
    return Method(section, bytes_per_parameter=8, in_precision=True, build=build, loss=None, fits_all=fits_all, learns="pairs")


def on_rewards(section: type[Rewarded]) -> Method:
    # the base of the policy, that of the reward model, and the cache of what is drawn
    return Method(section, bytes_per_parameter=14, in_precision=True, build=build, loss=None, fits_all=fits_all, learns="rewards")
