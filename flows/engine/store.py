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
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr, ValidationError

from configs.fields import Section
from configs.problems import BadInput
from flows.engine.lock import locked
from flows.engine.notes import read_note
from model_registry.digests import sha256_file
from model_registry.folders import located
from tasks.contract import (
    METRICS,
    SCRATCH,
    SERIES,
    Axes,
    Metric,
    Numerics,
    canonical,
    digest_of,
    read_json,
    read_metrics,
    replace_file,
    write_json,
)

MANIFEST = "manifest.json"
FORMAT = 1  # of the store's layout and of the manifest


@dataclass(frozen=True)
class Order:
    """What is settled about one key before its work starts; travels to the stage's process and into the manifest."""

    stage: str
    key: str
    label: str
    axes: Axes
    settings: Any
    numerics: Numerics
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]  # role: path
    places: Mapping[str, Axes]  # role: where that input stands in this sweep; its manifest says where it stood when it was made
    code: str  # digest of the stage's module files
    forced: bool = False  # made even if its output is there
    preregistration: Mapping[str, Any] | None = None  # what the sweep set out to conclude when this was made


@dataclass(frozen=True)
class Manifest:
    """A committed output. `digest` covers the content that is promised to be equal between equal runs, so it excludes volatile files."""

    folder: Path
    document: Mapping[str, Any]

    @property
    def stage(self) -> str:
        return str(self.document["stage"])

    @property
    def key(self) -> str:
        return str(self.document["key"])

    @property
    def digest(self) -> str:
        return str(self.document["digest"])

    @property
    def label(self) -> str:
        return str(self.document["label"])

    @property
    def facts(self) -> Mapping[str, Any]:
        return dict(self.document["facts"])

    @cached_property
    def metrics(self) -> list[Metric]:
        return read_metrics(self.folder)

    @cached_property
    def series(self) -> dict[str, list[tuple[int, float]]]:
        path = self.folder / SERIES
        return read_json(path) if path.exists() else {}

    def tables(self) -> list[Path]:
        """The small readable files that a dashboard can show."""
        names = [name for name in self.document["files"] if Path(name).suffix in {".csv", ".html", ".svg", ".md"}]
        return [self.folder / name for name in sorted([*names, *(n for n in (METRICS, SERIES) if n in self.document["files"])])]


@dataclass(frozen=True)
class Damaged:
    """A committed folder that is not what its manifest says."""

    why: str


class Written(Section):
    """What a manifest holds, and nothing else. `whole` is the digest of all the rest; manifests of before lack it."""

    class File(Section):
        size: StrictInt
        mtime_ns: StrictInt
        sha256: StrictStr
        volatile: StrictBool

    format: StrictInt
    stage: StrictStr
    key: StrictStr
    label: StrictStr
    axes: dict[str, Any]
    identity: dict[str, Any]
    code: StrictStr
    preregistration: dict[str, Any] | None
    files: dict[str, File]
    digest: StrictStr
    requires: dict[str, StrictStr] | list[StrictStr]  # a list in manifests of before
    facts: dict[str, Any]
    whole: StrictStr | None = None


class Stamp(Section):
    format: StrictInt


class Store:
    """A folder of outputs, there or not: the first to be written makes it.

    Raises:
        BadInput: it is no folder, was written by another version, or its stamp is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
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
        document = _document(folder)
        if isinstance(document, Damaged):
            return document
        if (document["stage"], document["key"]) != (stage, key):
            return Damaged(
                f"{MANIFEST} is that of another output, {document['label']} ({document['stage']}/{document['key'][:10]}…)"
            )
        for name, recorded in document["files"].items():
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
        contents = document["requires"]
        for needed in contents:
            if not (place := located(needed)).exists():
                return Damaged(f"{place} is gone")
            if verify and isinstance(contents, dict) and sha256_file(place) != contents[needed]:
                return Damaged(f"{place} has changed")
        return Manifest(folder, document)

    def manifests(self, stage: str) -> Iterator[Manifest]:
        """Every readable manifest of a stage, newest first, unchecked: for explanations, never for results."""
        paths = (self.root / stage).glob(f"*/{MANIFEST}")
        for path in sorted((p for p in paths if not p.parent.name.endswith(".partial")), key=lambda p: -p.stat().st_mtime_ns):
            document = _document(path.parent)
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
        work, final = self.partial(order.stage, order.key), self.folder(order.stage, order.key)
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
        document = {
            "format": FORMAT,
            "stage": order.stage,
            "key": order.key,
            "label": order.label,
            "axes": asdict(order.axes),
            "identity": order.identity,
            "code": order.code,
            "preregistration": order.preregistration,
            "files": files,
            "digest": digest_of({name: entry["sha256"] for name, entry in files.items() if not entry["volatile"]}),
            "requires": dict(requires or {}),
            "facts": dict(facts),
        }
        write_json(work / MANIFEST, {**document, "whole": digest_of(document)})
        if final.is_dir() and not final.is_symlink():  # damaged, or it would not have been made again
            shutil.rmtree(final)
        else:
            final.unlink(missing_ok=True)
        work.rename(final)
        descriptor = os.open(final.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return Manifest(final, document)


def _document(folder: Path) -> dict[str, Any] | Damaged:
    """A manifest that is whole in itself: of the right shape, its identity hashing to its key, its digests to what they are of."""
    try:
        document: dict[str, Any] = read_json(folder / MANIFEST)
        Written.model_validate(document)
        whole = document.pop("whole", None)
        told = {
            "key": (document["key"], document["identity"]),
            "digest": (document["digest"], {name: e["sha256"] for name, e in document["files"].items() if not e["volatile"]}),
            "whole": (whole, document) if whole is not None else (digest_of(document), document),
        }
        wrong = [name for name, (digest, of) in told.items() if digest_of(of) != digest]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return Damaged(f"{MANIFEST} is no manifest ({'.'.join(map(str, first['loc']))}: {first['msg']})")
    except (OSError, ValueError, RecursionError) as error:
        return Damaged(f"{MANIFEST} cannot be read ({type(error).__name__})")
    return Damaged(f"{MANIFEST} was changed (its {wrong[0]} is not that of its content)") if wrong else document
