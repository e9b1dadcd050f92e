"""Adapter layers (Houlsby et al. 2019): a bottleneck behind each sub-layer of each block, tuned while the model stays as it is.

    h + up(gelu(down(h))),  down: hidden → width, up: width → hidden

behind the projection that ends the attention, and behind the one that ends the feed-forward layer, before each is added to the residual
stream. `up` begins at zero, so that tuning begins at the untouched model. No layer is merged: a bottleneck is no linear map.

A tuner of PEFT's, so that whatever holds, switches, saves and takes off an adapter does so with this one. PEFT 0.21 has no such method, and
AdapterHub's library does not work with transformers 5. Importing this module makes PEFT know it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

KIND, PREFIX = "BOTTLENECK", "bottleneck_"
# The projections that end a sub-layer, by the names that the architectures have for them.
ENDS = (
    *("o_proj", "out_proj", "c_proj", "dense", "wo", "out_lin", "attention_output"),
    *("down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "lin2", "ff_out"),
)


def ends(layers: Collection[str]) -> list[str]:
    """Those of a model's linear layers that end a sub-layer."""
    return sorted(set(ENDS) & set(layers))


@dataclass
class BottleneckConfig(PeftConfig):
    """As adapter_config.json holds it. `width`: of the bottleneck."""

    width: int = field(default=64)
    target_modules: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = KIND


class BottleneckLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # PEFT is not typed
    """A linear layer with a bottleneck behind it for each adapter, of which the active ones are used one after the other."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("width",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.width: dict[str, int] = {}
        self.bottleneck_down, self.bottleneck_up = nn.ModuleDict(), nn.ModuleDict()
        self.merged_adapters: list[str] = []

    def add(self, name: str, width: int, *, inference: bool) -> None:
        hidden = self.base_layer.nf if hasattr(self.base_layer, "nf") else self.base_layer.out_features  # GPT-2's are transposed
        assert isinstance(hidden, int)
        down, up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.normal_(down.weight, std=0.01)
        for zero in (down.bias, up.weight, up.bias):
            nn.init.zeros_(zero)
        self.width[name], self.bottleneck_down[name], self.bottleneck_up[name] = width, down, up
        BaseTunerLayer._move_adapter_to_device_of_base_layer(self, name)
        BaseTunerLayer.set_adapter(self, self._names, inference_mode=inference)

    @property
    def _names(self) -> list[str]:
        """The active adapters."""
        active: list[str] = BaseTunerLayer.active_adapters.fget(self)
        return active

    def forward(self, hidden: torch.Tensor, *further: Any, **named: Any) -> torch.Tensor:
        said: torch.Tensor = self.base_layer(hidden, *further, **named)
        for name in [] if self.disable_adapters else self._names:
            if name in self.bottleneck_down:
                down, up = self.bottleneck_down[name], self.bottleneck_up[name]
                seen = said.to(next(down.parameters()).dtype)
                said = (seen + up(nn.functional.gelu(down(seen)))).to(said.dtype)
        return said

    def merge(self, *given: Any, **named: Any) -> None:
        raise ValueError("adapter layers cannot be merged into the model: a bottleneck is no linear map")


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  # as PEFT has it

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module, current_key: str
    ) -> None:
        layer = target if isinstance(target, BottleneckLayer) else BottleneckLayer(target)
        layer.add(adapter_name, peft_config.width, inference=peft_config.inference_mode)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)


PEFT_TYPE_TO_CONFIG_MAPPING[KIND] = BottleneckConfig
PEFT_TYPE_TO_TUNER_MAPPING[KIND] = BottleneckModel
PEFT_TYPE_TO_PREFIX_MAPPING[KIND] = PREFIX
