"""IA3 (Liu et al. 2022): keys, values and what is inside the feed-forward layer are scaled by vectors that are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from configs.fields import Name
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import check, placed, put

INSIDE = {
    "down_proj",
    "dense_4h_to_h",
    "fc2",
    "fc_out",
    "w2",
}  # layers whose input is scaled, as the paper has it of the feed-forward


class Ia3(Tuned):
    method: Literal["ia3"]
    targets: tuple[Name, ...] = Field(
        (), description="names of the linear layers that are scaled; default: those that PEFT knows of the architecture"
    )


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh vectors. Raises ValueError: a target that no layer is called, or an architecture that PEFT knows none of."""
    from peft import IA3Config

    where = placed(model, options)
    if not options["targets"]:
        where["target_modules"] = None
    else:
        where["feedforward_modules"] = [name for name in options["targets"] if name in INSIDE]
    try:
        return put(model, IA3Config(**where))
    except ValueError as error:
        if "target_modules" not in str(error):
            raise
        raise ValueError(
            f"targets: of {model.config.model_type} no layers are known for IA3; names of linear layers are required"
        ) from None


METHOD = Method(Ia3, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss, check=check)
