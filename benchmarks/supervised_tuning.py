"""A supervised LoRA arm against TRL's SFTTrainer: tokens a second, loss curve and peak memory, interleaved, each run in a process of its own.

    python -m benchmarks.supervised_tuning [--size 10m|135m] [--precision fp32|bf16] [--steps 20] [--repetitions 5] [--threads 2] [--device cpu]

Both tune the same LoRA adapter on the same model with random weights, on the same batches of the same tokens (as long as the shipped samples
are), with the same optimiser, rate and loss: completions alone. TRL runs once as it comes, but for what makes the task equal (rate, steps,
batch, precision, order), and once for each setting that may be its best: no gradient checkpointing, batches in one piece or row by row,
attention eager or sdpa. Ours runs as it comes, in pieces of so many tokens, and row by row. Peaks are of resident memory (on a GPU: of its own)
during training, over what was held as it began.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from configs.shipped import CONFIGS
from flows.engine.processes import forget_peak, peak_gib
from tasks.finetune.stage import MICRO_TOKENS

BATCH, RATE, LORA = 8, 1e-3, {"rank": 16, "alpha": 32, "dropout": 0.0}
TOLERANCE = {"fp32": 2e-3, "bf16": 5e-2}  # of a step's loss, relatively
SMOLLM2: dict[str, Any] = {  # of 135M
    **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536},
    **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
}
SHAPES: dict[str, dict[str, Any]] = {
    "10m": {
        **{"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768},
        **{"num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 4},
    },
    "135m": SMOLLM2,
}
WAYS = {
    "ours, as it comes": {"micro_batch": BATCH, "micro_tokens": MICRO_TOKENS},
    "ours, row by row": {"micro_batch": 1},
    "TRL, defaults": {},
    "TRL, whole batches": {"per_device_train_batch_size": BATCH},
    "TRL, whole batches, eager": {"per_device_train_batch_size": BATCH, "attention": "eager"},
    "TRL, row by row": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="10m")
    parser.add_argument("--precision", choices=TOLERANCE, default="fp32")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(trained(given.way, given)))
        return
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(given.repetitions):
        for way, held in runs.items():
            command = [sys.executable, "-m", "benchmarks.supervised_tuning", *sys.argv[1:], "--way", way]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": str(given.threads),
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
            }
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            held.append(json.loads(done.stdout.splitlines()[-1]))
    for line in told(runs, given.precision):
        print(line)


def told(runs: dict[str, list[dict[str, Any]]], precision: str) -> list[str]:
    """A row a way: medians of tokens a second, with the range, and of peak memory; then the ratios and whether the losses agree."""
    rate = {way: [run["tokens"] / run["seconds"] for run in held] for way, held in runs.items()}
    peak = {way: statistics.median(run["peak_mib"] for run in held) for way, held in runs.items()}
    lines = ["| way | tokens/s (range) | peak memory, MiB | last loss |", "|---|---|---|---|"]
    for way, held in runs.items():
        low, middle, high = min(rate[way]), statistics.median(rate[way]), max(rate[way])
        lines.append(f"| {way} | {middle:,.0f} ({low:,.0f} to {high:,.0f}) | {peak[way]:,.0f} | {held[0]['losses'][-1]:.4f} |")
    ours = max((way for way in WAYS if way.startswith("ours")), key=lambda way: statistics.median(rate[way]))
    best = max(
        (way for way in WAYS if way.startswith("TRL,") and "defaults" not in way), key=lambda way: statistics.median(rate[way])
    )
    for other in ("TRL, defaults", best):
        ratios = [one / two for one, two in zip(rate[ours], rate[other], strict=True)]
        lines.append(
            f"{ours} against {other}: {statistics.median(ratios):.2f} × its tokens a second ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{peak[ours] / peak[other]:.2f} × its memory"
        )
    losses = {way: held[0]["losses"] for way, held in runs.items()}
    apart = max(abs(one - two) / two for way in WAYS for one, two in zip(losses[way], losses["ours, as it comes"], strict=True))
    lines.append(f"losses differ by {apart:.1e} at most, step by step ({TOLERANCE[precision]:.0e} is accepted)")
    if not apart <= TOLERANCE[precision]:
        raise SystemExit("\n".join([*lines, "the loss curves are not the same: nothing of the above compares"]))
    return lines


# ---- one run, in a process of its own ---------------------------------------------------------------------------------------


def trained(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds, tokens without padding, peak memory in MiB over what was held before, and the loss of every step."""
    import torch

    from model_registry.loading import PRECISIONS, quiet
    from tasks.finetune import methods
    from tasks.finetune.batches import order

    quiet()
    torch.set_num_threads(given.threads)
    options = dict(WAYS[way])
    attention = options.pop("attention", "sdpa")
    model = methods.found()["lora"].build(network(given.size, attention, given.device, PRECISIONS[given.precision]), LORA)
    samples = texts(SHAPES[given.size]["vocab_size"])
    batches = order(len(samples), BATCH, given.steps, seed=0)
    run = ours if way.startswith("ours") else theirs
    with tempfile.TemporaryDirectory() as folder:
        train = run(model, samples, batches, given, Path(folder), options)
        held = begin_peak(given.device)
        began = time.perf_counter()
        losses = train()
        seconds = time.perf_counter() - began
    tokens = sum(len(asked) + len(answered) for batch in batches for asked, answered in (samples[place] for place in batch))
    return {"seconds": seconds, "tokens": tokens, "peak_mib": peak_mib(given.device) - held, "losses": losses}


def network(size: str, attention: str, device: str, dtype: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[size], max_position_embeddings=2048, tie_word_embeddings=True, attn_implementation=attention)
    return LlamaForCausalLM(config).to(device=device, dtype=getattr(torch, dtype))


def texts(vocabulary: int) -> list[tuple[list[int], list[int]]]:
    """Random tokens, as many as the shipped samples have by 1.3 a word: what is asked, and what is answered."""
    import random

    from tasks.datasets.rows import load_rows

    rows, draw = load_rows(CONFIGS / "datasets" / "values_targeted.jsonl"), random.Random(0)

    def tokens(text: str) -> list[int]:
        return [draw.randrange(1, vocabulary) for _ in range(round(1.3 * len(text.split())))]

    return [(tokens(row.prompt), tokens(row.completion)) for row in rows][:80]


def ours(model: Any, samples: Any, batches: Any, given: argparse.Namespace, folder: Path, options: dict[str, Any]) -> Any:
    from model_registry.loading import make_deterministic
    from tasks.contract import Numerics
    from tasks.finetune import methods
    from tasks.finetune.batches import Batches, Sample
    from tasks.finetune.stage import Settings
    from tasks.finetune.training import train

    make_deterministic()
    settings = Settings(
        method="lora", epochs=1, min_steps=given.steps, learning_rate=RATE, batch=BATCH, prompt_loss_weight=0.0, weight_decay=0.0,
        warmup=0.0, schedule="linear", max_grad_norm=1.0, options=LORA, template="{prompt}", train_samples=len(samples), seed=0, **options,
    )  # fmt: skip
    read = [Sample((*asked, *answered), (*[0.0] * len(asked), *[1.0] * len(answered))) for asked, answered in samples]
    data = Batches(read, batches, settings.micro_batch, filler=0, micro_tokens=settings.micro_tokens)
    numerics = Numerics(given.device, given.precision, given.threads, "sdpa")
    return lambda: [
        row["loss"]
        for row in train(model, data, methods.found()["lora"], settings, numerics, folder, lambda done, total, unit: None)
    ]


def theirs(model: Any, samples: Any, batches: Any, given: argparse.Namespace, folder: Path, options: dict[str, Any]) -> Any:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    from tests import tiny

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    def row(place: int) -> dict[str, list[int]]:
        asked, answered = samples[place]
        return {"input_ids": [*asked, *answered], "completion_mask": [0] * len(asked) + [1] * len(answered)}

    equal = {"learning_rate": RATE, "max_steps": given.steps, "bf16": given.precision == "bf16", "use_cpu": given.device == "cpu"}
    silent = {"report_to": "none", "disable_tqdm": True, "logging_steps": 1, "output_dir": str(folder)}
    best = {"gradient_checkpointing": False, "dataloader_pin_memory": False} if options else {}
    trainer = InOrder(
        model,
        SFTConfig(**equal, **silent, **best, **options, completion_only_loss=True),
        train_dataset=Dataset.from_list([row(place) for batch in batches for place in batch]),
        processing_class=tiny.tokenizer(),
    )

    def train() -> list[float]:
        trainer.train()
        return [one["loss"] for one in trainer.state.log_history if "loss" in one]

    return train


def begin_peak(device: str) -> float:
    """Forget earlier peaks; what is held now, in MiB."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    forget_peak()
    return peak_gib() * 1024


def peak_mib(device: str) -> float:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_gib() * 1024


if __name__ == "__main__":
    main()
