"""The ways in which this project identifies a file: the sha256 of its content, and, where that is too long to read each time, of samples."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

PIECE, PIECES = 2**16, 18  # 1.2 MB of a file, read in 1 ms


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp(path: Path) -> tuple[Path, int, int]:
    """What a file that did not change keeps: its place, size and time. For what is read of it once a command."""
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns


def settled_digest(path: Path) -> str:
    """The sha256 of a large file that one command asks for several times: read again only if the file has changed."""
    return _digest(*stamp(path))


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


def sampled_digest(path: Path) -> str:
    """Of head, tail and pieces between, evenly spaced; of all of a small file. Another training run changes every piece of its weights."""
    size = path.stat().st_size
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in range(PIECES):
            stream.seek(max(0, size - PIECE) * piece // (PIECES - 1))
            found.update(stream.read(PIECE))
    return found.hexdigest()
