"""A lock of the kernel on a file: held by one process, and free when that ends, however it does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.problems import BadInput


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock for the time of the block; yields whether it was had. The file's folder must be there.

    Raises:
        BadInput: the file cannot be written to.
    """
    try:
        handle = path.open("w")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; a lock's file that can be written to is required") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
