"""Files of a form, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def written(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Files of these names inside the folder, as UTF-8 with line feeds on any system."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]
