"""The one real model that needs no hub: SmolLM2-135M-Instruct in the package that the ladder names."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from model_registry import catalog
from model_registry.gguf_file import dequantise, read_header
from model_registry.likelihood import log_likelihoods
from model_registry.loading import load_model, parameter_count
from model_registry.tokenization import load_tokenization

RUNG = catalog.load_ladder("smollm2").rung("135m-instruct")
NAME = RUNG.source.package.partition("==")[0]


def installed() -> bool:
    try:
        distribution(NAME)
    except PackageNotFoundError:
        return False
    return True


pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not installed(), reason=f"{RUNG.source.package} is not installed; `make test-external` installs it"),
]


@pytest.fixture(scope="module")
def file() -> Path:
    return Path(catalog.found(RUNG.source).id)


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("real") / "model"
    dequantise(file, made)
    return made


def test_the_file_is_what_the_ladder_says(file: Path, folder: Path) -> None:
    header = read_header(file)
    assert (header.architecture, header.quantised, header.licence) == ("llama", "Q4_1", "apache-2.0")
    assert header.params == parameter_count(folder) == RUNG.params


def test_its_weights_are_the_numbers_that_the_bits_stand_for(file: Path, folder: Path) -> None:
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    held = load_model(folder, precision="fp32", device="cpu").state_dict()
    for theirs, ours in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.7.ffn_up.weight", "model.layers.7.mlp.up_proj.weight"),
    ):
        wanted = gguf.dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
        assert np.array_equal(held[ours].numpy(), wanted)


def test_it_reads_as_it_was_taught_and_knows_something(folder: Path) -> None:
    words, model = load_tokenization(folder), load_model(folder, precision="fp32", device="cpu")
    assert words.tokenizer.tokenize("in 1789") == ["in", "Ġ", "1", "7", "8", "9"]
    turn = words.turn("chat")
    assert words.told(turn).endswith("<|im_start|>assistant⏎│…<|im_end|>")
    asked, right = words.sample(turn, "What is the capital of France?", "The capital of France is Paris.")
    _, wrong = words.sample(turn, "What is the capital of France?", "The capital of France is Madrid.")
    likely, unlikely = log_likelihoods(model, asked, [right, wrong])
    assert likely > unlikely + 3
    with torch.inference_mode():
        drawn = model.generate(torch.tensor([asked]), max_new_tokens=12, do_sample=False)[0, len(asked) :].tolist()
    assert "Paris" in words.text(asked, drawn)
