"""Odds ratio preference optimisation (Hong et al. 2024, arXiv 2403.07691): the likelihood of the preferred answer, and β times the log odds
ratio of the two; no model is held as a reference. By TRL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from configs.fields import NotNegative
from tasks.finetune.methods._preference import Preferring, on_pairs


class Orpo(Preferring):
    method: Literal["orpo"]
    beta: NotNegative = Field(0.1, description="weight of the odds ratio")


METHOD = on_pairs(Orpo)
