"""The training loop: transformers' Trainer with a weighted loss, taken up again bit for bit after an interruption.

Knows optimiser, schedule and checkpoints. What is read at each step is settled in `batches`, what is trained and by which loss in
`methods`.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from tasks.contract import Numerics, read_json
from tasks.finetune import sharding
from tasks.finetune.attention import ShortAttention
from tasks.finetune.batches import Batches
from tasks.finetune.loss import piece_loss
from tasks.finetune.methods import Method
from tasks.finetune.regularisers import Regulariser
from tasks.finetune.stage import Settings
from tasks.finetune.watching import Watch

WEIGHTS, STATE = "trained.safetensors", "trainer_state.json"
CHECKPOINTS = 8  # a run: of a short one little is lost, and a long one is not spent on writing them
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}  # by transformers' names


class KeepsTrained:
    """A Trainer whose checkpoints hold the trained parameters under the model's own names.

    Those that the Trainer would write by save_pretrained have names of older releases (GPT-NeoX: embed_out for lm_head), which it does not
    translate when it reads them back: the output layer then silently starts from the untuned weights again.
    """

    model: torch.nn.Module

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file({name: sharding.local(weight.detach()) for name, weight in self._trained()}, Path(output_dir) / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        kept = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        with torch.no_grad():
            for name, weight in self._trained():
                sharding.local(weight).copy_(kept[name])

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # estimated from the shape of a single batch, which there is none of here; nobody reads it


class WeightedTrainer(KeepsTrained, Trainer):
    """One item of the dataset is one optimiser step. The loss is divided by the whole step's weight, so how a step is cut into
    pieces, and shared out among ranks, changes nothing but rounding; the Trainer's own accumulation, which averages pieces of unlike weight, is
    not used. Gradients come as the mean over the ranks."""

    def __init__(self, loss: Callable[[Any, Any, Any], Any], regulariser: Regulariser | None, **options: Any) -> None:
        super().__init__(**options)
        self._loss, self._regulariser = loss, regulariser
        self._term: float | None = None  # of the step that is made

    def get_train_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=itemgetter(0))

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        model.train()
        total = torch.zeros((), device=self.args.device)
        with self._lean(model):
            for piece in self._prepare_inputs(inputs["pieces"]):
                loss = piece_loss(model, piece, self._loss) / inputs["weight"]
                self.accelerator.backward(loss * sharding.ranks())
                total += loss.detach()
        total = sharding.summed(total)
        if not torch.isfinite(total):
            raise ValueError(f"step {self.state.global_step + 1}: the loss is {total.item()}; a lower learning_rate is required")
        self._term = self._regularise(model, self._prepare_inputs(inputs["further"])) if inputs["further"] else None
        return total

    @contextmanager
    def _lean(self, model: torch.nn.Module) -> Iterator[None]:
        """In bf16 autocast brings what layers read to bf16: that PEFT brings it to an adapter's fp32 before changes no bit, and takes a sixth of a
        step's memory."""
        if not self.args.bf16:
            yield
            return
        with disable_input_dtype_casting(model), ShortAttention():
            yield

    def _regularise(self, model: torch.nn.Module, pieces: list[Any]) -> float:
        """The step's term, which adds its gradient to that of the loss. Without a weight it is told, and all else is as if it were not there."""
        assert self._regulariser is not None
        weight = self._regulariser.weight
        model.eval()  # dropout would tell two equal texts apart, and draw what the next step is to draw
        total = 0.0
        for piece in pieces:
            with torch.set_grad_enabled(weight > 0):
                term = self._regulariser.term(model, piece)
            if weight > 0:
                self.accelerator.backward(weight * term)
            total += term.item()
        if not math.isfinite(total):
            raise ValueError(
                f"step {self.state.global_step + 1}: the fairness term is {total}; a lower learning_rate or weight is required"
            )
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        told = {"fairness": self._term} if self._term is not None and "loss" in logs else {}
        super().log(logs | told, start_time)


class Progress(TrainerCallback):
    def __init__(self, tell: Callable[[int, int, str], None]) -> None:
        self.tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.tell(state.global_step, state.max_steps, "step")


def train(
    model: Any,
    batches: Batches,
    method: Method,
    settings: Settings,
    numerics: Numerics,
    scratch: Path,
    tell: Callable[[int, int, str], None],
    regulariser: Regulariser | None = None,
    watch: Watch | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place, from the newest checkpoint in `scratch` if there is one; `watch` may stop it before the last step.

    Returns one row a step: `step`, `loss` (without a regulariser's term), `learning_rate`, `grad_norm` (before clipping), and where there are
    pairs to regularise `fairness`, the term without its weight. Defaults of the Trainer that would be
    in the way are set here: its output on the screen, its reports, its fused optimiser, and the filter that hides losses which
    are not finite.
    """
    given = {**quiet(numerics, settings.seed, len(batches), scratch), **optimiser(settings, len(batches))}
    arguments = on_one_device(TrainingArguments(**given, per_device_train_batch_size=1))
    assert method.loss is not None
    trainer = WeightedTrainer(
        method.loss, regulariser, model=model, args=arguments, train_dataset=batches, callbacks=[Progress(tell)]
    )
    return run_to_end(trainer, settings.seed, scratch, watch)


def run_to_end(trainer: Any, seed: int, scratch: Path, watch: Any = None) -> list[dict[str, float]]:
    """Train from the newest checkpoint, if there is one; what was logged of each step.

    watch: a callback that may stop training, whose `resume` tells whether it had done so at a checkpoint.
    """
    trainer.remove_callback(PrinterCallback)
    set_seed(seed)  # dropout and draws start from here, whatever was drawn before
    sharding.diverge()
    checkpoint = newest_of_all(scratch)
    if watch is not None:
        trainer.add_callback(watch)
        if watch.resume(step_of(checkpoint) if checkpoint else 0):  # it had been stopped there, and was not committed
            assert checkpoint is not None
            trainer._load_from_checkpoint(str(checkpoint))
            return [row for row in read_json(checkpoint / STATE)["log_history"] if "loss" in row]
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return [row for row in trainer.state.log_history if "loss" in row]


def optimiser(settings: Settings, steps: int) -> dict[str, Any]:
    """What a trainer is told of rate and schedule."""
    return {
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": SCHEDULES[settings.schedule],
        "warmup_steps": math.ceil(settings.warmup * steps),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
    }


def quiet(numerics: Numerics, seed: int, steps: int, scratch: Path) -> dict[str, Any]:
    """What every trainer is told: how long, where its checkpoints go, and no output of its own."""
    return {
        "output_dir": str(scratch),
        "max_steps": steps,
        "optim": "adamw_torch",
        "bf16": numerics.precision == "bf16",
        "use_cpu": numerics.device == "cpu",
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": math.ceil(steps / CHECKPOINTS),
        "save_total_limit": min(sharding.ranks(), 2),  # the last that all have may be any rank's last but one
        "report_to": "none",
        "disable_tqdm": True,
    }


def on_one_device(arguments: Any) -> Any:
    """On several GPUs the Trainer would split every batch over all it sees."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def require_finite(log: Sequence[Mapping[str, float]], what: str, rate: str) -> None:
    """Raises ValueError: a step's loss is no finite number. `what` has it, `rate` is the key of its learning rate."""
    if wrong := next((row for row in log if not math.isfinite(row["loss"])), None):
        raise ValueError(f"step {wrong['step']}: the loss of {what} is {wrong['loss']}; a lower {rate} is required")


def newest_of_all(scratch: Path) -> Path | None:
    """The newest checkpoint that every rank has; a later one is deleted."""
    newest = newest_checkpoint(scratch)
    step = sharding.least(step_of(newest) if newest else 0)
    while newest and step_of(newest) > step:
        shutil.rmtree(newest)
        newest = newest_checkpoint(scratch)
    return newest


def newest_checkpoint(scratch: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones, cut off by a crash, are deleted."""
    complete = []
    for folder in scratch.glob("checkpoint-*"):
        try:
            read_json(folder / STATE)  # written last
            complete.append(folder)
        except (FileNotFoundError, ValueError):
            shutil.rmtree(folder)
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
