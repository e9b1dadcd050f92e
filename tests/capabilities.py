"""What tests of capability share: a small model, its probabilities one by one, paragraphs, margins, and a committed output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import write_json
from tasks.datasets.paragraphs import Paragraph
from tests import tiny

MARGINS = SimpleNamespace(margin_nats=0.05, margin_accuracy=0.02, above_chance=0.05)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model with random weights over bytes, and its tokenizer."""
    folder = tiny.model(tmp_path_factory.mktemp("small"), context=64)
    return load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)


def log_probability(model: Any, context: Sequence[int], following: Sequence[int]) -> float:
    """ln P(following | context), one forward pass over exactly that."""
    with torch.inference_mode():
        logs = model(torch.tensor([[*context, *following]])).logits[0].double().log_softmax(-1)
    return sum(logs[len(context) - 1 + i, token].item() for i, token in enumerate(following))


def paragraph(name: str, text: str, context: str = "") -> Paragraph:
    return Paragraph(1, name, "tests", text, context)


def with_manifest(folder: Path) -> Path:
    write_json(folder / "manifest.json", {"stage": "capability", "key": "0"})
    return folder
