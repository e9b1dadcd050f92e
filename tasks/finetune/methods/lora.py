"""A LoRA adapter (Hu et al. 2021) is tuned on a base model that stays as it is.

With `rslora` it is scaled by alpha/√rank instead of alpha/rank (Kalajdzievski 2023), with `dora` each weight's magnitude is tuned apart from its
direction (Liu et al. 2024).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count, Flag, Name, Share
from configs.problems import accepted
from configs.schema import Tuned
from model_registry.architecture import linear_layers
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method, later


class Lora(Tuned):
    method: Literal["lora"]
    rank: Annotated[Count, Field(le=65_536)] = 8
    alpha: Count = 16
    dropout: Share = 0.0
    targets: tuple[Name, ...] = later(
        (), description="names of the linear layers that get an adapter (q_proj, v_proj); default: all but the output layer"
    )
    rslora: Flag = later(False, description="scale by alpha/√rank")
    dora: Flag = later(False, description="tune the weights' magnitudes apart from their directions")


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh adapter on all linear layers but the output layer.

    Raises:
        ValueError: dropout on a mixture of experts, whose weights PEFT wraps whole; a target that no layer is called.
    """
    from peft import LoraConfig, get_peft_model

    if wrong := next(check(options, linear_layers(model)), None):
        raise ValueError(wrong)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=list(options["targets"]) if options.get("targets") else "all-linear",
        exclude_modules=["out_proj"] if model.config.model_type in FUSED_OUTPUT else None,
        use_rslora=options.get("rslora", False),
        use_dora=options.get("dora", False),
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


def check(options: Mapping[str, Any], layers: Collection[str]) -> Iterator[str]:
    """Targets that no linear layer is called. PEFT passes over one of several that it does not find."""
    for target in options.get("targets", ()):
        if target not in layers:
            yield f"targets: no linear layer is called {target}; {accepted(target, sorted(layers))}"


# the base has only its weights
METHOD = Method(Lora, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss, check=check)
