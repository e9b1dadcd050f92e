"""Rows of unfinished work, one a (prompt, repeat), kept over a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Kept:
    """The rows of finished batches, on disk as they come; a last line cut off by a crash is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.exists() else []
        path.write_bytes(b"".join(whole))
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._hold([json.loads(line) for line in whole])

    def add(self, rows: list[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(row) + "\n" for row in rows))
        self._hold(rows)

    def _hold(self, rows: list[dict[str, Any]]) -> None:
        self.rows.update({(row["prompt_id"], row["repeat"]): row for row in rows})
