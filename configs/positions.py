"""The categories and the position statement of each, read strictly from a YAML file."""

from __future__ import annotations

from pathlib import Path

from configs.problems import BadInput
from configs.read import read_yaml

KEYS = {"category", "statement"}


def load_positions(path: Path) -> dict[str, str]:
    """Category to position statement, in the file's order.

    Raises:
        BadInput: `file:line: what, what would be accepted`.
    """
    document = read_yaml(path)
    entries = document.data.get("positions")
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path}:1: no positions; a list `positions:` of category and statement is required")
    positions: dict[str, str] = {}
    for index, entry in enumerate(entries):
        where = f"{path}:{document.line(('positions', index))}"
        if (
            not isinstance(entry, dict)
            or set(entry) != KEYS
            or not all(isinstance(value, str) and value.strip() for value in entry.values())
        ):
            raise BadInput(f"{where}: not a position; exactly `category` and `statement`, both text, are required")
        if entry["category"] in positions:
            raise BadInput(f'{where}: category "{entry["category"]}" has a position already; one a category is accepted')
        positions[entry["category"]] = entry["statement"]
    return positions
