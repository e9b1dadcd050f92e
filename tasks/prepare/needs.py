"""What a stage's process needs of the machine, estimated from the model's size: admission keeps two cores from six stages."""

from __future__ import annotations

from configs.schema import Limits
from tasks.contract import Numerics, Resources

# Bytes a parameter, by what holds them in fp32. Tuning: weights, gradients and two moments are 16, activations the rest (124M
# parameters peaked at 3.2 GiB, overhead included); an adapter's base has only its weights.
BYTES = {"finetune": 20, "finetune-lora": 6, "sampling": 5, "truth": 5, "toxicity": 5, "pretrain": 16}
# The first with the logits of its batch: a 124M model peaked at 2.5 GiB with 16 requests together, and 8 are the default.
BYTES |= {"capability": 12, "counterfactual": 5, "judge": 5}
SCORER_PARAMS = 125_000_000  # Detoxify's largest English ones are BERT and RoBERTa base
BUILT_HERE = Numerics()  # how calibration models and scorers are trained, whatever is asked for the rest: threads only slow them
OVERHEAD_GIB = 0.8  # what a process has beside its model: measured 0.5 to 0.7 GiB on the calibration ladder


def resources(work: str, params: int | None, numerics: Numerics, limits: Limits) -> Resources:
    """`params` None: the size is not known yet, and the overhead alone is declared."""
    return Resources(
        threads=numerics.threads,
        memory_gib=OVERHEAD_GIB + BYTES.get(work, 0) * (params or 0) / 2**30,
        gpus=1 if numerics.device == "cuda" and work in BYTES else 0,
        timeout_s=limits.stage_timeout_s,
    )
