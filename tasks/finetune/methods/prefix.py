"""Prefix tuning (Li & Liang 2021): keys and values before everything the model reads are tuned, in every layer; they begin as those that
random tokens leave there, which they found to train better than random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import tasks.finetune.methods._virtual as virtual
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method


class Prefix(virtual.Virtual):
    method: Literal["prefix"]


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh prefix. Raises ValueError: the model does not keep keys and values of one shape in every layer."""
    import torch
    from peft import PrefixTuningConfig

    from model_registry.virtual_tokens import PREFIX, left, random_tokens

    layers = left(model, random_tokens(model, options["virtual_tokens"]))
    tuned = virtual.put(model, PREFIX, PrefixTuningConfig, options)
    flat = [one[0].transpose(0, 1).flatten(1) for layer in layers for one in layer]  # [tokens, heads × head] each
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.copy_(torch.cat(flat, dim=1))
    return tuned


METHOD = Method(Prefix, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
