"""A model whose layers lie on several devices says what it says on one. Tried with what there is without GPUs: layers in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_registry.loading import load_model, open_weights
from tasks.sampling.engines.decode import decode
from tasks.sampling.engines.rows import Drawn, How, Row, Work
from tests import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = ((5, 6, 7), (9, 8, 7, 6, 5), (11, 12, 13, 14))
HOW = How(shape=4, shortest=3, longest=5, new=6, ends=frozenset([0]), filler=0, temperature=1.0, top_p=1.0)


def drawn(model: Any) -> tuple[list[Drawn], str | None]:
    """Two completions of each prompt, and why they were not decoded in slots."""
    rows = [Row(prompt, np.random.default_rng((i, n)).random(HOW.new)) for i, prompt in enumerate(PROMPTS) for n in range(2)]
    found: dict[int, Drawn] = {}
    why = decode(model, Work(len(rows), range(len(rows)), rows.__getitem__, lambda i: rows[i].prompt, found.__setitem__), HOW)
    return [found[i] for i in range(len(rows))], why


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama"])
def test_layers_that_lie_elsewhere_change_no_completion(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny.model(tmp_path / "model", architecture)
    whole = load_model(folder, precision="fp32", device="cpu")
    layers = {
        name: type(module).__name__ for name, module in whole.named_modules() if type(module).__name__ in whole._no_split_modules
    }
    away = list(layers)[1:]
    assert away
    first, _, _ = away[0].rpartition(".")
    others = [name for name, module in whole.named_modules() if not any(module.children()) and not name.startswith(f"{first}.")]
    places = {name: "disk" if name in away else "cpu" for name in [*layers, *others]}
    spread, _ = open_weights(
        AutoModelForCausalLM, folder, "fp32", device_map=places, offload_folder=str(tmp_path / "disk")
    )  # as with several GPUs, accelerate's dispatch brings each layer what it reads
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert all(weight.is_meta for weight in spread.get_submodule(away[0]).parameters())
    assert drawn(spread.eval()) == drawn(whole)
