"""How a model may be tuned: what a method adds to an experiment and to training, and which methods there are.

A file beside this one is a method. It is read by the parent process too: what is heavy is imported where a model is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from configs.schema import Tuned


@dataclass(frozen=True)
class Method:
    """A way of tuning.

    section: what an arm of this method is in an experiment; its `method` is the name, and what it adds to `Tuned` are the options.
    bytes_per_parameter: what a process holds of the base model while it tunes, in fp32.
    in_precision: whether the base model is held in the precision asked for. What is trained stays in fp32 under bf16, where small updates
        are not rounded away.
    build(model, options): the model with what is trained on it, and only that requiring a gradient.
    loss(logits, tokens, weights): [rows, width, vocabulary], [rows, width] and [rows, width] to a scalar, the sum over tokens; a step's
        is divided by the sum of its weights.
    """

    section: type[Tuned]
    bytes_per_parameter: int
    in_precision: bool
    build: Callable[[Any, Mapping[str, Any]], Any]
    loss: Callable[[Any, Any, Any], Any]

    @property
    def name(self) -> str:
        return str(get_args(self.section.model_fields["method"].annotation)[0])


@cache
def found() -> dict[str, Method]:
    """Every method that a file beside this one declares as METHOD, by its name."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return {method.name: method for method in (import_module(f"{__name__}.{file}").METHOD for file in files)}


def options(arm: Tuned) -> dict[str, Any]:
    """What an arm's method alone reads."""
    return {name: getattr(arm, name) for name in type(arm).model_fields if name not in Tuned.model_fields}
