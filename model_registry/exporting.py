"""A registered model in a folder of its own, with its card: as it was tuned, or merged into whole weights.

What is merged is read back and held to the logits of the adapter on its base before it is handed over.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from model_registry.cards import front_matter
from model_registry.folders import TOKENIZER, arm_folders
from model_registry.registered import Registered, Version, outputs

TOLERANCE = 1e-4  # of the largest logit: merging adds and rounds once more, in float32
PROBES = (4, 16)  # rows and tokens of what both are asked


class NotTheSame(Exception):
    """What was written does not compute what it was made from; the message is one line."""


def write(home: Path, model: Registered, version: Version, folder: Path, form: str) -> str:
    """Make `folder`, or leave nothing of it; returns what it holds, in words.

    Raises:
        BadInput: what it is made from is not there any more.
        NotTheSame: the merged weights give other logits.
        OSError: the folder cannot be written.
    """
    prepared, tuned = outputs(home, version)
    base, adapter = arm_folders(prepared, tuned)
    if form == "gguf":
        raise BadInput(
            "--form gguf: nothing here writes it; `--form merged`, and `convert_hf_to_gguf.py FOLDER` of llama.cpp makes a GGUF of that"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if form == "merged" and adapter is not None:
            said = _merge(base, adapter, partial)
        else:
            shutil.copytree(tuned / "model", partial)
            said = "the adapter; it goes on the base that its README names" if adapter else "whole weights"
        (partial / "README.md").write_text(front_matter(version.facts) + model.card(version), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return said


def _merge(base: Path, adapter: Path, folder: Path) -> str:
    from model_registry.loading import load_model

    adapted = load_model(base, precision="fp32", device="cpu", adapter=adapter)
    probes = _probes(adapted.config.get_text_config().vocab_size)
    wanted = _logits(adapted, probes)
    adapted.merge_and_unload().save_pretrained(folder)
    for name in TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    off = float((_logits(load_model(folder, precision="fp32", device="cpu"), probes) - wanted).abs().max() / wanted.abs().max())
    if not off <= TOLERANCE:
        raise NotTheSame(
            f"the merged weights give logits that differ by {off:.1e} of the largest; at most {TOLERANCE:.0e} is accepted. Nothing was written: "
            "`--form tuned` gives the adapter"
        )
    return f"whole weights in float32; logits differ from those of the adapter on its base by {off:.1e} of the largest at most"


def _probes(rows: int) -> Any:
    """Tokens spread over the vocabulary, [4, 16]."""
    import torch

    count = PROBES[0] * PROBES[1]
    return (torch.arange(count) * 7919 % rows).reshape(PROBES)


def _logits(model: Any, tokens: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=tokens, use_cache=False).logits
