"""What bf16 gains over fp32, by a model's size: a decoding step of 64 rows and a LoRA pass, both precisions in turn in one run.

    python -m benchmarks.precision [--repetitions 5] [--threads 2]

Random weights of Llama shapes. A decoding step takes one token of 64 rows behind 24; ten are timed together. A pass is forward and backward over
2 × 250 tokens, with a LoRA adapter of rank 16 on all linear layers, in bf16 under autocast as tuning has it. The first of each is not counted. From
which size on `precision: auto` looks at a model at all hangs on it (`tasks.prepare.stage`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from peft import get_peft_model

from benchmarks.decode import DTYPES, LORA, llama
from flows.engine.processes import keep_freed_memory
from model_registry.loading import make_deterministic

SHAPES = (
    (4096, 128, 2, 4),
    (8192, 256, 4, 8),
    (16384, 320, 6, 8),
    (32768, 512, 8, 8),
    (49152, 576, 12, 9),
)  # words, width, layers, heads
ROWS, BEFORE, STEPS, TEXTS = 64, 24, 10, (2, 250)


def shape(words: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        **{"vocab_size": words, "hidden_size": width, "intermediate_size": 3 * width},
        **{"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads},
    }


def decoding(model: Any) -> float:
    """Seconds of STEPS tokens of every row."""
    words = model.config.vocab_size
    with torch.inference_mode():
        cache = model(torch.randint(1, words, (ROWS, BEFORE)), use_cache=True).past_key_values
        began = time.perf_counter()
        for _ in range(STEPS):
            model(torch.randint(1, words, (ROWS, 1)), past_key_values=cache, use_cache=True)
        return time.perf_counter() - began


def tuning(model: Any) -> float:
    """Seconds of a forward and backward pass."""
    ids = torch.randint(1, model.config.vocab_size, TEXTS)
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.bfloat16):
        loss = model(ids, labels=ids).loss
    loss.backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    make_deterministic()
    keep_freed_memory()
    print("| parameters | decoding, bf16 against fp32 | LoRA, bf16 against fp32 |\n|---|---|---|")
    for sizes in SHAPES:
        plain = {name: llama(shape(*sizes), dtype) for name, dtype in DTYPES.items()}
        count = sum(weight.numel() for weight in plain["fp32"].parameters())
        told = [_ratio(decoding, plain, given.repetitions)]
        told.append(_ratio(tuning, {name: get_peft_model(model, LORA) for name, model in plain.items()}, given.repetitions))
        print(f"| {count / 1e6:.3g}M | {told[0]} | {told[1]} |", flush=True)


def _ratio(work: Any, models: dict[str, Any], repetitions: int) -> str:
    for model in models.values():
        work(model)
    pairs = [[work(models[name]) for name in ("fp32", "bf16")] for _ in range(repetitions)]
    ratios = [fp32 / bf16 for fp32, bf16 in pairs]
    return f"{statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
