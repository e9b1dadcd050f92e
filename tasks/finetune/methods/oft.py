"""Orthogonal fine-tuning (Qiu et al. 2023): each weight is turned, block by block, and never stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from configs.fields import Count, Name
from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method
from tasks.finetune.methods._adapter import TARGETS, check, placed, put


class Oft(Tuned):
    method: Literal["oft"]
    block: Annotated[Count, Field(le=65_536)] = Field(
        32, description="rows that are turned together; must divide the layers' widths"
    )
    targets: tuple[Name, ...] = Field((), description=TARGETS)


def build(model: Any, options: Mapping[str, Any]) -> Any:
    """A PEFT model with fresh rotations. Raises ValueError: a target that no layer is called, or blocks that do not divide one."""
    from peft import OFTConfig

    return put(model, OFTConfig(**placed(model, options), r=0, oft_block_size=options["block"]))


METHOD = Method(Oft, bytes_per_parameter=6, in_precision=True, build=build, loss=weighted_loss, check=check)
