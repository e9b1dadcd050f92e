"""A reward model: a language model with one number for its last token, a LoRA adapter on a base that stays as it is, and a head.

Knows how it is made, loaded and asked, and what is said of how it did on preferences that it has not seen. Its training is TRL's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_registry.loading import open_weights, put_adapter
from tasks.contract import Numerics, write_rows
from tasks.datasets.preferences import Preference
from tasks.finetune.methods._adapter import placed, put
from tasks.statistics import Interval, rate_level

HEAD = "score"  # transformers' name for it
BINS = 5  # of the reliability table, between 50 % and 100 % sure


def begin(folder: Path, numerics: Numerics, filler: int, rank: int, alpha: int) -> Any:
    """A fresh one over a prepared model. Raises ValueError: transformers has no such head for this architecture."""
    from peft import LoraConfig

    base = _base(folder, numerics, filler)
    where = placed(base, {}) | {"task_type": "SEQ_CLS"}
    return put(base, LoraConfig(**where, r=rank, lora_alpha=alpha, modules_to_save=[HEAD]))


def load(folder: Path, adapter: Path, numerics: Numerics, filler: int) -> Any:
    """One that was tuned, in evaluation mode. Raises ValueError, as `put_adapter` does."""
    return put_adapter(_base(folder, numerics, filler), adapter)


def _base(folder: Path, numerics: Numerics, filler: int) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        model, told = open_weights(
            AutoModelForSequenceClassification, folder, numerics.precision, numerics.attention, num_labels=1
        )
    except ValueError as error:
        raise ValueError(
            f"{' '.join(str(error).split())[:120]}; an architecture that has a head for a reward is required"
        ) from None
    if missing := sorted(key for key in map(str, told["missing_keys"]) if HEAD not in key):
        raise ValueError(f"{folder}: weights are missing ({missing[0]}, …); weights that fit config.json are required")
    model.config.name_or_path = model.name_or_path = ""
    model.config.get_text_config().pad_token_id = filler  # the reward is read at the last token that is not this one
    return model.to(numerics.device)


def rewards(model: Any, rows: Sequence[Sequence[int]], batch: int, filler: int) -> list[float]:
    """The reward of each sequence of tokens, a prompt and its answer; `batch` at once."""
    import torch

    found: list[float] = []
    device = next(model.parameters()).device
    with torch.no_grad():
        for start in range(0, len(rows), batch):
            piece = rows[start : start + batch]
            width = max(map(len, piece))
            tokens, seen = torch.full((len(piece), width), filler), torch.zeros((len(piece), width), dtype=torch.long)
            for i, row in enumerate(piece):
                tokens[i, : len(row)], seen[i, : len(row)] = torch.tensor(list(row)), 1
            found += model(input_ids=tokens.to(device), attention_mask=seen.to(device)).logits[:, 0].float().tolist()
    return found


# ---- what is said of one ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """How a reward model did on preferences that it was not tuned on.

    accuracy: the share whose chosen answer it rewards more (ties half), prompts weighing alike, with the interval of Korn & Graubard over prompts.
    calibration_error: expected calibration error (Naeini et al. 2015) of σ(difference of rewards) as the probability that people prefer the answer.
    brier: mean of (1 − σ(difference))², 0.25 for one that does not know.
    """

    accuracy: Interval
    calibration_error: float
    brier: float
    reliability: Sequence[dict[str, float]]
    pairs: int
    prompts: int

    @property
    def at_chance(self) -> bool:
        return self.accuracy.low <= 0.5


def trial(held_out: Sequence[Preference], differences: Sequence[float]) -> Trial:
    """differences [preferences]: reward of the chosen answer − reward of the rejected one. Raises ValueError: a single prompt."""
    right = [1.0 if one > 0 else 0.5 if one == 0 else 0.0 for one in differences]
    of: dict[str, list[float]] = {}
    for one, correct in zip(held_out, right, strict=True):
        of.setdefault(one.prompt, []).append(correct)
    accuracy = rate_level([sum(held) / len(held) for held in of.values()], [len(held) for held in of.values()], ["all"] * len(of))
    sure = [1 / (1 + math.exp(-min(abs(one), 700.0))) for one in differences]
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for confidence, correct in zip(sure, right, strict=True):
        bins[min(BINS - 1, int((confidence - 0.5) * 2 * BINS))].append((confidence, correct))
    table = [
        {"sure": sum(c for c, _ in held) / len(held), "right": sum(r for _, r in held) / len(held), "pairs": float(len(held))}
        for held in bins
        if held
    ]
    error = sum(row["pairs"] * abs(row["sure"] - row["right"]) for row in table) / len(differences)
    brier = sum((1 - 1 / (1 + math.exp(-max(-700.0, min(one, 700.0))))) ** 2 for one in differences) / len(differences)
    return Trial(accuracy, error, brier, table, len(differences), len(of))


def write_reliability(path: Path, found: Trial) -> None:
    write_rows(path, found.reliability, ["sure", "right", "pairs"])
