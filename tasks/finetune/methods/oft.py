"""Orthogonal fine-tuning (Qiu et al. 2023): each weight is turned, block by block, and nearly never stretched: the rotation is a series of five
terms (Cayley and Neumann), as PEFT has it by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import TARGETS, Targets, placed, put


class Oft(Tuned):
    method: Literal["oft"]
    block: Annotated[Count, Field(ge=2, le=65_536)] = Field(
        32, description="inputs that are turned together; must divide those of every layer"
    )
    targets: Targets = Field((), description=TARGETS)


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh rotations. Raises ValueError: a target that no layer is called, blocks that do not divide a layer, or layers that
    are transposed."""
    from peft import OFTConfig
    from torch.nn import Linear

    if getattr(model.config.get_text_config(), "kv_lora_rank", None):  # PEFT takes inputs of four dimensions for images
        raise ValueError(
            f"method: oft; the latent attention of {model.config.model_type} is none that it can turn; lora and vera are accepted"
        )
    where, block = placed(model, options), options["block"]
    output = model.get_output_embeddings()
    for name, layer in model.named_modules():
        if (
            isinstance(layer, Linear) and layer is not output and layer.in_features % block
        ):  # PEFT would take another block in silence
            raise ValueError(
                f"block: {block} does not divide the {layer.in_features} inputs of {name}; a divisor of all is required"
            )
    try:
        return put(model, OFTConfig(**where, r=0, oft_block_size=block))
    except TypeError:
        raise ValueError(
            f"method: oft; the layers of {model.config.model_type} are transposed, which it does not take; lora, vera and ia3 do"
        ) from None


METHOD = Method(Oft, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss)
