"""Tunes a reward model and tries it on preferences that it has not seen; one that is no better than chance is no reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import set_seed

from model_registry.loading import make_deterministic, prepared_folder
from model_registry.tokenization import load_tokenization
from tasks.contract import SERIES, Job, Metric, write_json, write_metrics
from tasks.datasets.preferences import split
from tasks.finetune.start import write_adapter
from tasks.finetune.training import require_finite, run_to_end
from tasks.preference.rewards import begin, rewards, trial, write_reliability
from tasks.preference.stage import RewardSettings, learned_from
from tasks.preference.tokens import Encoded, encode
from tasks.preference.trainers import on_reward_pairs


def run(jobs: Sequence[Job]) -> None:
    make_deterministic()
    for job in jobs:
        tune(job)


def tune(job: Job) -> None:
    """Tune one reward model and commit it.

    Raises:
        ValueError: there are too few preferences, one does not fit the context, the loss is not finite, or held-out preferences are not told
            better than by chance.
    """
    settings: RewardSettings = job.settings
    folder = prepared_folder(job.inputs["model"])
    words = load_tokenization(folder)
    turn = words.turn(settings.template)
    preferences = learned_from(job.inputs, settings.train_samples, settings.subset_seed)
    shown, kept = split(preferences, settings.held_out, settings.seed)
    learned, held_out = encode(shown, words, turn), encode(kept, words, turn)
    set_seed(settings.seed)  # the head and the adapter start from random numbers
    model = begin(folder, job.numerics, words.end, settings.rank, settings.alpha)
    steps = settings.epochs * math.ceil(len(learned) / settings.batch)
    job.say(f"reward model: {len(learned)} preferences, {len(held_out)} held out, {steps} steps")
    trainer = on_reward_pairs(job, model, words.tokenizer, learned, steps)
    log = run_to_end(trainer, settings.seed, job.scratch)
    require_finite(log, "the reward model", "reward.learning_rate")
    found = trial(kept, _differences(model.eval(), held_out, settings.batch, words.end))
    low, high = found.accuracy.low, found.accuracy.high
    told = f"{found.accuracy.value:.0%} [{low:.0%}, {high:.0%}] of {found.pairs} held-out preferences ({found.prompts} prompts)"
    if found.at_chance:
        raise ValueError(f"the reward model is at chance: it tells {told}; more preferences, or more steps, are required")
    job.say(f"the reward model tells {told}; expected calibration error {found.calibration_error:.2f}")
    (folder := job.work / "model").mkdir(exist_ok=True)  # it may be there, of a try that got this far and was not committed
    write_adapter(model, folder)
    write_reliability(job.work / "reliability.csv", found)
    write_json(job.work / SERIES, {"reward_loss": [[row["step"], row["loss"]] for row in log]})
    metrics = [
        Metric("reward_accuracy", found.accuracy.value, found.prompts, ci_low=low, ci_high=high),
        Metric("reward_calibration_error", found.calibration_error, found.prompts),
        Metric("reward_brier", found.brier, found.prompts),
    ]
    write_metrics(job.work, metrics)
    job.commit()


def _differences(model: Any, pairs: Sequence[Encoded], batch: int, filler: int) -> list[float]:
    rows = [[*one.prompt, *answer] for one in pairs for answer in (one.chosen, one.rejected)]
    said = rewards(model, rows, batch, filler)
    return [chosen - rejected for chosen, rejected in zip(said[::2], said[1::2], strict=True)]
