"""Tables that keep their header when they have no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.contract import write_rows


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of exactly these columns as CSV, in this order."""
    if rows:
        write_rows(path, [{column: row[column] for column in columns} for row in rows])
    else:
        path.write_text(",".join(columns) + "\n", encoding="utf-8")
