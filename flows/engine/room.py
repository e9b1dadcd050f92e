"""Whether the folders that a sweep writes to can be written to: before it begins, and as long as it runs.

A disk that fills up, a folder that is deleted, moved or mounted read-only under a running sweep takes the databases of the orchestrator
and the tracker with it, whose clients ask again for minutes, or wait for ever. So it is looked at, and ends the sweep in one line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from configs.problems import BadInput

FLOOR_MIB = 32  # free on the disk, or no sweep begins: a small one with its databases takes 8 MiB
LEAST_MIB = 4  # and below this a running one is ended, while there is room for its notes


class NoRoom(RuntimeError):
    """A sweep's folders cannot be written to any more; one line that says what, where and what to do."""


@dataclass(frozen=True)
class Ground:
    """The folders of a sweep, as they were when it began."""

    known: tuple[tuple[Path, tuple[int, int]], ...]  # with device and inode

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Ground:
        return cls(tuple((folder, _identity(folder)) for folder in dict.fromkeys(folders)))

    def wrong(self, least_mib: float = LEAST_MIB) -> str:
        """What is wrong with them now, with a remedy; empty where nothing is."""
        for folder, before in self.known:
            try:
                now = _identity(folder)
            except OSError as error:
                return f"{folder} is not there any more ({error.strerror}); put it back, or make it anew"
            if now != before:
                return f"{folder} was replaced by another folder; put the one of before back, or go on with this one"
            if not os.access(folder, os.W_OK | os.X_OK):  # false on a read-only mount too, for whoever asks
                return f"{folder} cannot be written to any more; mount it or set its permissions so that it can"
            if said := full(folder, least_mib):
                return said
        return ""


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def full(folder: Path, least_mib: float) -> str:
    """That its disk has less room than this, with a remedy; empty where it has more."""
    free = shutil.disk_usage(folder).free / 2**20
    if free >= least_mib:
        return ""
    return f"{folder}: the disk is full ({free:.1f} MiB free, {least_mib:g} MiB are required); free some"


def require_room(folders: Iterable[Path]) -> Ground:
    """Before anything is started: every folder is there or can be made, it and what lies right below can be written to, and there is
    some room.

    Raises:
        BadInput: one of them cannot.
    """
    folders = list(folders)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            below = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError as error:
            raise BadInput(
                f"{folder}: {error.strerror}; a folder that can be written to is required (`palms doctor` looks at all)"
            ) from None
        if locked := next((path for path in (folder, *below) if not os.access(path, os.W_OK | os.X_OK)), None):
            raise BadInput(f"{locked}: cannot be written to; mount it or set its permissions so that it can")
        if said := full(folder, FLOOR_MIB):
            raise BadInput(said)
    return Ground.of(folders)
