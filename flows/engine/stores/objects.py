"""A store of objects: the folder of a node, with what is true lying in a bucket.

An output's files are sent to `<stage>/<key>/<claim>/` and become the key's output by one record (`records`). In the node's folder unfinished work
lies, as in any store, and what was fetched: an output's files once a node, each checked by its content, its weights only for a stage that loads
them. A damaged object is told by a record, and its output made again by the next run.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from configs.problems import BadInput
from flows.engine.lock import locked
from flows.engine.stores.bucket import Bucket, Refused, Unreachable
from flows.engine.stores.folder import Store, changed, clear, kept
from flows.engine.stores.manifest import FORMAT, MANIFEST, Damaged, Manifest, lost, opened
from flows.engine.stores.records import LeaseLost, Record, Records
from model_registry.digests import sha256_file
from tasks.contract import canonical, read_json, replace_file, write_json

log = logging.getLogger("palms")

STAMP, ORIGIN = "format.json", "origin.json"  # of the bucket; of a node's folder: which bucket it is of
WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf"}
TRIES = 2  # at fetching a file that came otherwise than it was sent


class Lost(BadInput):
    """An object of an output is not there, or not what was sent."""


class Objects(Store):
    """
    Args:
        address: as `Bucket` has it.
        folder: of this node, for this address alone.

    Raises:
        BadInput: as `Bucket`, or it was written by another version.
        Unreachable, Refused
    """

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__(folder)
        self._bucket = Bucket(address)
        self._records = Records(self._bucket)
        self._claims: dict[str, int] = {}  # numbers of those held
        self.address = self._bucket.address
        stamp = self._bucket.read([STAMP])[0]
        if stamp is not None and json.loads(stamp) != {"format": FORMAT}:
            raise BadInput(f"{self.address}: {STAMP} is not that of a store of format {FORMAT}; another prefix is required")

    def ready(self) -> None:
        self._bucket.require(STAMP, canonical({"format": FORMAT}).encode())

    def found(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        super().found()
        if not (origin := self.root / ORIGIN).exists():
            replace_file(origin, canonical({"address": self.address}))

    # ---- reading ---------------------------------------------------------------------------------------------------

    def find(self, stage: str, key: str, *, verify: bool = False) -> Manifest | Damaged | None:
        """The output of a key as the bucket has it; on `verify` each object is read through."""
        place = f"{stage}/{key}"
        record = _newest(self._records.of(place))
        if record is None:
            return None
        if not record.is_output:
            return Damaged(str(record.document["damaged"]))
        document = _manifest_of(record, stage, key)
        if isinstance(document, Damaged):
            return document
        if verify:
            for name, recorded in document["files"].items():
                content = self._bucket.sha256(_file(place, record, name))
                if content != recorded["sha256"]:
                    return Damaged(f"{name} is missing" if content is None else f"{name} has changed")
        return lost(document, verify=verify) or self._manifest(place, record, document)

    def stages(self) -> list[str]:
        return self._bucket.folders("")

    def manifests(self, stage: str) -> Iterator[Manifest]:
        found = []
        for place, records in self._records.of_all([f"{stage}/{key}" for key in self._bucket.folders(stage)]).items():
            record = _newest(records)
            if record is not None and record.is_output and not isinstance(document := _manifest_of(record), Damaged):
                found.append(self._manifest(place, record, document))
        yield from sorted(found, key=lambda one: str(one.facts["finished"]), reverse=True)

    def read(self, reference: str) -> Path:
        """Raises Lost: which is noted, so that the next run makes the output again."""
        if Path(reference).is_absolute():
            return Path(reference)
        record = _newest(self._records.of(reference))
        if record is None or not record.is_output:
            raise Lost(f"{self.address}/{reference}: has no output any more; a rerun makes it again")
        self._bring(reference, record, whole=True)
        return self.root / reference

    def _manifest(self, place: str, record: Record, document: Mapping[str, Any]) -> Manifest:
        return Manifest(self.root / place, document, partial(self._bring, place, record))

    def _bring(self, place: str, record: Record, whole: bool) -> None:
        """Have the files of an output here, each as it was sent: weights only for the whole."""
        folder = self.root / place
        files = {
            name: entry
            for name, entry in record.document["manifest"]["files"].items()
            if whole or Path(name).suffix not in WEIGHTS
        }
        with self._alone(place):
            if kept(folder) != _manifest_of(record):
                clear(folder)
                folder.mkdir(parents=True)
                write_json(folder / MANIFEST, record.document["manifest"])
            missing = [name for name, entry in files.items() if changed(folder, {name: entry}, verify=False)]
            for _ in range(TRIES):
                try:
                    missing = self._fetch(place, record, {name: files[name] for name in missing})
                except FileNotFoundError:
                    break
        if missing:
            why = f"{missing[0]} is missing, or not what was sent"
            if self._records.of(place)[-1] != record:
                raise Unreachable(f"{self.address}/{place}: was made anew as it was read")
            self._records.add(place, record.number + 1, {"damaged": why})
            raise Lost(f"{self.address}/{place}: {why}; a rerun makes it again")

    def _fetch(self, place: str, record: Record, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Those that did not come as they were sent."""
        folder = self.root / place
        coming = {name: folder / f"{name}.coming" for name in files}
        self._bucket.fetch({_file(place, record, name): path for name, path in coming.items()})
        other = [name for name, path in coming.items() if sha256_file(path) != files[name]["sha256"]]
        for name in files.keys() - set(other):
            os.utime(coming[name], ns=(files[name]["mtime_ns"],) * 2)
            coming[name].replace(folder / name)
        return other

    @contextmanager
    def _alone(self, place: str) -> Iterator[None]:
        """Of this node's threads and processes one at a time changes what lies here of a key."""
        stage, key = place.split("/")
        self.found()
        path = self.root / stage / ".fetched" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            yield

    # ---- making ----------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, stage: str, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Own a key: of this node's processes, as in any store, and of all by a lease, which a holder that dies leaves to run out."""
        place = f"{stage}/{key}"
        with super().lock(stage, key, wait=wait) as had:
            if not had:
                yield False
                return
            with self._records.claimed(place, wait=wait) as number:
                if number is None:
                    yield False
                    return
                self._claims[place] = number
                try:
                    yield True
                finally:
                    del self._claims[place]

    def _put(self, stage: str, key: str, document: dict[str, Any]) -> Manifest:
        """Raises LeaseLost: another holder has the key."""
        place, work = f"{stage}/{key}", self.partial(stage, key)
        number = self._claims[place]
        claim = Record(number, {"files": number})
        written = read_json(work / MANIFEST)
        self._bucket.send({_file(place, claim, name): work / name for name in written["files"]})
        record = self._records.add(place, number + 1, {"manifest": written, "files": number})
        if record is None:
            return self._superseded(place, number, work)
        self._forget(place, (one for one in self._records.known(place) if one.is_claim and one.number != number))
        with self._alone(place):
            return self._manifest(place, record, super()._put(stage, key, document).document)

    def _superseded(self, place: str, number: int, work: Path) -> Manifest:
        """The output of the holder that took the key over, if it has made one. Raises LeaseLost: it is still at it."""
        self._forget(place, [Record(number, {})])
        made = self.find(*place.split("/"))
        if not isinstance(made, Manifest):
            raise LeaseLost(f"{self.address}/{place}: its lease ran out, and another holder took it over")
        log.warning("%s: its lease ran out, and another holder made it meanwhile", place)
        shutil.rmtree(work)
        return made

    def _forget(self, place: str, claims: Iterable[Record]) -> None:
        """Remove what holders before this one sent."""
        for claim in claims:
            try:
                self._bucket.remove(f"{place}/{claim.number}")
            except (Unreachable, Refused) as error:  # it is in nobody's way
                log.warning("%s: what an earlier try had sent was not removed: %s", place, error)


def _newest(records: list[Record]) -> Record | None:
    """The last that says what the output is; claims say nothing of it."""
    return next((record for record in reversed(records) if not record.is_claim), None)


def _manifest_of(record: Record, stage: str | None = None, key: str | None = None) -> dict[str, Any] | Damaged:
    return opened(lambda: dict(record.document["manifest"]), stage, key)


def _file(place: str, record: Record, name: str) -> str:
    return f"{place}/{record.document['files']}/{name}"
