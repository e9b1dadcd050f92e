"""Several arms of one base in one process, asked the same thing: a base with as many adapters as arms have one, each switched on in turn.

An arm that is a whole model is held beside it. All arms draw with the same random numbers, as in a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from model_registry.folders import kind_of
from model_registry.loading import arm_folders, load_model, make_deterministic, prepared_folder, put_adapter
from model_registry.tokenization import arm_tokenization
from tasks.contract import Numerics
from tasks.sampling.body import ends
from tasks.sampling.engines.lockstep import answer
from tasks.sampling.engines.rows import Row
from tasks.sampling.streams import uniforms


@dataclass(frozen=True)
class Manner:
    """How answers are drawn: as in the settings of sampling."""

    template: str
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class Beside:
    """The arms of one prepared model, loaded once.

    Args:
        prepared: the output of the prepare stage.
        tuned: by arm, what fine-tuning wrote; None for one that is not tuned.

    Raises:
        ValueError: a model cannot be loaded, or does not read prompts in the template.
    """

    def __init__(self, prepared: Path, tuned: Mapping[str, Path | None], manner: Manner, numerics: Numerics) -> None:
        make_deterministic()
        folder = prepared_folder(prepared)
        self.manner, self.arms = manner, tuple(tuned)
        self._words = {arm: arm_tokenization(prepared, place) for arm, place in tuned.items()}
        self._turn = next(iter(self._words.values())).turn(manner.template)
        self._bases: dict[
            str, Any
        ] = {}  # kind of adapter → the model with those of this kind on it: PEFT takes one kind on a model
        self._kinds: dict[str, str] = {}  # of the arms that have an adapter
        self._whole: dict[str, Any] = {}
        load: Callable[..., Any] = partial(load_model, **numerics.loading)
        for arm, place in tuned.items():
            weights, adapter = arm_folders(prepared, place)
            if weights != folder:
                self._whole[arm] = load(weights)
            elif adapter is not None:
                kind = self._kinds[arm] = kind_of(adapter)
                self._bases[kind] = put_adapter(self._bases.get(kind) or load(folder), adapter, f"arm_{arm}")
        untuned = [arm for arm in tuned if arm not in {*self._whole, *self._kinds}]
        if untuned and not self._bases:
            self._whole |= dict.fromkeys(untuned, load(folder))

    def answers(self, prompt: str, repeat: int = 0) -> Iterator[tuple[str, str]]:
        """Arm and answer, in the order of the arms; `repeat` counts how often the prompt was asked before.

        Raises:
            ValueError: the model cannot read this prompt, or it leaves no room for an answer.
        """
        manner, numbers = self.manner, uniforms(self.manner.seed, prompt, repeat, self.manner.max_new_tokens)
        for arm in self.arms:
            words = self._words[arm]
            asked = words.asked(self._turn, prompt, manner.max_new_tokens)
            model, switched = self._of(arm)
            with switched:
                drawn = answer(
                    model,
                    Row(asked, numbers),
                    ends=ends(model, words, self._turn),
                    filler=words.end,
                    temperature=manner.temperature,
                    top_p=manner.top_p,
                )
            yield arm, words.text(asked, drawn.tokens)

    def unloaded(self) -> Any:
        """A base without adapters, as it was loaded; None where no arm has one. Nothing can be asked afterwards."""
        base = next(iter(self._bases.values()), None)
        return None if base is None else base.unload()

    def _of(self, arm: str) -> tuple[Any, AbstractContextManager[Any]]:
        if arm in self._whole:
            return self._whole[arm], nullcontext()
        if arm in self._kinds:
            model = self._bases[self._kinds[arm]]
            model.set_adapter(f"arm_{arm}")
            return model, nullcontext()
        model = next(iter(self._bases.values()))
        return model, model.disable_adapter()
