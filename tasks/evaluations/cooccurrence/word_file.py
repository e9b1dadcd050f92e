"""A YAML file of named word lists: what is wanted of it, found by name. What an entry must be is left to `groups` and `targets`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.problems import accepted


def wanted_entries(path: Path, wanted: Sequence[str], kind: str, words: str, form: str) -> Iterator[tuple[str, Any]]:
    """The entries of those names, in their order. `kind`, `words` and `form` say in messages what an entry and the file are.

    Raises:
        ValueError: naming the file: it is no YAML mapping, has no such entry, or is asked for one twice.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}; a YAML mapping of {words} is required") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: a mapping {form} is required")
    for number, name in enumerate(wanted):
        if name not in document:
            raise ValueError(f"{path}: no {kind} {name}; {accepted(name, list(document))}")
        if name in wanted[:number]:
            raise ValueError(f"{path}: {kind} {name} is asked for twice; once is accepted")
        yield name, document[name]
