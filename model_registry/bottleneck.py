"""Adapter layers (Houlsby et al. 2019): a bottleneck behind each sub-layer of each block, tuned while the model stays as it is.

    h + up(gelu(down(h))),  down: hidden → width, up: width → hidden

behind the projection that ends the attention, and behind the one that ends the feed-forward layer, before each is added to the residual
stream. `up` begins at zero, so that tuning begins at the untouched model. No layer is merged: a bottleneck is no linear map.

A tuner of PEFT's, so that whatever holds, switches, saves and takes off an adapter does so with this one. PEFT 0.21 has no such method, and
AdapterHub's library does not work with transformers 5. Importing this module makes PEFT know it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

KIND, PREFIX = "BOTTLENECK", "bottleneck_"
# The projections that end a sub-layer, by the names that the architectures have for them.
ENDS = (
    *("o_proj", "out_proj", "c_proj", "dense", "wo", "out_lin", "attention_output", "linear_out"),
    *("down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "lin2", "ff_out"),
)
# No block's, or not the end of its sub-layer.
NO_ENDS = ("vision", "expert", "intermediate")


def ends(model: Any) -> list[str]:
    """Names of the layers that end the two sub-layers of every block; none where not just two a block are known.

    What is inside a mixture's experts ends no sub-layer, and BERT's `intermediate.dense` begins one.
    """
    layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)]
    paths = [tuple(name.split(".")) for name in layers]
    blocks = [path for path in paths if any(map(str.isdigit, path)) and not any(part in ".".join(path) for part in NO_ENDS)]
    found = [path for path in blocks if path[-1] in ENDS]
    if len(found) != 2 * model.config.get_text_config().num_hidden_layers:
        return []
    for length in (1, 2):  # of the names; two where one alone is that of other layers too
        names = {path[-length:] for path in found}
        if sum(path[-length:] in names for path in paths) == len(found):
            return sorted(".".join(name) for name in names)
    return []


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
