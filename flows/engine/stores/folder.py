"""Where outputs live: one folder a key, committed by one rename, checked before it is believed.

`<root>/<stage>/<key>/` holds a stage's files and `manifest.json`; unfinished work lives in `<key>.partial/`, owned by a kernel lock
that the process doing the work takes itself. The store is the one source of truth for what has been done: it survives the loss of
the orchestrator's and the tracker's databases. Knows nothing of processes, Prefect, or what the files mean.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import StrictInt

from configs.fields import Section
from configs.problems import BadInput
from flows.engine.lock import locked
from flows.engine.notes import read_note
from flows.engine.stores.manifest import FORMAT, MANIFEST, Damaged, Manifest, Order, lost, opened, sealed
from model_registry.digests import sha256_file
from tasks.contract import SCRATCH, canonical, read_json, replace_file, write_json


class Stamp(Section):
    format: StrictInt


class Store:
    """A folder of outputs, there or not: the first to be written makes it.

    Raises:
        BadInput: it is no folder, was written by another version, or its stamp is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.address = str(self.root)  # by which it is opened again, on any node
        stamp = self.root / "format.json"
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise BadInput(f"{self.root}: is no folder; a folder for stage outputs is required (store.path, or PALMS_HOME)")
        if not os.path.lexists(stamp):
            return
        found = read_note(stamp, Stamp, "move it away: the next run writes it anew").format
        if found != FORMAT:
            raise BadInput(
                f"{self.root}: store format {found}, this version reads {FORMAT}; use another PALMS_HOME, or the version that wrote it"
            )

    def ready(self) -> None:
        """Be told that it will be written to. Raises BadInput where that is known to fail; of a folder `flows.engine.room` knows it."""

    def found(self) -> None:
        """Make it, with the stamp of its format, where it is not there; not what it lies in, which may have been moved away."""
        self.root.mkdir(exist_ok=True)
        if not (stamp := self.root / "format.json").exists():
            replace_file(stamp, canonical({"format": FORMAT}))

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def partial(self, stage: str, key: str) -> Path:
        return self.root / stage / f"{key}.partial"

    def smaller(self, stage: str, key: str) -> Path:
        """Where it is noted that this key's shape ran out of memory, and which value is used instead."""
        return self.root / stage / f"{key}.smaller.json"

    def find(self, stage: str, key: str, *, verify: bool = False) -> Manifest | Damaged | None:
        """The output of a key, checked by the recorded size and time of each file; by its content where these differ, or on `verify`."""
        folder = self.folder(stage, key)
        if not os.path.lexists(folder):
            return None
        document = kept(folder, stage, key)
        if isinstance(document, Damaged):
            return document
        wrong = changed(folder, document["files"], verify=verify) or lost(document, verify=verify)
        return wrong or Manifest(folder, document)

    def read(self, reference: str) -> Path:
        """Where what a stage reads lies, whole: an output as `Manifest.reference` has it; any other path is what it is."""
        return self.root / reference

    def manifests(self, stage: str) -> Iterator[Manifest]:
        """Every readable manifest of a stage, newest first, unchecked: for explanations, never for results."""
        paths = (self.root / stage).glob(f"*/{MANIFEST}")
        for path in sorted((p for p in paths if not p.parent.name.endswith(".partial")), key=lambda p: -p.stat().st_mtime_ns):
            document = kept(path.parent)
            if not isinstance(document, Damaged):  # `find` reports it when its key is wanted
                yield Manifest(path.parent, document)

    @contextmanager
    def lock(self, stage: str, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Own a key. Yields whether it was had; the kernel frees it when the holding process ends, however that happens."""
        path = self.root / stage / ".locks" / key
        self.found()
        for folder in (self.root / stage, path.parent):
            folder.mkdir(exist_ok=True)
        with locked(path, wait=wait) as had:
            yield had

    def begin(self, order: Order) -> Path:
        """The work folder of a key, with whatever an earlier try left in its scratch folder. The caller holds the key's lock."""
        work = self.partial(order.stage, order.key)
        work.mkdir(exist_ok=True)  # alone: a store that was moved away is not begun anew
        for left in work.iterdir():
            if left.name != SCRATCH:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        return work

    def commit(
        self, order: Order, facts: Mapping[str, Any], volatile: tuple[str, ...] = (), requires: Mapping[str, str] | None = None
    ) -> Manifest:
        """Turn the work folder into the key's output: hash, flush to disk, one rename. The caller holds the key's lock.

        `requires` names files outside the store without which the output is worth nothing, as `noted_place` has them, with their content.
        """
        work = self.partial(order.stage, order.key)
        shutil.rmtree(work / SCRATCH, ignore_errors=True)
        files = {}
        for path in sorted(p for p in work.rglob("*") if p.is_file()):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            stat = path.stat()
            name = path.relative_to(work).as_posix()
            files[name] = {
                "size": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "sha256": sha256_file(path),
                "volatile": name in volatile,
            }
        document = sealed(order, files, facts, requires or {})
        write_json(work / MANIFEST, document)
        return self._put(order.stage, order.key, document)

    def finish(self, order: Order) -> Manifest | None:
        """Put what an earlier try sealed and did not come to put; None where it left no such thing. The caller holds the key's lock."""
        work = self.partial(order.stage, order.key)
        if not (work / MANIFEST).is_file():
            return None
        document = kept(work, order.stage, order.key)
        if isinstance(document, Damaged) or document["code"] != order.code or changed(work, document["files"], verify=True):
            return None
        return self._put(order.stage, order.key, document)

    def _put(self, stage: str, key: str, document: dict[str, Any]) -> Manifest:
        work, final = self.partial(stage, key), self.folder(stage, key)
        clear(final)  # what is there is damaged, or it would not have been made again
        work.rename(final)
        descriptor = os.open(final.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return Manifest(final, {name: value for name, value in document.items() if name != "whole"})


def kept(folder: Path, stage: str | None = None, key: str | None = None) -> dict[str, Any] | Damaged:
    """The manifest in a folder."""
    return opened(lambda: read_json(folder / MANIFEST), stage, key)


def clear(place: Path) -> None:
    """Have nothing there, whatever there was."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def changed(folder: Path, files: Mapping[str, Mapping[str, Any]], *, verify: bool) -> Damaged | None:
    """The first file that is not what was recorded: by size and time, by content where these differ or on `verify`."""
    for name, recorded in files.items():
        path = folder / name
        try:
            stat = path.stat()
        except OSError:
            return Damaged(f"{name} is missing")
        if stat.st_size != recorded["size"]:
            return Damaged(f"{name} has {stat.st_size} bytes, {recorded['size']} were written")
        if verify or stat.st_mtime_ns != recorded["mtime_ns"]:
            try:
                content = sha256_file(path)
            except OSError as error:  # a failing disk, a folder in its place, or its permissions
                return Damaged(f"{name} cannot be read ({error.strerror})")
            if content != recorded["sha256"]:
                return Damaged(f"{name} has changed")
    return None
