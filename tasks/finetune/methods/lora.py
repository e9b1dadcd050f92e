"""A LoRA adapter (Hu et al. 2021) is tuned on a base model that stays as it is.

With `rslora` it is scaled by alpha/√rank instead of alpha/rank (Kalajdzievski 2023), with `dora` each weight's magnitude is tuned apart from its
direction (Liu et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count, Flag, Share
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method, later
from tasks.finetune.methods._adapter import TARGETS, Targets, placed, put


class Lora(Tuned):
    method: Literal["lora"]
    rank: Annotated[Count, Field(le=65_536)] = 8
    alpha: Count = 16
    dropout: Share = 0.0
    targets: Targets = later((), description=TARGETS)
    rslora: Flag = later(False, description="scale by alpha/√rank")
    dora: Flag = later(False, description="tune the weights' magnitudes apart from their directions")

    @property
    def adapter(self) -> dict[str, Any]:
        return {"kind": "lora", **{name: getattr(self, name) for name in ("rank", "alpha", "targets", "rslora", "dora")}}


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with a fresh adapter.

    Raises:
        ValueError: dropout or DoRA on a mixture of experts, whose weights PEFT wraps whole; a target that no layer is called.
    """
    from peft import LoraConfig

    config = LoraConfig(
        **placed(model, options),
        use_rslora=options.get("rslora", False),
        use_dora=options.get("dora", False),
        r=options["rank"],
        lora_alpha=options["alpha"],
        lora_dropout=options["dropout"],
    )
    try:
        return put(model, config)
    except ValueError as error:
        if "ParamWrapper" not in str(error):
            raise
        what = "dora: true" if options.get("dora") else f"dropout: {options['dropout']:g}"
        plain = "false" if options.get("dora") else "0"
        raise ValueError(f"{what} on {model.config.model_type}, a mixture of experts; {plain} is required") from None


# DoRA's backward pass holds each layer's weights with their update, in full: of 65M parameters 6.3 bytes each beside what LoRA held with one row of
# 179 tokens at once, 9.1 with four
DORA_BYTES = 9

METHOD = Method(
    Lora,
    bytes_per_parameter=6,  # the base has only its weights
    in_precision=True,
    build=build,
    loss=weighted_loss,
    fits_all=lambda options: not (options["dropout"] or options.get("dora") or options.get("targets")),
    further_bytes=lambda options: DORA_BYTES if options.get("dora") else 0,
)
