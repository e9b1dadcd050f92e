"""Models that are made of a tuned one without tuning: as it was at an earlier step, and a null adapter.

A null adapter answers what any change of this size does. Whatever was tuned is moved from where it began by as far as tuning moved it, tensor
by tensor in the Frobenius norm, in a random direction of its seed. The product of LoRA's two factors, which is what is added to a weight, is
then brought to the norm that it had, by its second factor: trained factors are aligned, random ones are not. So its rank and size are the
adapter's, layer by layer, and its direction is nobody's.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from typing import Any

import torch

from model_registry.folders import ADAPTER
from model_registry.loading import load_arm, make_deterministic
from tasks.contract import Job, Metric, write_metrics
from tasks.finetune import methods
from tasks.finetune.stage import STEPS
from tasks.finetune.start import NAME, begin, keep


def run_step(jobs: Sequence[Job]) -> None:
    """Raises ValueError where tuning ended before the step."""
    for job in jobs:
        step, kept = job.settings.step, job.inputs["tuned"] / STEPS
        if not (kept / str(step)).is_dir():
            known = ", ".join(sorted((place.name for place in kept.glob("*")), key=int)) or "none"
            raise ValueError(f"{job.label}: nothing was kept of step {step}; kept were {known}")
        shutil.copytree(kept / str(step), job.work / "model", dirs_exist_ok=True)
        write_metrics(job.work, [Metric("optimiser_steps", step, 1)])
        job.commit()


def run_null(jobs: Sequence[Job]) -> None:
    make_deterministic()
    for job in jobs:
        model, moved = null_model(job)
        keep(model, job)
        write_metrics(job.work, [Metric("norm_of_change", moved, 1)])
        job.say(f"moved as far as tuning did, by {moved:.3g} in all, in a random direction")
        job.commit()


def null_model(job: Job) -> tuple[Any, float]:
    """The null model of a tuned one, and the norm of all that tuning changed.

    Args:
        job: its settings are those of the tuning, its inputs those too, and `tuned`, what it wrote.
    """
    begun = begin(job, methods.found()[job.settings.method])
    if hasattr(begun, "peft_config") and not (job.inputs["tuned"] / "model" / ADAPTER).is_file():
        begun = begun.merge_and_unload().requires_grad_(True)  # as what was tuned on whole weights is in the end
    starts = {name: weight.detach() for name, weight in begun.named_parameters() if weight.requires_grad}
    model = load_arm(job.inputs["model"], job.inputs["tuned"], precision="fp32", device=job.numerics.device)
    pairs = [layer for layer in model.modules() if NAME in getattr(layer, "lora_A", ())]
    sizes = [layer.get_delta_weight(NAME).norm() for layer in pairs]
    total = 0.0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if (start := starts.get(name)) is not None:
                size = float((weight.double() - start.double()).norm())
                weight.copy_(start + size * direction(weight.shape, job.settings.seed, name).to(weight.device))
                total += size**2
        for layer, size in zip(pairs, sizes, strict=True):
            if size:
                layer.lora_B[NAME].weight.mul_(size / layer.get_delta_weight(NAME).norm())
    return model, total**0.5


def direction(shape: torch.Size, seed: int, name: str) -> torch.Tensor:
    """Uniform on the unit sphere of this shape, by seed and name."""
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little"))
    drawn = torch.randn(shape, generator=generator)
    return drawn / drawn.norm()
