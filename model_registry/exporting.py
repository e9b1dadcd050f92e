"""A registered model in a folder of its own, with its card: as it was tuned, merged into whole weights, or as GGUF.

What is merged is read back and held to the logits of the adapter on its base before it is handed over. GGUF is written by llama.cpp's
own converter, where that is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from model_registry.cards import front_matter, loading
from model_registry.folders import ADAPTER, arm_folders, copy_tokenizer
from model_registry.registered import Registered, Version, outputs

TOLERANCE = 1e-4  # of the largest logit: merging adds and rounds once more, in float32
CONVERTER = "convert_hf_to_gguf.py"  # llama.cpp's
PROBES = (4, 16)  # rows and tokens of what both are asked


class NotExported(Exception):
    """What was written does not compute what it was made from, or could not be made; the message is one line. Nothing is left of it."""


def write(home: Path, model: Registered, version: Version, folder: Path, form: str) -> str:
    """Make `folder`, or leave nothing of it; returns what it holds, in words.

    Raises:
        BadInput: what it is made from is not there any more, or the converter is not installed.
        NotExported: the merged weights give other logits, or the converter does not take them.
        OSError: the folder cannot be written.
    """
    prepared, tuned = outputs(home, version)
    base, adapter = arm_folders(prepared, tuned)
    converter = shutil.which(CONVERTER)
    if form == "gguf" and converter is None:
        raise BadInput(f"--form gguf: {CONVERTER} of llama.cpp is required on the PATH; `--form merged` writes what it reads")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if form != "tuned" and adapter is not None:
            said = _merge(base, adapter, partial)
        else:
            shutil.copytree(tuned / "model", partial)
            said = "the adapter; it goes on the base that its README names" if adapter else "whole weights"
        if form == "gguf" and converter is not None:
            said = _convert(converter, partial)
        is_adapter = (partial / ADAPTER).is_file()
        told = front_matter(version.facts, adapter=is_adapter) + model.card(version)
        (partial / "README.md").write_text(told + (loading(version.facts) if is_adapter else ""), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return said


def _merge(base: Path, adapter: Path, folder: Path) -> str:
    from model_registry.loading import load_model

    adapted = load_model(base, precision="fp32", device="cpu", adapter=adapter)
    probes = _probes(adapted.config.get_text_config().vocab_size)
    wanted = _logits(adapted, probes)
    try:
        merged = adapted.merge_and_unload()
    except ValueError as error:  # of an adapter that is no linear map
        raise NotExported(f"{' '.join(str(error).split())}; `--form tuned` gives the adapter") from None
    merged.save_pretrained(folder)
    copy_tokenizer(base, folder)
    off = float((_logits(load_model(folder, precision="fp32", device="cpu"), probes) - wanted).abs().max() / wanted.abs().max())
    if not off <= TOLERANCE:
        raise NotExported(
            f"the merged weights give logits that differ by {off:.1e} of the largest; at most {TOLERANCE:.0e} is accepted. Nothing was written: "
            "`--form tuned` gives the adapter"
        )
    return f"whole weights in float32; logits differ from those of the adapter on its base by {off:.1e} of the largest at most"


def _convert(converter: str, folder: Path) -> str:
    """Leaves model.gguf alone, in float32."""
    command = [converter, str(folder), "--outfile", str(folder / "model.gguf"), "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise NotExported(f"{CONVERTER}: {said}; `--form merged` writes what it was given")
    for path in folder.iterdir():
        if path.name != "model.gguf":
            path.unlink()
    return "model.gguf in float32, as llama.cpp's converter wrote it; its logits were not checked"


def _probes(rows: int) -> Any:
    """Tokens spread over the vocabulary, [4, 16]."""
    import torch

    count = PROBES[0] * PROBES[1]
    return (torch.arange(count) * 7919 % rows).reshape(PROBES)


def _logits(model: Any, tokens: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(input_ids=tokens, use_cache=False).logits
