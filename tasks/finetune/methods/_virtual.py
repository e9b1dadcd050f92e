"""What prompt and prefix tuning share: how many virtual tokens there are, and how PEFT holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from configs.fields import Count
from configs.schema import Tuned


class Virtual(Tuned):
    virtual_tokens: Annotated[Count, Field(le=65_536)] = Field(
        20, description="before everything that is read; they take places of the model's context"
    )

    @property
    def merges(self) -> bool:
        return False


def put(model: Any, kind: str, config: type[Any], options: Mapping[str, Any]) -> Any:
    """A PEFT model with room for this many of them."""
    from model_registry.virtual_tokens import VirtualTokens, fitting

    return VirtualTokens(
        model, config(task_type="CAUSAL_LM", num_virtual_tokens=options["virtual_tokens"], **fitting(model, kind))
    )
