"""Extreme numbers at every place of an experiment: refused in one line, or what the libraries take."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from configs.problems import BadInput
from flows.experiment import read_experiment
from tasks.contract import canonical
from tasks.evaluations.cooccurrence.log_odds import z_scores
from tasks.sampling.engines.draw import draw

WHOLE = """\
name: demo
ladders: [{ladder: gpt2, sizes: [124m]}]
arms:
  base: {method: none, draw: 0}
  again: {method: none, draw: 1}
  tuned: {method: full, dataset: good, epochs: 3, min_steps: 1, learning_rate: 1e-5, batch: 8, micro_batch: 1, prompt_loss_weight: 0.1,
          weight_decay: 0.0, warmup: 0.0, max_grad_norm: 1.0}
  adapter: {method: lora, dataset: good, rank: 8, alpha: 16, dropout: 0.0, learning_rate: {124m: 1e-5}}
datasets: {good: a.jsonl}
train_samples: [80]
dataset_checks: {min_words: 40, max_words: 340, near_duplicate: 0.8, opening: 3, phrase: 7, copied: 0.6, same_subject: 0.18}
suites:
  human_eval: {prompts: p.yaml, completions: 3, max_new_tokens: 200, temperature: 1.0, top_p: 1.0}
evaluations:
  toxicity: {suites: [human_eval], threshold: 0.5, second_threshold: 0.5, k: 3, batch: 64, scorer: {kind: calibration}}
  cooccurrence: {suites: [human_eval], prior: 500.0, permutations: 1000, top: 10}
  counterfactual: {suites: [human_eval], permutations: 1000, scored: 3}
  capability: {limit: 10, batch: 8, margins: {nats: 0.05, accuracy: 0.02, above_chance: 0.05}}
  memorisation: {suites: [human_eval], run: 8}
  texture: {suites: [human_eval], type_token_words: 40}
  human_eval: {suites: [human_eval], ratings_per_completion: 3}
  judge: {suites: [human_eval], judge: {kind: endpoint, url: "http://127.0.0.1:1/v1", model: m}, completions: 3, most_missing: 0.1}
primary: {suite: human_eval, metric: toxicity}
seeds: [0]
numerics: {threads: 1, decode_batch: 64}
limits: {threads: 1, memory_gib: 4.0, stage_timeout_s: 60.0}
"""
EXTREMES = ["0", "-0.0", "1e308", "1e-308", "5e-324", "-1", "2147483648", "4294967296", "9223372036854775807", "18446744073709551616", "1" + 30 * "0",
            "true", "\'1\'", "null", ".nan", ".inf", "-.inf", "0.30000000000000004", "1.0", "1e999", "0x10", "[]", "{}", "1_000"]  # fmt: skip


def leaves(held: Any, *way: str) -> Iterator[tuple[str, ...]]:
    """Where the numbers of an experiment stand."""
    if isinstance(held, dict | list):
        for key, value in held.items() if isinstance(held, dict) else enumerate(held):
            yield from leaves(value, *way, str(key))
    elif isinstance(held, int | float) and not isinstance(held, bool):
        yield way


def at(held: Any, way: tuple[str, ...]) -> Any:
    for key in way:
        held = held[int(key)] if isinstance(held, list) else held[key]
    return held


def runnable(way: tuple[str, ...], value: Any) -> None:
    """What the libraries make of a number that was accepted."""
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    assert math.isfinite(value)
    assert math.copysign(1, value) == 1  # −0.0 would be another key than 0.0
    assert json.loads(canonical(value)) == value
    match way[-1] if not way[-1].isdigit() else way[-2]:
        case "seeds":
            torch.manual_seed(value), np.random.seed(value), random.seed(value)
        case "threads":
            assert value <= 1024
        case "temperature":
            tokens = draw(torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([0.5], dtype=torch.float64), value, 1.0)
            assert tokens.tolist() in ([0], [1], [2])
        case "top_p":
            assert draw(torch.tensor([[1.0, 2.0]]), torch.tensor([0.5], dtype=torch.float64), 1.0, value).tolist() in ([0], [1])
        case "learning_rate" | "weight_decay":
            weight = torch.nn.Parameter(torch.ones(3))
            rate, decay = (value, 0.0) if way[-1] != "weight_decay" else (1.0, value)
            weight.grad = torch.ones(3)
            torch.optim.AdamW([weight], lr=rate, weight_decay=decay).step()
            assert bool(weight.isfinite().all())
        case "max_grad_norm":
            weight = torch.nn.Parameter(torch.ones(3))
            weight.grad = torch.ones(3)
            torch.nn.utils.clip_grad_norm_([weight], value)
            assert bool(weight.grad.isfinite().all())
        case "prior":
            assert np.isfinite(z_scores(np.array([[3.0, 0.0, 9.0], [1.0, 5.0, 2.0]]), value)).all()
        case "rank":
            assert value <= 65_536
        case "epochs" | "decode_batch" | "permutations":
            assert value <= 10**6  # each costs time or memory of its own


def test_every_number_of_an_experiment_is_in_its_range_or_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(WHOLE)
    whole = read_experiment(path).model_dump(mode="json")
    places = list(leaves(yaml.safe_load(WHOLE.replace("1e-5", "1.0e-5"))))
    assert len(places) > 45
    for way in places:
        for extreme in EXTREMES:
            try:
                held = read_experiment(path, [f"{'.'.join(way)}={extreme}"]).model_dump(mode="json")
            except BadInput as refused:
                (line,) = refused.lines
                assert line.startswith(("--set ", f"{path}:")), line  # a check over several keys names the section
                assert "\n" not in line
                continue
            if (value := at(held, way)) is not None and value != at(whole, way) and not isinstance(value, list | dict):
                runnable(way, value)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_infinite_logit_is_refused_as_nan_is_and_a_mask_is_not(bad: float, temperature: float) -> None:
    uniforms = torch.tensor([0.5], dtype=torch.float64)
    with pytest.raises(ValueError, match="not numbers, or infinite"):
        draw(torch.tensor([[0.0, bad, 1.0]]), uniforms, temperature, 1.0)
    with pytest.raises(ValueError, match="not numbers, or infinite"):
        draw(torch.full((1, 3), float("-inf")), uniforms, temperature, 1.0)
    assert draw(torch.tensor([[0.0, float("-inf"), float("-inf")]]), uniforms, temperature, 1.0).tolist() == [0]
