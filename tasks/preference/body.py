"""Tunes a model on preferences: by the pairs themselves, or by what a reward model of them says of the model's own answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_registry.loading import make_deterministic, prepared_folder
from model_registry.tokenization import Ids, Tokenization, Turn, load_tokenization
from tasks.contract import SERIES, Job, Metric, write_json, write_metrics
from tasks.datasets.preferences import Preference, split
from tasks.finetune import methods
from tasks.finetune.stage import Settings, optimiser_steps
from tasks.finetune.start import begin, keep
from tasks.finetune.training import require_finite, run_to_end
from tasks.preference import trainers
from tasks.preference.guard import Watched, an_answer, repeated
from tasks.preference.margin import margins
from tasks.preference.rewards import load, rewards
from tasks.preference.stage import learned_from, units
from tasks.preference.tokens import encode

HELD_OUT = 24  # preferences that are watched, at most; each step pays for them


def run(jobs: Sequence[Job]) -> None:
    make_deterministic()
    for job in jobs:
        tune(job)


def tune(job: Job) -> None:
    """Tune one model and commit it.

    Raises:
        ValueError: there is no preference, one does not fit the context, or the loss is not finite.
    """
    settings: Settings = job.settings
    method = methods.found()[settings.method]
    folder = prepared_folder(job.inputs["model"])
    words = load_tokenization(folder)
    turn = words.turn(settings.template)
    preferences = learned_from(job.inputs, settings.train_samples, settings.subset_seed)
    count = units(method.learns, preferences)
    steps = optimiser_steps(settings)
    pairs = encode(preferences, words, turn)
    model = begin(job, method)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    what = "prompts" if method.learns == "rewards" else "preferences"
    job.say(f"{settings.method}: {trainable:,} parameters, {count} {what}, {steps} steps")
    if method.learns == "pairs":
        log, stopped = run_to_end(trainers.on_pairs(job, model, words.tokenizer, pairs, steps), settings.seed, job.scratch), ""
    else:
        log, stopped = _by_reward(job, model, words, turn, preferences, steps)
    require_finite(log, job.label, "learning_rate")
    held = [margin > 0 for margin in margins(model, pairs, settings.micro_batch * 2)]
    if trainers.REFERENCE in model.peft_config:
        model.delete_adapter(trainers.REFERENCE)
    keep(model, job)
    a_pass = math.ceil(count / settings.batch)
    values = {
        "final_loss": _mean(log[-a_pass:], "loss"),
        "optimiser_steps": len(log),
        "trainable_parameters": trainable,
        "preference_accuracy": sum(held) / len(held),
    }
    if method.learns == "rewards":
        values["reward_gain"] = _mean(log[-a_pass:], "reward") - log[0]["reward"]
        values["kl_from_start"] = sum(map(an_answer, log[-a_pass:])) / len(log[-a_pass:])
    if stopped:
        values["stopped_at_step"] = len(log)
        job.say(f"stopped at step {len(log)} of {steps}: {stopped}")
        write_json(job.work / "notes.json", [f"stopped at step {len(log)} of {steps}: {stopped}; the weights before are kept"])
    write_json(job.work / SERIES, _series(log))
    write_metrics(job.work, [Metric(name, float(value), count) for name, value in values.items()])
    job.commit()


def _by_reward(
    job: Job, model: Any, words: Tokenization, turn: Turn, preferences: Sequence[Preference], steps: int
) -> tuple[list[dict[str, float]], str]:
    """What was logged of each step, and why it was stopped before the last; empty where it was not."""
    settings: Settings = job.settings
    options = settings.options
    rows = settings.micro_batch * options["completions"]
    _, kept = split(preferences, options["reward"]["held_out"], settings.seed)  # as the reward model has it
    apart = kept[:: math.ceil(len(kept) / HELD_OUT)]  # over all categories, which they are sorted by
    watched = Watched(encode(apart, words, turn), rows, options["guard"], job.scratch)
    prompts = dict.fromkeys(one.prompt for one in preferences)
    asked = {prompt: words.asked(turn, prompt, options["max_new_tokens"]) for prompt in prompts}
    folder, judge = prepared_folder(job.inputs["model"]), job.inputs["reward"] / "model"
    scored = load(folder, judge, job.numerics, words.end)
    reward = _reward(scored, asked, rows, words.end)
    trainer = trainers.on_rewards(job, model, words.tokenizer, asked, reward, watched, steps)
    return run_to_end(trainer, settings.seed, job.scratch, watched), watched.stopped


def _reward(scored: Any, asked: Mapping[str, Ids], batch: int, filler: int) -> Callable[..., list[float]]:
    """The reward as TRL asks for it: of prompts and the tokens of answers."""

    def reward(prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], log_metric: Any, **_: Any) -> list[float]:
        log_metric("repeated", sum(map(repeated, completion_ids)) / len(completion_ids))
        return rewards(
            scored, [[*asked[prompt], *ids] for prompt, ids in zip(prompts, completion_ids, strict=True)], batch, filler
        )

    return reward


# TRL's names → ours
_LOGGED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "completions/mean_length": "answer_tokens",
    "repeated": "repeated",
    "held_out_margin": "held_out_margin",
    "rewards/margins": "implicit_reward_margin",
    "rewards/accuracies": "implicit_reward_accuracy",
}


def _series(log: Sequence[Mapping[str, float]]) -> dict[str, list[list[float]]]:
    found = {ours: [[row["step"], row[theirs]] for row in log if theirs in row] for theirs, ours in _LOGGED.items()}
    if any("reward" in row for row in log):  # KTO logs a `kl` that is its reference point
        found["kl_from_start"] = [[row["step"], an_answer(row)] for row in log]
    return {name: points for name, points in found.items() if points}


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)
