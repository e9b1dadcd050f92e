"""Two stages of learning from preferences: a model that is tuned on them, and a reward model of them.

Tuning is a kind of fine-tuning: the same place in the DAG, the same outputs (`model/`, `metrics.json`, `series.json`), another body. It reads
`model` (a prepared model), `dataset` (a file of preferences, or a checked dataset) and with a dataset `twins` (its file: what was checked holds
what supervised tuning reads, and no twin), `start` (what tuning another arm wrote) where the arm has one, and `reward` (a reward model) where the
method goes by one; notes.json says why it was stopped, if it was.

The reward model reads `model`, `dataset` and `twins`. It writes `model/` (an adapter with a head), metrics.json and reliability.csv: how sure it
was of held-out preferences, and how often right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.schema import NESTED
from tasks.contract import UNSAID, Measure, Stage
from tasks.datasets.preferences import Preference, load_preferences, twins
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.datasets.subset import choose

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trl")

TUNING = Stage(name="finetune", version="1", body="tasks.preference.body:run", libraries=_LIBRARIES, shrink="micro_batch")
REWARD = Stage(name="reward", version="1", body="tasks.preference.reward_body:run", libraries=_LIBRARIES)
REWARD_BYTES_PER_PARAMETER = 8
TWINS = "twins"


@dataclass(frozen=True)
class RewardSettings:
    """How a reward model is tuned. `held_out`: share of the prompts that it is tried on instead."""

    epochs: int
    learning_rate: float
    batch: int
    rank: int
    alpha: int
    held_out: float
    template: str
    train_samples: int
    seed: int
    subset_seed: int | None = field(default=None, metadata=UNSAID)


def reward_settings(options: Mapping[str, Any], train_samples: int, template: str, seed: int, subsets: str) -> RewardSettings:
    """Of the arm with these options."""
    return RewardSettings(
        **options["reward"],
        template=template,
        train_samples=train_samples,
        seed=seed,
        subset_seed=None if subsets == NESTED else seed,
    )


def learned_from(inputs: Mapping[str, Path], train_samples: int, subset_seed: int | None) -> list[Preference]:
    """The preferences of a file, all of them; or of a checked dataset the twins within the subset of that size.

    Raises:
        ValueError: the subset cannot be had, or no sample of it has a twin.
    """
    if TWINS not in inputs:
        return load_preferences(inputs["dataset"])
    off = {row.id: row.off for row in load_rows(inputs[TWINS])}
    rows = choose(load_rows(inputs["dataset"] / SAMPLES), train_samples, subset_seed)
    found = twins([replace(row, off=off[row.id]) for row in rows])
    if not found:
        raise ValueError(f"none of {train_samples} samples has a twin (`off`); preference tuning needs at least one")
    return found


def units(method_learns: str, preferences: list[Preference]) -> int:
    """How many things a pass goes over: pairs, or the prompts that a model answers itself."""
    return len({one.prompt for one in preferences}) if method_learns == "rewards" else len(preferences)


# what is told of tuning by preferences, beside what is told of all tuning
MEASURES = (
    Measure("reward_accuracy", "accuracy of the reward model on held-out preferences"),
    Measure("reward_calibration_error", "expected calibration error of the reward model"),
    Measure("reward_gain", "reward, last pass − first step"),
    Measure("kl_from_start", "KL divergence from the start, last pass", unit="nats an answer"),
    Measure("preference_accuracy", "preferences that the tuned model holds, last pass"),
    Measure("stopped_at_step", "stopped by the guard at step"),
)
