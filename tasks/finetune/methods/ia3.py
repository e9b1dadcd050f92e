"""IA3 (Liu et al. 2022): keys, values and what is inside the feed-forward layer are scaled by vectors that are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from configs.schema import Tuned
from model_registry.architecture import linear_layers
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import Targets, placed, put

# By the names that architectures have for them. Queries are scaled too where one layer makes all three. PEFT's own defaults scale queries
# instead of values or keys on OPT and Qwen3.
KEYS_VALUES = {"k_proj", "v_proj", "query_key_value", "c_attn", "qkv_proj"}
INSIDE = {"down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2"}  # layers whose input is scaled
TRANSPOSED = "mlp.c_proj"  # GPT-2's and GPT-Neo's, whose attention has a c_proj too


class Ia3(Tuned):
    method: Literal["ia3"]
    targets: Targets = Field(
        (),
        description="names of the linear layers that are scaled; default: those that make keys and values, and the feed-forward's last",
    )


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh vectors. Raises ValueError: a target that no layer is called, or an architecture of which none is known."""
    from peft import IA3Config

    where, layers = placed(model, options), linear_layers(model)
    inside = sorted(INSIDE & layers) + ([TRANSPOSED] if "c_proj" in layers else [])
    if not options["targets"]:
        where["target_modules"] = sorted(KEYS_VALUES & layers) + inside
        if not KEYS_VALUES & layers:
            raise ValueError(
                f"targets: of {model.config.model_type} no layer is known to make keys and values; one of {', '.join(sorted(layers))} is required"
            )
    return put(model, IA3Config(**where, feedforward_modules=[name for name in where["target_modules"] if name in inside]))


METHOD = Method(Ia3, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
