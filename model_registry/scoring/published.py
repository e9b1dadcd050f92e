"""Detoxify's published models: fetched once, held to their digest from then on, read without running their pickle.

A folder of this kind holds the checkpoint and `bert/` (the architecture's configuration and tokenizer); scorer.json is
`{"kind": "detoxify", "name": "original", "checkpoint": "toxic_original-c1212f89.ckpt", "sha256": "…"}`.

The name of a published file ends in the first eight hexadecimal digits of its sha256. The other 56 are published nowhere, so
they are recorded when the file is first downloaded (or first found where Detoxify keeps it), in a file beside it that `sha256sum -c`
reads, and a file that differs from its record is refused ever after.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

from model_registry.folders import TEXTS
from model_registry.scoring.folder import ScorerFolderError, digest, one_line, write_description

ARCHITECTURE = "bert"
RECORD = ".sha256"  # added to the name of a downloaded checkpoint


def fetch_published(name: str, checkpoint: Path | None, folder: Path) -> None:
    """Make `folder` a scorer folder of one of Detoxify's published models, or of a local checkpoint in its format.

    The published file is downloaded once, to where Detoxify itself keeps it. The architecture's configuration and tokenizer come
    from a folder `bert/` beside the checkpoint if there is one, else from the hub or its cache.

    Args:
        name: one of the models that Detoxify publishes ("original", "unbiased", …).
        checkpoint: a local checkpoint; None: the published one of that name.

    Raises:
        ScorerFolderError: the checkpoint is missing, is not what its name or its record says, or holds more than tensors.
        ConnectionError: something has to be downloaded and cannot be, or arrived damaged.
    """
    source, actual = (checkpoint, digest(checkpoint)) if checkpoint else _published(name)
    _require_named(source, actual)
    architecture = source.parent / ARCHITECTURE
    if not architecture.is_dir():
        architecture = _fetch_architecture(_read(source)["config"]["arch"]["args"]["model_type"])
    shutil.copyfile(source, folder / source.name)
    shutil.copytree(architecture, folder / ARCHITECTURE, dirs_exist_ok=True)
    write_description(folder, {"kind": "detoxify", "name": name, "checkpoint": source.name, "sha256": actual})


def verify(checkpoint: Path, required: str) -> None:
    """Check a checkpoint before anything of it is read: its recorded sha256, and the digits in a published file's name.

    Raises:
        ScorerFolderError: there is no such file, or it is another one.
    """
    actual = digest(checkpoint)
    if actual != required:
        raise ScorerFolderError(f"{checkpoint}: its sha256 is {actual}; {required} is required")
    _require_named(checkpoint, actual)


def _require_named(checkpoint: Path, actual: str) -> None:
    named = _digits(checkpoint.name)
    if named and not actual.startswith(named):
        raise ScorerFolderError(f"{checkpoint}: its sha256 starts with {actual[:8]}; {named}, as in its name, is required")


def load_published(checkpoint: Path, architecture: Path, device: str) -> Any:
    """A Detoxify from a checkpoint in its published format, whose pickle is never run.

    Detoxify itself reads checkpoints with `weights_only=False`, which runs whatever the file says, and looks
    its architecture up on the hub. So the tensors are read safely, the architecture is set to the local
    folder, and Detoxify is given the result from memory.
    """
    import torch
    from detoxify import Detoxify

    loaded = _read(checkpoint)
    config = loaded["config"]
    config["arch"]["args"]["model_type"] = str(architecture)
    weights = loaded["state_dict"]
    memory = io.BytesIO()
    torch.save({"config": config, "state_dict": weights}, memory)
    memory.seek(0)
    # Not given as `huggingface_config_path`: under that, the number of classes comes from the folder's own
    # configuration.
    detoxify = Detoxify(checkpoint=memory, device=device)
    # transformers fills what it does not find with random numbers and goes on
    if missing := sorted(detoxify.model.state_dict().keys() - weights.keys()):
        raise ScorerFolderError(
            f"{checkpoint}: {len(missing)} tensors are missing ({missing[0]}, …); all weights of {architecture} are required"
        )
    return detoxify


def _read(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds of what Detoxify reads, by torch's weights-only unpickler."""
    import torch

    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        arguments, classes = loaded["config"]["arch"]["args"], loaded["config"]["dataset"]["args"]["classes"]
        config = {"arch": {"args": dict(arguments)}, "dataset": {"args": {"classes": list(classes)}}}
        return {"config": config, "state_dict": loaded["state_dict"]}
    except (pickle.UnpicklingError, KeyError, TypeError) as error:
        raise ScorerFolderError(
            f"{checkpoint}: not a plain Detoxify checkpoint ({one_line(error)}); tensors with config and state_dict are required"
        ) from None


def _digits(file_name: str) -> str | None:
    named = re.search(r"-([0-9a-f]{8})\.ckpt$", file_name)
    return named[1] if named else None


def _published(name: str) -> tuple[Path, str]:
    """The published checkpoint where Detoxify keeps it, downloaded if it is not there, and its sha256, which is the recorded one."""
    import torch
    from detoxify.detoxify import MODEL_URLS

    if name not in MODEL_URLS:
        raise ScorerFolderError(f"scorer {name!r}: not published by Detoxify; one of {', '.join(MODEL_URLS)} is required")
    url = MODEL_URLS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path)
    return path, _held_to_record(path)


def _download(url: str, path: Path) -> None:
    """Whole or not at all: torch writes beside the file, and moves it there once the digits of its name are its sha256's.

    Python's HTTP client ends a body that was cut off without an error, so the digits are what tells it.
    """
    import torch

    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_digits(path.name), progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: the digits
        raise ConnectionError(
            f"{url}: cannot be downloaded ({one_line(error)}); a connection or a local checkpoint is required"
        ) from None


def _held_to_record(path: Path) -> str:
    actual, record = digest(path), path.with_name(path.name + RECORD)
    if not record.is_file():
        _require_named(path, actual)  # a wrong file is never recorded
        temporary = record.with_name(f"{record.name}.{os.getpid()}")
        temporary.write_text(f"{actual}  {path.name}\n", encoding="utf-8")
        temporary.replace(record)
        return actual
    recorded = " ".join(record.read_text(encoding="utf-8").split()[:1])
    if actual != recorded:
        raise ScorerFolderError(
            f"{path}: its sha256 is {actual}, {record.name} records {recorded or 'none'}; "
            "the file as first downloaded is required: delete both to download it again"
        )
    return actual


def _fetch_architecture(repo_id: str) -> Path:
    """Configuration and tokenizer of a hub repository, none of its weights."""
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=[*TEXTS, "*.model"]))  # .model: sentencepiece vocabularies
    except (HfHubHTTPError, httpx2.HTTPError, OSError):
        raise ConnectionError(
            f"hub model {repo_id}: its tokenizer cannot be fetched; a connection, or a folder {ARCHITECTURE}/ beside the checkpoint, is required"
        ) from None
