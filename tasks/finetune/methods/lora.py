"""A LoRA adapter (Hu et al. 2021) is tuned on a base model that stays as it is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count, Share
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method


class Lora(Tuned):
    method: Literal["lora"]
    rank: Annotated[Count, Field(le=65_536)] = 8
    alpha: Count = 16
    dropout: Share = 0.0


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh adapter on all linear layers but the output layer.

    Raises:
        ValueError: dropout on a mixture of experts, whose weights PEFT wraps whole.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        exclude_modules=["out_proj"] if model.config.model_type in FUSED_OUTPUT else None,
        r=options["rank"],
        lora_alpha=options["alpha"],
        lora_dropout=options["dropout"],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # GPT-2's layers are transposed: PEFT sees it
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            if "ParamWrapper" not in str(error):
                raise
            raise ValueError(
                f"dropout {options['dropout']:g} on {model.config.model_type}, a mixture of experts; 0 is required"
            ) from None


# Their kernels read the output layer's weight past the adapter (PEFT refuses it).
FUSED_OUTPUT = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
METHOD = Method(Lora, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)  # the base has only its weights
