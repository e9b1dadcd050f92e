"""VeRA (Kopiczko et al. 2024): one pair of random matrices for all layers stays as it is, and each layer's scaling vectors are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count, Seed
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import TARGETS, Targets, placed, put


class Vera(Tuned):
    method: Literal["vera"]
    rank: Annotated[Count, Field(le=65_536)] = 256
    targets: Targets = Field((), description=TARGETS)
    projection_seed: Seed = Field(0, description="of the random matrices")


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh vectors. Raises ValueError: a target that no layer is called."""
    from peft import VeraConfig

    return put(model, VeraConfig(**placed(model, options), r=options["rank"], projection_prng_key=options["projection_seed"]))


METHOD = Method(Vera, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
