"""How a model may be tuned: what a method adds to an experiment and to training, and which methods there are.

A file beside this one is a method. It is read by the parent process too: what is heavy is imported where a model is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from configs.schema import Tuned


@dataclass(frozen=True)
class Method:
    """A way of tuning.

    section: what an arm of this method is in an experiment; its `method` is the name, and what it adds to `Tuned` are the options.
    bytes_per_parameter: what a process holds of the base model while it tunes, in fp32.
    further_bytes(options): what it holds of it beside these, by the options.
    in_precision: whether the base model is held in the precision asked for. What is trained stays in fp32 under bf16, where small updates
        are not rounded away.
    build(model, options): the model with what is trained on it, and only that requiring a gradient. Raises ValueError where the options do
        not fit the model, in a line that begins with the field that is wrong.
    fits_all(options): whether these fit every architecture. Others are tried before anything runs, on a model without numbers.
    loss(logits, tokens, weights): [rows, width, vocabulary], [rows, width] and [rows, width] to a scalar, the sum over tokens; a step's
        is divided by the sum of its weights. None: the loss is of `tasks.preference`.
    learns: from samples; from preferences, by themselves (pairs) or by a reward model of them (rewards).
    tunes_all: all weights are tuned, and there is no adapter.
    shards: whether a model can be tuned in several processes, each with a share of it.
    """

    section: type[Tuned]
    bytes_per_parameter: int
    in_precision: bool
    build: Callable[[Any, Mapping[str, Any]], Any]
    loss: Callable[[Any, Any, Any], Any] | None
    fits_all: Callable[[Mapping[str, Any]], bool] = lambda options: False
    further_bytes: Callable[[Mapping[str, Any]], int] = lambda options: 0
    learns: Literal["samples", "pairs", "rewards"] = "samples"
    tunes_all: bool = False
    shards: bool = False

    def bytes_for(self, options: Mapping[str, Any]) -> int:
        """What a process holds of the base model, a parameter."""
        return self.bytes_per_parameter + self.further_bytes(options)

    @property
    def name(self) -> str:
        return str(get_args(self.section.model_fields["method"].annotation)[0])


@cache
def found() -> dict[str, Method]:
    """Every method that a file beside this one declares as METHOD, by its name."""
    return {method.name: method for method in (import_module(f"{__name__}.{file}").METHOD for file in files())}


def files() -> list[str]:
    """The modules of this package that declare one."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def options(arm: Tuned) -> dict[str, Any]:
    """What an arm's method alone reads. An option that came later and has its default is left out (`later`): keys stay what they were."""
    return {name: value for name, value in arm.model_dump().items() if name not in Tuned.model_fields}


def virtual_tokens(options: Mapping[str, Any]) -> int:
    """How many places of the context a method takes."""
    return int(options.get("virtual_tokens", 0))


def most_virtual_tokens(arms: Iterable[Any]) -> int:
    """The most that one of these arms takes."""
    return max((virtual_tokens(options(arm)) for arm in arms if isinstance(arm, Tuned)), default=0)


def later(default: Any, **further: Any) -> Any:
    """A field that a section did not have from the first: at its default it is as if it were not there, in keys and in a sweep's id."""
    return Field(default, exclude_if=lambda given: given == default, **further)
