"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306): answers are wanted or unwanted, each by itself, against a reference
point that is estimated from answers to other prompts of a batch. By TRL; a preference makes one answer of each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.fields import Count
from tasks.finetune.methods._preference import Preferring, on_pairs


class Kto(Preferring):
    method: Literal["kto"]
    batch: Annotated[Count, Field(ge=2)] = Field(
        8, description="preferences a step; the reference point needs at least two prompts"
    )


METHOD = on_pairs(Kto)
