"""What a model folder must hold, told from its file names and JSON alone.

A model folder is what `save_pretrained` writes: `config.json`, weights and a tokenizer. Knows the file names in their order of
trust: safetensors hold numbers only; `.bin` files are pickles, accepted because older ladders have nothing else and opened only
through torch's weights-only unpickler (`loading`); any other file that could carry code is neither fetched nor opened.
Imports neither torch nor transformers, so that a wrong path is refused before any process is started.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from model_registry.digests import sha256_file
from model_registry.home import home_folder

CONFIG, ADAPTER = "config.json", "adapter_config.json"
BASE = "base.json"  # beside an adapter: the digests of the files that it was tuned on
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "chat_template.jinja",
)
VOCABULARIES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)  # one of them makes a tokenizer
HUB = "hub:"  # before what lies in the hub's cache, wherever that is
TEXTS = (CONFIG, "generation_config.json", *TOKENIZER)

# (the whole model in one file, the index of a split one, its shards), most trusted first
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", re.compile(r"model-\d+-of-\d+\.safetensors")),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", re.compile(r"pytorch_model-\d+-of-\d+\.bin")),
)


def weight_files(names: Iterable[str]) -> list[str]:
    """The files among `names` that hold the weights: one layout only, safetensors before .bin; empty where there are none."""
    names = set(names)
    for whole, index, shard in _LAYOUTS:
        if whole in names:
            return [whole]
        if index in names:
            return [index, *sorted(name for name in names if shard.fullmatch(name))]
    return []


def files_that_matter(names: Iterable[str]) -> list[str]:
    """What of a repository or folder a run depends on: configuration, tokenizer and one layout of weights."""
    names = set(names)
    return sorted({*names.intersection(TEXTS), *weight_files(names)})


def check_folder(path: Path) -> None:
    """Refuse a folder that no stage could load.

    Raises:
        BadInput: one line that names the folder, what is wrong with it and what would be accepted.
    """
    if not path.is_dir():
        raise BadInput(f"{path}: no such folder; a folder with config.json, weights and a tokenizer is required")
    names = {file.name for file in path.iterdir()}
    if CONFIG not in names:
        raise BadInput(f"{path}: config.json is missing; a folder as written by save_pretrained is required")
    _read_object(path / CONFIG)
    weights = weight_files(names)
    if not weights:
        raise BadInput(f"{path}: no weights; model.safetensors (or its shards and index) or pytorch_model.bin is required")
    if weights[0].endswith(".index.json"):
        mapping = _read_object(path / weights[0]).get("weight_map")
        if not isinstance(mapping, dict) or not mapping:
            raise BadInput(f"{path / weights[0]}: weight_map is missing; an index that names its shards is required")
        for shard in sorted(set(mapping.values())):
            if shard not in weights:
                raise BadInput(f"{path}: shard {shard} is missing; every file that {weights[0]} names is required")
    for name in weights:
        if name.endswith(".safetensors"):
            _check_safetensors(path / name)
    if not names.intersection(VOCABULARIES):
        raise BadInput(f"{path}: no tokenizer; one of {', '.join(VOCABULARIES)} is required")


def fingerprint(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a model folder that a run depends on, by name."""
    return {name: sha256_file(folder / name) for name in files_that_matter(file.name for file in folder.iterdir())}


def noted_place(path: Path) -> str:
    """A path as a note keeps it: from the hub's cache where it lies inside, which may be moved with all that holds it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return f"{HUB}{path.relative_to(HF_HUB_CACHE).as_posix()}" if path.is_relative_to(HF_HUB_CACHE) else str(path)


def located(noted: str) -> Path:
    """Where that is now: in this process's cache of the hub, or in the home's own, which a process that is no `palms` does not have."""
    if not noted.startswith(HUB):
        return Path(noted)
    from huggingface_hub.constants import HF_HUB_CACHE

    found = [cache / noted.removeprefix(HUB) for cache in (Path(HF_HUB_CACHE), home_folder() / "hub" / "hub")]
    return next((path for path in found if path.exists()), found[0])


def stated_licence(folder: Path) -> str | None:
    """The licence that a model folder states, in its configuration or at the head of its README."""
    licence = _read_object(folder / CONFIG).get("license")
    if isinstance(licence, str) and licence.strip():
        return licence.strip()
    return card_licence(folder)


def card_licence(folder: Path) -> str | None:
    """The licence that the card of a published model or dataset states, at the head of its README."""
    readme = folder / "README.md"
    head = readme.read_text(encoding="utf-8", errors="replace").split("\n---")[0] if readme.is_file() else ""
    found = re.search(r"^license:[ \t]*[\"']?([\w.+-]+)", head, re.MULTILINE) if head.startswith("---") else None
    return found[1] if found else None


def kind_of(adapter: Path) -> str:
    """Which adapters may be on one model together with this one: those of its method, and of VeRA those with its random matrices."""
    config = _read_object(adapter / ADAPTER)
    return " ".join(
        str(config[key])
        for key in ("peft_type", "projection_prng_key", "r" if "projection_prng_key" in config else "")
        if key in config
    )


def virtual_tokens(adapter: Path | None) -> int:
    """How many places of the context an adapter takes."""
    return 0 if adapter is None else int(_read_object(adapter / ADAPTER).get("num_virtual_tokens", 0))


def prepared_folder(path: Path) -> Path:
    """The model folder that a prepared model stands for: its own `model/`, or the one that its `location.json` names.

    Raises:
        ValueError: neither is there.
    """
    if (path / "model").is_dir():
        return path / "model"
    if not (path / "location.json").is_file():
        raise ValueError(f"{path}: neither model/ nor location.json; the output of the prepare stage is required")
    return located(str(_read_object(path / "location.json")["folder"]))


def arm_folders(prepared: Path, tuned: Path | None) -> tuple[Path, Path | None]:
    """Where an arm's weights and its adapter lie: those of the prepared model and none, where nothing was tuned.

    `tuned` is what fine-tuning wrote: a whole model in `model/`, or an adapter that goes on the prepared one.

    Raises:
        ValueError: the adapter was tuned on another model, as the files of both say.
    """
    folder = prepared_folder(prepared)
    if tuned is None:
        return folder, None
    if not (tuned / "model" / ADAPTER).is_file():
        return tuned / "model", None
    _check_base(tuned / "model" / BASE, files_of(prepared))
    return folder, tuned / "model"


def copy_tokenizer(base: Path, folder: Path) -> None:
    """The tokenizer's files, as far as the base has them."""
    for name in TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def files_of(prepared: Path) -> dict[str, str]:
    """The digests of a prepared model's files, as *prepare* noted them."""
    noted = prepared / "model.json"
    return dict(_read_object(noted)["files"]) if noted.is_file() else {}


def _check_base(noted: Path, files: Mapping[str, str]) -> None:
    tuned_on = _read_object(noted)["files"] if noted.is_file() else {}
    if wrong := sorted(name for name in tuned_on.keys() & files.keys() if tuned_on[name] != files[name]):
        raise ValueError(
            f"{noted.parent}: was tuned on a model whose {wrong[0]} is another; the adapter of this base is required"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path}: a {type(document).__name__}; a JSON object is required")
    return document


def _check_safetensors(path: Path) -> None:
    """Tell a cut-off download from its header: 8 bytes of header length, the header, then the tensors to the last offset."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length)) if 0 < length <= size - 8 else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise BadInput(f"{path}: no safetensors header; a complete safetensors file is required")
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if size != 8 + length + end:
        raise BadInput(f"{path}: {size} bytes where its header tells of {8 + length + end}; a complete file is required")
