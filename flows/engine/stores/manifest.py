"""What is settled about an output before it is made, and what is written down once it is: the manifest, which every store keeps beside the files.

Knows what a manifest holds and whether one is whole in itself. Where it lies, and whether its files are there, is for the stores to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr, ValidationError

from configs.fields import Section
from model_registry.digests import sha256_file
from model_registry.folders import located
from tasks.contract import METRICS, SERIES, Axes, Metric, Numerics, digest_of, read_json, read_metrics

MANIFEST = "manifest.json"
FORMAT = 1  # of a store's layout and of the manifest


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
    inputs: Mapping[str, str]  # role: path; of an output, as `Manifest.reference` has it
    places: Mapping[str, Axes]  # role: where that input stands in this sweep; its manifest says where it stood when it was made
    code: str  # digest of the stage's module files
    forced: bool = False  # made even if its output is there
    preregistration: Mapping[str, Any] | None = None  # what the sweep set out to conclude when this was made


@dataclass(frozen=True)
class Manifest:
    """A committed output. `digest` covers the content that is promised to be equal between equal runs, so it excludes volatile files."""

    place: Path
    document: Mapping[str, Any]
    bring: Callable[[bool], object] = field(
        default=lambda whole: None, compare=False
    )  # has files come to `place` that lie elsewhere

    @cached_property
    def folder(self) -> Path:
        """With its files in it, but that weights of an object store lie there only once somebody asked for the `whole`."""
        self.bring(False)
        return self.place

    def whole(self) -> Path:
        """The folder with all of its files."""
        self.bring(True)
        return self.place

    @property
    def stage(self) -> str:
        return str(self.document["stage"])

    @property
    def key(self) -> str:
        return str(self.document["key"])

    @property
    def reference(self) -> str:
        """Which output this is, wherever the store lies."""
        return f"{self.stage}/{self.key}"

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


def sealed(
    order: Order, files: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any], requires: Mapping[str, str]
) -> dict[str, Any]:
    """The manifest of an output with these files."""
    document = {
        "format": FORMAT,
        "stage": order.stage,
        "key": order.key,
        "label": order.label,
        "axes": asdict(order.axes),
        "identity": order.identity,
        "code": order.code,
        "preregistration": order.preregistration,
        "files": dict(files),
        "digest": digest_of({name: entry["sha256"] for name, entry in files.items() if not entry["volatile"]}),
        "requires": dict(requires),
        "facts": dict(facts),
    }
    return {**document, "whole": digest_of(document)}


def opened(read: Callable[[], Any], stage: str | None = None, key: str | None = None) -> dict[str, Any] | Damaged:
    """What is read, if it is whole in itself: of the right shape, its identity hashing to its key, its digests to what they are of; and, if
    told, that of this stage and key."""
    try:
        document: dict[str, Any] = read()
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
    if wrong:
        return Damaged(f"{MANIFEST} was changed (its {wrong[0]} is not that of its content)")
    if stage is not None and (document["stage"], document["key"]) != (stage, key):
        return Damaged(f"{MANIFEST} is that of another output, {document['label']} ({document['stage']}/{document['key'][:10]}…)")
    return document


def lost(document: Mapping[str, Any], *, verify: bool) -> Damaged | None:
    """What an output requires outside the store and is not there any more, or not as it was."""
    contents = document["requires"]
    for needed in contents:
        if not (place := located(needed)).exists():
            return Damaged(f"{place} is gone")
        if verify and isinstance(contents, dict) and sha256_file(place) != contents[needed]:
            return Damaged(f"{place} has changed")
    return None
