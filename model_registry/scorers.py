"""Preparing a toxicity scorer, and loading a prepared one.

A scorer folder holds `scorer.json`, a checkpoint in Detoxify's format and `bert/` (the architecture's
configuration and tokenizer). scorer.json is `{"kind": "calibration"}`, or `{"kind": "detoxify", "name":
"original", "checkpoint": "toxic_original-c1212f89.ckpt", "sha256": "…"}`.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

from model_registry.digests import sha256_file
from model_registry.folders import TEXTS

DESCRIPTION, ARCHITECTURE = "scorer.json", "bert"


class ScorerFolderError(ValueError):
    """A scorer folder that is not what it says it is."""


def load_scorer(folder: Path, device: str = "cpu") -> Any:
    """A `detoxify.Detoxify` from a prepared scorer folder.

    Raises:
        ScorerFolderError: the folder is incomplete, of an unknown kind, or its checkpoint is not the recorded
        file.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ScorerFolderError(f"{path}: no such file; a prepared scorer folder is required")
    description = json.loads(path.read_text(encoding="utf-8"))
    kind = description.get("kind")
    if kind == "calibration":
        from model_registry.calibration.scorer import load_detoxify

        return load_detoxify(folder, device)
    if kind == "detoxify":
        checkpoint = folder / description["checkpoint"]
        verify(checkpoint, description["sha256"])
        return load_published(checkpoint, folder / ARCHITECTURE, device)
    raise ScorerFolderError(f"{path}: unknown kind {kind!r}; calibration or detoxify is required")


def fetch_published(name: str, checkpoint: Path | None, folder: Path) -> None:
    """Make `folder` a scorer folder of one of Detoxify's published models, or of a local checkpoint in its format.

    The published file is downloaded once, to where Detoxify itself keeps it. The architecture's configuration and tokenizer come
    from a folder `bert/` beside the checkpoint if there is one, else from the hub or its cache.

    Args:
        name: one of the models that Detoxify publishes ("original", "unbiased", …).
        checkpoint: a local checkpoint; None: the published one of that name.

    Raises:
        ScorerFolderError: the checkpoint is missing, is not what its name says, or holds more than tensors.
        ConnectionError: something has to be downloaded and cannot be.
    """
    source = checkpoint or _download(name)
    digest = _sha256(source)
    verify(source, digest)
    architecture = source.parent / ARCHITECTURE
    if not architecture.is_dir():
        architecture = _fetch_architecture(_read(source)["config"]["arch"]["args"]["model_type"])
    shutil.copyfile(source, folder / source.name)
    shutil.copytree(architecture, folder / ARCHITECTURE, dirs_exist_ok=True)
    description = {"kind": "detoxify", "name": name, "checkpoint": source.name, "sha256": digest}
    (folder / DESCRIPTION).write_text(json.dumps(description, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def verify(checkpoint: Path, digest: str) -> None:
    """Check a checkpoint before anything of it is read: its recorded sha256, and the digits in a published file's name.

    The files that Detoxify publishes end in the first eight hexadecimal digits of their own sha256 (`…-c1212f89.ckpt`).
    """
    actual = _sha256(checkpoint)
    if actual != digest:
        raise ScorerFolderError(f"{checkpoint}: its sha256 is {actual}; {digest} is required")
    named = re.search(r"-([0-9a-f]{8})\.ckpt$", checkpoint.name)
    if named and not actual.startswith(named[1]):
        raise ScorerFolderError(f"{checkpoint}: its sha256 starts with {actual[:8]}; {named[1]}, as in its name, is required")


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
        reason = str(error).strip().split("\n")[0]
        raise ScorerFolderError(
            f"{checkpoint}: not a plain Detoxify checkpoint ({reason}); tensors with config and state_dict are required"
        ) from None


def _sha256(checkpoint: Path) -> str:
    if not checkpoint.is_file():
        raise ScorerFolderError(f"{checkpoint}: no such file; the scorer's checkpoint is required")
    return sha256_file(checkpoint)


def _download(name: str) -> Path:
    import torch
    from detoxify.detoxify import MODEL_URLS

    url = MODEL_URLS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise ConnectionError(
                f"{url}: cannot be downloaded ({error}); a connection or a local checkpoint is required"
            ) from None
    return path


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
