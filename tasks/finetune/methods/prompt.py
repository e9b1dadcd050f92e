"""Prompt tuning (Lester et al. 2021): embeddings before everything the model reads are tuned; they begin as those of random tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import tasks.finetune.methods._virtual as virtual
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method


class Prompt(virtual.Virtual):
    method: Literal["prompt"]


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh prompt."""
    import torch
    from peft import PromptTuningConfig

    from model_registry.virtual_tokens import PROMPT, random_tokens

    tokens = random_tokens(model, options["virtual_tokens"])
    tuned = virtual.put(model, PROMPT, PromptTuningConfig, options)
    with torch.no_grad():
        tuned.prompt_encoder["default"].embedding.weight.copy_(model.get_input_embeddings()(tokens)[0])
    return tuned


METHOD = Method(Prompt, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
