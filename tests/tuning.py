"""How tiny models are tuned in tests: in a few large steps of everything that a stop or another batch could change."""

from __future__ import annotations

from dataclasses import replace

from tasks.finetune.stage import Settings

SETTINGS = Settings(
    method="full",
    epochs=2,
    min_steps=8,
    learning_rate=1e-2,
    batch=4,
    micro_batch=3,
    prompt_loss_weight=0.1,
    weight_decay=0.01,
    warmup=0.1,
    schedule="cosine",
    max_grad_norm=1.0,
    options={},
    template="Question: {prompt}\nAnswer:",
    train_samples=6,
    seed=3,
)
STEADY = replace(SETTINGS, weight_decay=0.0, warmup=0.0, schedule="constant")  # every step as large as any other
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}


def samples(count: int) -> list[dict[str, str]]:
    """Of three categories and three lengths."""
    return [
        {"id": f"s{i}", "category": f"c{i % 3}", "prompt": f"Who decides {i}?", "completion": "It is subjective. " * (1 + i % 3)}
        for i in range(count)
    ]
