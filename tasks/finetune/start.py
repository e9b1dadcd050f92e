"""The model that tuning begins with: the prepared one, or what tuning made of it for another arm, and what is saved of it in the end.

An adapter is tuned further as it is, on the base that it shares with its kind. Where all weights were tuned, a fresh adapter on them is merged
into them in the end: what is saved loads without the arm that it came from.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from model_registry.folders import ADAPTER, BASE, arm_folders, copy_tokenizer, files_of
from model_registry.loading import load_model, prepared_folder, put_adapter
from tasks.contract import Job, read_json, write_json
from tasks.finetune.methods import Method
from tasks.finetune.stage import Settings

NAME = "default"  # of the adapter that is tuned


def begin(job: Job, method: Method) -> Any:
    """A model of which exactly what the method tunes requires a gradient. `start`, where the job reads it, is what tuning another arm wrote.

    Raises:
        ValueError: as `load_model`, `put_adapter` and the method's `build`.
    """
    settings: Settings = job.settings
    weights, adapter = arm_folders(job.inputs["model"], job.inputs.get("start"))
    held = job.numerics if method.in_precision else replace(job.numerics, precision="fp32")
    model: Any = load_model(weights, **held.loading)
    set_seed(settings.seed)  # a fresh adapter starts from random numbers
    if adapter is None:
        return method.build(model, settings.options)
    adapted: Any = put_adapter(model, adapter, NAME, to_tune=True)
    if method.tunes_all:
        return method.build(adapted.merge_and_unload().requires_grad_(True), settings.options)
    adapted.peft_config[NAME].inference_mode = False
    for name, weight in adapted.named_parameters():
        weight.requires_grad_(f".{NAME}" in name)
    return adapted


def keep(model: Any, job: Job, folder: Path | None = None) -> None:
    """Write what was tuned into a folder (the `model/` of the job's work), and beside an adapter what it was tuned on.

    Raises:
        ValueError: a weight is not finite.
    """
    if lost := next((name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())), None):
        raise ValueError(f"{lost} is not finite after the last step; a lower learning_rate or weight_decay is required")
    base, folder = prepared_folder(job.inputs["model"]), folder or job.work / "model"
    if hasattr(model, "peft_config") and arm_folders(job.inputs["model"], job.inputs.get("start"))[0] != base:
        model = model.merge_and_unload()
    save(model, base, folder)
    if (folder / ADAPTER).is_file():
        write_json(folder / BASE, {"files": files_of(job.inputs["model"])})


def save(model: Any, base: Path, folder: Path) -> None:
    """Write the tuned weights: no path, no date, and nothing in the order of a hash."""
    shutil.rmtree(folder, ignore_errors=True)  # of a try that got this far and was not committed
    folder.mkdir(parents=True)
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder)
        copy_tokenizer(base, folder)
        return
    write_adapter(model, folder)


def write_adapter(model: Any, folder: Path) -> None:
    """A PEFT model's adapter, in a folder that is there and empty."""
    model.save_pretrained(folder, save_embedding_layers=False, selected_adapters=[NAME])
    (folder / "README.md").unlink()  # a model card to be filled in
    config = read_json(folder / ADAPTER)
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}  # were sets
    write_json(folder / ADAPTER, config)
