"""Adapter layers (Houlsby et al. 2019) are tuned on a base model that stays as it is. What they are is `model_registry.bottleneck`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count
from configs.schema import Tuned
from model_registry.architecture import linear_layers
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import Targets, put, targets


class Bottleneck(Tuned):
    method: Literal["bottleneck"]
    width: Annotated[Count, Field(le=65_536)] = Field(64, description="of each bottleneck")
    targets: Targets = Field(
        (), description="names of the linear layers that get one behind them; default: those that end attention and feed-forward"
    )

    @property
    def merges(self) -> bool:
        return False


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh bottlenecks. Raises ValueError: there is no layer to put one behind."""
    from model_registry.bottleneck import BottleneckConfig, ends

    places = sorted(targets(model, options)) or ends(model)
    if not places:
        raise ValueError(
            f"targets: none; of {model.config.model_type} not both layers that end the sub-layers of every block are known; some of "
            f"{', '.join(sorted(linear_layers(model)))} are required"
        )
    return put(model, BottleneckConfig(task_type="CAUSAL_LM", width=options["width"], target_modules=places))


METHOD = Method(Bottleneck, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
