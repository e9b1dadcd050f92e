"""Loading a prepared toxicity scorer.

A scorer folder holds `scorer.json`, a checkpoint in Detoxify's format and `bert/` (the architecture's
configuration and tokenizer). scorer.json is `{"kind": "calibration"}`, or `{"kind": "detoxify", "name":
"original", "checkpoint": "toxic_original-c1212f89.ckpt", "sha256": "…"}`.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

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


def verify(checkpoint: Path, digest: str) -> None:
    """Check a checkpoint before anything of it is read: its recorded sha256, and the digits in a published
    file's name.

    The files that Detoxify publishes end in the first eight hexadecimal digits of their own sha256
    (`…-c1212f89.ckpt`).
    """
    if not checkpoint.is_file():
        raise ScorerFolderError(f"{checkpoint}: no such file; the scorer's checkpoint is required")
    with checkpoint.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
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

    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        arch = {**loaded["config"]["arch"]["args"], "model_type": str(architecture)}
        classes = loaded["config"]["dataset"]["args"]["classes"]
        weights = loaded["state_dict"]
    except (pickle.UnpicklingError, KeyError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ScorerFolderError(
            f"{checkpoint}: not a plain Detoxify checkpoint ({reason}); tensors with config and state_dict are required"
        ) from None
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": classes}}}
    memory = io.BytesIO()
    torch.save({"config": config, "state_dict": weights}, memory)
    memory.seek(0)
    # Not given as `huggingface_config_path`: under that, the number of classes comes from the folder's own
    # configuration.
    detoxify = Detoxify(checkpoint=memory, device=device)
    # transformers fills what it does not find with random numbers and goes on
    if missing := sorted(detoxify.model.state_dict().keys() - weights.keys()):
        raise ScorerFolderError(f"{checkpoint}: {len(missing)} tensors are missing ({missing[0]}, …); all weights of {architecture} are required")
    return detoxify
