"""What the adapters of PEFT's share: where they are put, and what a model has no layers for."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from configs.problems import accepted
from model_registry.architecture import linear_layers

TARGETS = "names of the linear layers that get an adapter (q_proj, v_proj); default: all but the output layer"
# Their kernels read the output layer's weight past the adapter (PEFT refuses it).
FUSED_OUTPUT = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")


def placed(model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Where PEFT is to put an adapter: on the layers that are named, or on all linear ones but the output layer.

    Raises:
        ValueError: a layer is named that the model does not have.
    """
    if wrong := next(check(options, linear_layers(model)), None):
        raise ValueError(wrong)
    named = list(options.get("targets", ()))
    if not named and model.config.model_type in FUSED_OUTPUT:
        named = sorted(linear_layers(model) - {"out_proj"})
    return {"task_type": "CAUSAL_LM", "target_modules": named or "all-linear"}


def check(options: Mapping[str, Any], layers: Collection[str]) -> Iterator[str]:
    """Targets that no linear layer is called. PEFT passes over one of several that it does not find."""
    for target in options.get("targets", ()):
        if target not in layers:
            yield f"targets: no linear layer is called {target}; {accepted(target, sorted(layers))}"


def put(model: Any, config: Any) -> Any:
    """A PEFT model with a fresh adapter of this configuration. Raises what PEFT does."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")  # GPT-2's layers are transposed: PEFT sees it
        return get_peft_model(model, config)
