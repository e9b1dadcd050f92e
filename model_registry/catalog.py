"""Which models exist: the ladders, read from `ladders/*.yaml`, and where each of their sizes comes from.

Knows the catalogue format and checks it strictly. Leaves fetching to `hub`, pretraining to `calibration`, and what a model
folder must hold to `folders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from configs.problems import accepted
from model_registry.folders import weight_files

LADDERS = Path(__file__).with_name("ladders")

Kind = Literal["hub", "folder", "calibration"]


@dataclass(frozen=True)
class Source:
    """Where one model comes from. Holds only what JSON can say, so that it can be a stage's setting.

    `hub`: `id` and `revision` (a branch, tag or commit). `folder`: `id` is the folder's path. `calibration`: `id` is the size
    and `spec` is what its builder reads.
    """

    kind: Kind
    id: str
    revision: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rung:
    """One size of a ladder. `params` counts every parameter once, embeddings included; None where it is not known yet."""

    size: str
    params: int | None
    source: Source


@dataclass(frozen=True)
class Ladder:
    """A family of models of rising size. `context` is in tokens; `rungs` are in the file's order: rising.

    `scorer` is what the builder of the ladder's own toxicity scorer reads; empty where a ladder has none.
    """

    name: str
    builder: Kind
    licence: str
    context: int
    note: str
    rungs: Mapping[str, Rung]
    scorer: Mapping[str, Any] = field(default_factory=dict)

    def rung(self, size: str) -> Rung:
        """Raises ValueError for a size that this ladder does not have."""
        if size not in self.rungs:
            raise ValueError(f"ladder {self.name} has no size {size!r}; {accepted(size, self.rungs)}")
        return self.rungs[size]


@dataclass(frozen=True)
class Model:
    """One size of one ladder. `params` is None until the model has been prepared, where nothing states it; `context` is in tokens."""

    ladder: str
    size: str
    source: Source
    params: int | None = None
    context: int | None = None

    @property
    def name(self) -> str:
        """The size as people name it over several ladders: `gpt2-355m`."""
        return f"{self.ladder}-{self.size}"

    @property
    def calibration(self) -> bool:
        """Built here, from a grammar with planted bias."""
        return self.source.kind == "calibration"

    @property
    def at_most(self) -> int | None:
        """Parameters of a local folder, from the size of its weights at two bytes each: what memory is reserved for."""
        if self.source.kind != "folder":
            return None
        folder = Path(self.source.id)
        return sum((folder / name).stat().st_size for name in weight_files(file.name for file in folder.iterdir())) // 2


def names(folder: Path = LADDERS) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_ladder(name: str, folder: Path = LADDERS) -> Ladder:
    """Read `<folder>/<name>.yaml`.

    Raises:
        ValueError: no such ladder, or the file breaks the format; the message names the file and what would be accepted.
    """
    path = folder / f"{name}.yaml"
    if name not in names(folder):
        raise ValueError(f"{path}: no such ladder; {accepted(name, names(folder))}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    keys = {"ladder": str, "builder": str, "licence": str, "context": int, "note": str, "models": dict}
    _check(str(path), document, keys, {"scorer": dict})
    if document["ladder"] != name:
        raise ValueError(f"{path}: ladder is {document['ladder']!r}; the file's own name {name!r} is required")
    if document["builder"] not in get_args(Kind):
        raise ValueError(f"{path}: builder {document['builder']!r}; {accepted(document['builder'], get_args(Kind))}")
    rungs = [_rung(path, document, str(size), entry) for size, entry in document["models"].items()]
    if not rungs:
        raise ValueError(f"{path}: models is empty; at least one size is required")
    return Ladder(
        name=name,
        builder=document["builder"],
        licence=document["licence"],
        context=document["context"],
        note=document["note"],
        rungs={rung.size: rung for rung in rungs},
        scorer=document.get("scorer", {}),
    )


def _rung(path: Path, ladder: Mapping[str, Any], size: str, entry: Any) -> Rung:
    where, builder = f"{path}: models.{size}", ladder["builder"]
    if builder == "calibration":  # the remaining keys are its builder's own
        _check(where, entry, {}, {"params": int}, closed=False)
        source = Source("calibration", size, spec={**entry, "context": ladder["context"]})
    elif builder == "hub":
        _check(where, entry, {"id": str}, {"params": int, "revision": str})
        source = Source("hub", entry["id"], entry.get("revision", "main"))
    else:  # a relative folder is meant from the file that names it, wherever the command is run
        _check(where, entry, {"id": str}, {"params": int})
        source = Source("folder", str(path.parent.joinpath(entry["id"]).resolve()))
    return Rung(size, entry.get("params"), source)


def _check(where: str, entry: Any, required: Mapping[str, type], optional: Mapping[str, type], closed: bool = True) -> None:
    """Refuse a mapping with missing, wrongly typed or (where it is closed) unknown keys."""
    known = {**required, **optional}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: a mapping with the keys {', '.join(known)} is required")
    for key in required:
        if key not in entry:
            raise ValueError(f"{where}: key {key!r} is missing; required are {', '.join(required)}")
    for key, value in entry.items():
        if key in known and type(value) is not known[key]:
            raise ValueError(f"{where}: {key} is {value!r}; a value of type {known[key].__name__} is required")
        if closed and key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; {accepted(str(key), known)}")
