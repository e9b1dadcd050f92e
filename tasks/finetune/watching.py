"""What is watched while a model is tuned, after each pass over its samples, and which pass is kept.

Two things can be watched: the loss on a fold that is held out (early stopping, Prechelt 1998: stop where it has not fallen for `patience` passes,
keep the pass where it was lowest), and how much less likely neutral prose has become (drift). A pass that drifted past its bound ends tuning, and is
not kept; where the very first one did, tuning fails, since an arm that is the untuned model under another name would be compared as if it had been
tuned. Watching draws no random number and changes no weight: up to where it stops, training is what it would be without.

What is noted lives beside the checkpoints; of a run taken up again, what came after its checkpoint is looked at anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from model_registry.tokenization import Tokenization
from tasks import prose
from tasks.contract import Job, canonical, read_json, replace_file
from tasks.datasets.paragraphs import load_paragraphs
from tasks.finetune import sharding
from tasks.finetune.batches import Batches, Sample
from tasks.finetune.loss import piece_loss
from tasks.finetune.methods import Method
from tasks.finetune.stage import PROSE, Settings

NOTES, KEPT = "watched.json", "kept-{}.safetensors"


@dataclass(frozen=True)
class Look:
    """After so many steps: nats a token on the held-out fold, weighted as in training; nats a token on each kind of prose, the mean over its
    paragraphs; and the largest rise of these since step 0."""

    step: int
    held_out_loss: float | None = None
    prose: Mapping[str, float] = field(default_factory=dict)
    drift: float | None = None


@dataclass(frozen=True)
class Rule:
    """When to stop. `patience`: passes without a lower held-out loss; `max_drift`: nats a token. None: not watched."""

    patience: int | None = None
    max_drift: float | None = None

    def within(self, look: Look) -> bool:
        return self.max_drift is None or look.drift is None or look.drift <= self.max_drift

    def kept(self, looks: Sequence[Look]) -> Look | None:
        """The pass that is kept: of those within the bound of drift the one of the lowest held-out loss, the first of equal ones; the last where
        no fold is watched. None where there is none."""
        held = [look for look in looks if look.step and self.within(look)]
        if self.patience is None or not held:
            return held[-1] if held else None
        return min(held, key=lambda look: math.inf if look.held_out_loss is None else look.held_out_loss)

    def stops(self, looks: Sequence[Look]) -> bool:
        """Whether tuning ends at the newest pass."""
        passes = [look for look in looks if look.step]
        if not passes:
            return False
        if not self.within(passes[-1]):
            return True
        kept = self.kept(passes)
        return self.patience is not None and kept is not None and len(passes) - 1 - passes.index(kept) >= self.patience


class Watch(TrainerCallback):
    """Looks at a model after each pass, stops its training by the rule, and has the weights of the pass that is kept.

    look(step): measures the model as it stands.
    """

    def __init__(self, model: Any, look: Callable[[int], Look], a_pass: int, rule: Rule, scratch: Path) -> None:
        self.model, self.look, self.a_pass, self.rule, self.scratch = model, look, a_pass, rule, scratch
        self.looks: list[Look] = []

    def resume(self, step: int) -> bool:
        """Go on from a checkpoint, or from 0; whether training had been stopped there."""
        notes = self.scratch / NOTES
        noted = [Look(**one) for one in read_json(notes)] if step else []
        self.looks = [look for look in noted if look.step <= step]
        return self.rule.stops(self.looks)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.looks:
            self._note(self.look(0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.a_pass and state.global_step != state.max_steps:
            return
        self._note(self.look(state.global_step))
        kept = self.rule.kept(self.looks)
        if kept is None:
            raise ValueError(
                f"step {state.global_step}: neutral prose drifted by {self.looks[-1].drift:.3f} nats a token in the first pass, max_drift is "
                f"{self.rule.max_drift:g}; a lower learning_rate, or a larger batch, is required"
            )
        if kept.step == state.global_step:
            self._keep(kept)
        if self.rule.stops(self.looks):
            control.should_training_stop = control.should_save = True

    def settle(self) -> Look:
        """Put the weights of the pass that is kept into the model."""
        kept = self.rule.kept(self.looks)
        assert kept is not None
        held = load_file(self.scratch / KEPT.format(kept.step))
        with torch.no_grad():
            for name, weight in self._trained():
                sharding.local(weight).copy_(held[name])
        return kept

    @property
    def stopped_at(self) -> int:
        return self.looks[-1].step

    def series(self) -> dict[str, list[list[float]]]:
        """Each curve that was watched, as [step, value]; step 0 is the model that tuning began with."""
        curves = {name: [[look.step, getattr(look, name)] for look in self.looks] for name in ("held_out_loss", "drift")}
        return {name: curve for name, curve in curves.items() if curve[0][1] is not None}

    def _note(self, look: Look) -> None:
        start = self.looks[0] if self.looks else look
        drift = max((nats - start.prose[kind] for kind, nats in look.prose.items()), default=None)
        self.looks.append(replace(look, drift=drift))
        replace_file(self.scratch / NOTES, canonical([asdict(one) for one in self.looks]))

    def _keep(self, look: Look) -> None:
        """Of earlier passes nothing is needed any more: whichever run comes to a later one keeps that."""
        before = list(self.scratch.glob(KEPT.format("*")))
        weights = {name: sharding.local(weight.detach()).contiguous() for name, weight in self._trained()}
        save_file(weights, self.scratch / KEPT.format(look.step))
        for path in before:
            if path.name != KEPT.format(look.step):
                path.unlink()

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]


def watching(job: Job, model: Any, words: Tokenization, method: Method, fold: Sequence[Sample], a_pass: int) -> Watch | None:
    """What the job's settings say is to be watched; None where nothing is.

    Raises:
        ValueError: a text of the prose is not in the model's vocabulary.
    """
    settings: Settings = job.settings
    rule = Rule(settings.patience, settings.max_drift)
    if rule == Rule():
        return None
    held = (
        Batches(fold, [range(len(fold))], settings.micro_batch, words.end, micro_tokens=settings.micro_tokens)[0]
        if fold
        else None
    )
    texts = {} if rule.max_drift is None else {role: load_paragraphs(job.inputs[role]) for role in PROSE if role in job.inputs}

    def look(step: int) -> Look:
        with evaluating(model):
            nats = {
                role: fmean(prose.score(model, words, paragraph).nats_per_token for paragraph in held_text)
                for role, held_text in texts.items()
            }
            return Look(step, fold_loss(model, held, method.loss) if held and method.loss else None, nats)

    return Watch(model, look, a_pass, rule, job.scratch)


def fold_loss(model: Any, fold: dict[str, Any], loss: Callable[[Any, Any, Any], Any]) -> float:
    """Nats a token on an item of `Batches`: what a training step on it would have as its loss."""
    total = 0.0
    for piece in fold["pieces"]:
        total += float(piece_loss(model, {name: part.to(model.device) for name, part in piece.items()}, loss))
    return total / float(fold["weight"])


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """In the block the model is as it is used: without dropout and without gradients; afterwards as it was."""
    was = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was)
