"""Rows of unfinished work, one a (prompt, repeat), kept over a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Kept:
    """The rows that are finished, on disk as they come; a last line cut off by a crash is dropped. In memory is where each stands."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open("r+b")
        self._places: dict[tuple[str, int], int] = {}
        end = 0
        for line in self._stream:
            if line.endswith(b"\n"):
                row = json.loads(line)
                self._places[row["prompt_id"], row["repeat"]] = end
                end += len(line)
        self._stream.truncate(end)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, at: tuple[str, int]) -> bool:
        return at in self._places

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.row(*at) for at in self._places)

    def add(self, row: dict[str, Any]) -> None:
        place = self._stream.seek(0, 2)
        self._stream.write(json.dumps(row).encode() + b"\n")
        self._stream.flush()
        self._places[row["prompt_id"], row["repeat"]] = place

    def row(self, prompt_id: str, repeat: int) -> dict[str, Any]:
        self._stream.seek(self._places[prompt_id, repeat])
        found: dict[str, Any] = json.loads(self._stream.readline())
        return found
