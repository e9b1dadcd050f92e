"""When tuning by a reward is stopped: the reward rises and what it stands for does not, or answers leave what can be answers.

A reward model is a stand-in (Gao et al. 2023, arXiv 2210.10760): pushed hard enough, a model finds what it rewards by mistake. So tuning is
watched by what the reward model does not see: the margin between held-out answers in the tuned model's own probabilities, its KL divergence from
the start, and the length and the repetitions of its answers. The verdict is a pure function of what was logged; which weights are kept is the
watcher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from tasks.contract import read_json
from tasks.finetune.training import STATE
from tasks.preference.margin import margins
from tasks.preference.tokens import Encoded

KEPT = "before.safetensors"


def verdict(log: Sequence[Mapping[str, float]], bounds: Mapping[str, float]) -> str:
    """Why tuning has to stop after these steps; empty where it may go on.

    log: a row a step: `reward`, `kl` (nats a token), `completions/mean_length` (tokens), `repeated` (share), `held_out_margin` (nats a token).
    bounds: `max_kl`, `max_length`, `max_repeated`, `max_fall`, `patience`, as `tasks.finetune.methods._preference.Guard`.
    """
    patience = int(bounds["patience"])
    if not log or len(log) < patience:
        return ""
    first, last = log[0], log[-patience:]

    def now(name: str) -> float:
        return sum(row[name] for row in last) / len(last)

    kl = sum(an_answer(row) for row in last) / len(last)
    if kl > bounds["max_kl"]:
        return f"the KL divergence from the start is {kl:.1f} nats an answer, above max_kl {bounds['max_kl']:g}"
    if (length := now("completions/mean_length") / max(1.0, first["completions/mean_length"])) > bounds["max_length"]:
        return f"answers are {length:.1f} times as long as at first, above max_length {bounds['max_length']:g}"
    if (repeated := now("repeated")) > bounds["max_repeated"]:
        return f"{repeated:.0%} of the answers' three-token sequences repeat, above max_repeated {bounds['max_repeated']:g}"
    fall = first["held_out_margin"] - now("held_out_margin")
    if fall > bounds["max_fall"] and now("reward") > first["reward"]:
        return (
            f"the reward rose by {now('reward') - first['reward']:.2f} while the margin between held-out answers fell by {fall:.2f} nats a "
            f"token, more than max_fall {bounds['max_fall']:g}"
        )
    return ""


def an_answer(row: Mapping[str, float]) -> float:
    """KL divergence in nats an answer, of one logged in nats a token."""
    return row["kl"] * row["completions/mean_length"]


def repeated(answer: Sequence[int], width: int = 3) -> float:
    """The share of its token sequences of this width that stand in it already, from 0 to 1; 0 for one that is shorter."""
    runs = [tuple(answer[start : start + width]) for start in range(len(answer) - width + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


class Watched(TrainerCallback):
    """Watches a run, and puts back what was in bounds: what a step logs is of the weights that it began with, so that where it is out of bounds the
    weights before those were the last that were not."""

    def __init__(self, held_out: Sequence[Encoded], batch: int, bounds: Mapping[str, float], scratch: Path) -> None:
        self.held_out, self.batch, self.bounds, self.scratch = held_out, batch, bounds, scratch
        self.stopped = ""  # why
        # the weights now, those that the last step began with, and those before; oldest first
        self._before: list[dict[str, torch.Tensor]] = []

    def margin(self, model: Any) -> float:
        """The mean over the held-out answers, in nats a token."""
        return fmean(margins(model, self.held_out, self.batch))

    def resume(self, step: int) -> bool:
        """Go on from a checkpoint, or from 0; whether training had been stopped there."""
        log = read_json(self.scratch / f"checkpoint-{step}" / STATE)["log_history"] if step else []
        self.stopped = verdict([row for row in log if "loss" in row], self.bounds)
        return bool(self.stopped)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if not self._before:
            self._before = [_copied(model)]

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._before = [*self._before, _copied(model)][-3:]

    def on_log(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        rows = [row for row in state.log_history if "reward" in row and "loss" in row]
        if not rows or self.stopped:
            return
        self.stopped = verdict(rows, self.bounds)
        if self.stopped:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if name in self._before[0]:
                        weight.copy_(self._before[0][name])
            control.should_training_stop = control.should_save = True

    def save(self, folder: Path) -> None:
        save_file(
            {f"{age} {name}": weight for age, held in enumerate(self._before) for name, weight in held.items()}, folder / KEPT
        )

    def load(self, folder: Path) -> None:
        self._before = []
        for key, weight in load_file(folder / KEPT).items():
            age, _, name = key.partition(" ")
            while len(self._before) <= int(age):
                self._before.append({})
            self._before[int(age)][name] = weight


def _copied(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}
