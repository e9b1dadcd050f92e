"""Rows of unfinished work, one a (prompt, repeat), kept over a restart."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MISSING = -1


class Kept:
    """The rows that are finished, on disk as they come; a last line cut off by a crash is dropped. In memory is where each stands: 8 bytes."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open("r+b")
        self._places: dict[str, array[int]] = {}  # by repeat, MISSING where there is none yet
        self._count = end = 0
        for line in self._stream:
            if line.endswith(b"\n"):
                self._note(json.loads(line), end)
                end += len(line)
        self._stream.truncate(end)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, at: tuple[str, int]) -> bool:
        prompt_id, repeat = at
        places = self._places.get(prompt_id, ())
        return repeat < len(places) and places[repeat] != MISSING

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._read(place) for places in self._places.values() for place in places if place != MISSING)

    def add(self, row: dict[str, Any]) -> None:
        place = self._stream.seek(0, 2)
        self._stream.write(json.dumps(row).encode() + b"\n")
        self._stream.flush()
        self._note(row, place)

    def row(self, prompt_id: str, repeat: int) -> dict[str, Any]:
        return self._read(self._places[prompt_id][repeat])

    def _read(self, place: int) -> dict[str, Any]:
        self._stream.seek(place)
        found: dict[str, Any] = json.loads(self._stream.readline())
        return found

    def _note(self, row: dict[str, Any], place: int) -> None:
        self._count += (row["prompt_id"], row["repeat"]) not in self
        places = self._places.setdefault(row["prompt_id"], array("q"))
        places.extend([MISSING] * (row["repeat"] + 1 - len(places)))
        places[row["repeat"]] = place
