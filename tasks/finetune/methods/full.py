"""All weights are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from configs.schema import Tuned
from tasks.finetune.loss import weighted_loss
from tasks.finetune.methods import Method


class Full(Tuned):
    method: Literal["full"]

    @property
    def adapter(self) -> None:
        return None


def build(model: Any, options: Mapping[str, Any]) -> Any:
    return model


METHOD = Method(
    Full,
    bytes_per_parameter=20,  # weights, gradients and two moments are 16, activations the rest: 124M parameters peaked at 3.2 GiB
    in_precision=False,
    build=build,
    loss=weighted_loss,
    tunes_all=True,
    shards=True,
    fits_all=lambda options: True,
)
