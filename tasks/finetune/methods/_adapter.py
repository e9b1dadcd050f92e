"""What the adapters of PEFT's share: where they are put, and what a model has no layers for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from configs.problems import accepted
from model_registry.architecture import linear_layers


def _once(targets: tuple[str, ...]) -> tuple[str, ...]:
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise ValueError(f"{twice} stands there twice; each may stand once")
    return targets


Target = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=60)]  # as models have them: Wqkv
Targets = Annotated[tuple[Target, ...], AfterValidator(_once)]
TARGETS = "names of the linear layers that get an adapter (q_proj, v_proj); default: all but the output layer"
# Their kernels read the output layer's weight past the adapter (PEFT refuses it).
FUSED_OUTPUT = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")


def placed(model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Where PEFT is to put an adapter: on the layers that are named, or on all linear ones but the output layer.

    Raises:
        ValueError: a layer is named that the model does not have.
    """
    named = targets(model, options)
    if not named and model.config.model_type in FUSED_OUTPUT:
        named = sorted(linear_layers(model) - {"out_proj"})
    return {"task_type": "CAUSAL_LM", "target_modules": named or "all-linear"}


def targets(model: Any, options: Mapping[str, Any]) -> list[str]:
    """The layers that are named.

    Raises:
        ValueError: no linear layer is called so (PEFT passes over one of several that it does not find), or an adapter there is not read.
    """
    layers = linear_layers(model) - ({"out_proj"} if model.config.model_type in FUSED_OUTPUT else set())
    named = list(options.get("targets", ()))
    if unknown := next((target for target in named if target not in layers), None):
        past = f"the kernels of {model.config.model_type} read it past an adapter" if unknown in linear_layers(model) else ""
        said = f"{unknown}; {past}" if past else f"no linear layer is called {unknown}"
        raise ValueError(f"targets: {said}; {accepted(unknown, sorted(layers))}")
    return named


def put(model: Any, config: Any) -> Any:
    """A PEFT model with a fresh adapter of this configuration. Raises what PEFT does."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")  # GPT-2's layers are transposed: PEFT sees it
        return get_peft_model(model, config)
