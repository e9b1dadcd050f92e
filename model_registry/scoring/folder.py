"""What a scorer folder is: `scorer.json` says its kind, and names the sha256 of what else it holds.

Knows that file and how a digest is asked for. Leaves what the digests are of to the modules of each kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_registry.digests import sha256_file

DESCRIPTION = "scorer.json"


class ScorerFolderError(ValueError):
    """A scorer folder, or what one is to be made of, that is not what it says it is."""


def read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ScorerFolderError(f"{path}: no such file; a prepared scorer folder is required")
    return json.loads(path.read_text(encoding="utf-8"))


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    (folder / DESCRIPTION).write_text(json.dumps(description, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def digest(file: Path) -> str:
    if not file.is_file():
        raise ScorerFolderError(f"{file}: no such file; the scorer's checkpoint is required")
    return sha256_file(file)


def one_line(error: BaseException) -> str:
    """The first line of what a library says."""
    return str(error).strip().split("\n")[0] or type(error).__name__
