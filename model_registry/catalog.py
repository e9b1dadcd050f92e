"""Which models exist: the ladders, read from `ladders/*.yaml`, and where each of their sizes comes from.

Knows the catalogue format and checks it strictly. Leaves fetching to `hub`, pretraining to `calibration`, and what a model
folder must hold to `folders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from configs.fields import Count, NotNull, Rate, Section, SizeName, Text
from configs.problems import BadInput, accepted
from configs.read import read_yaml
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
        """Raises BadInput for a size that this ladder does not have."""
        if size not in self.rungs:
            raise BadInput(f"ladder {self.name} has no size {size!r}; {accepted(size, self.rungs)}")
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


# ---- a ladder's file: its builder decides what a rung may hold ---------------------------------------------------------------

Parameters = Annotated[int, Field(strict=True, ge=1, le=10**15)]


class _Folder(Section):
    id: Text
    params: Annotated[Parameters | None, NotNull] = None


class _Fetched(_Folder):
    revision: Text = "main"


class _Network(Section):
    """What is built and trained here, as `model_registry.calibration` reads it."""

    layers: Count
    width: Count
    heads: Count
    steps: Count
    batch: Count
    learning_rate: Rate


class _Built(_Network):
    params: Parameters


class _Shared(Section):
    ladder: Text
    licence: Text
    context: Count
    note: Text


class _HubLadder(_Shared):
    builder: Literal["hub"]
    models: dict[SizeName, _Fetched] = Field(min_length=1)

    def source(self, size: str, path: Path) -> Source:
        return Source("hub", self.models[size].id, self.models[size].revision)


class _FolderLadder(_Shared):
    builder: Literal["folder"]
    models: dict[SizeName, _Folder] = Field(min_length=1)

    def source(self, size: str, path: Path) -> Source:
        """A relative folder is meant from the file that names it, wherever the command is run."""
        return Source("folder", str(path.parent.joinpath(self.models[size].id).resolve()))


class _BuiltLadder(_Shared):
    builder: Literal["calibration"]
    models: dict[SizeName, _Built] = Field(min_length=1)
    scorer: _Network | None = None

    def source(self, size: str, path: Path) -> Source:
        return Source("calibration", size, spec={**self.models[size].model_dump(), "context": self.context})


class _File(RootModel[Annotated[_HubLadder | _FolderLadder | _BuiltLadder, Field(discriminator="builder")]]):
    pass


def names(folder: Path = LADDERS) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_ladder(name: str, folder: Path = LADDERS) -> Ladder:
    """Read `<folder>/<name>.yaml`.

    Raises:
        BadInput: no such ladder, or the file breaks the format: a line a fault, with file:line and what would be accepted.
    """
    path = folder / f"{name}.yaml"
    if name not in names(folder):
        raise BadInput(f"{path}: no such ladder; {accepted(name, names(folder))}")
    document = read_yaml(path)
    given = document.read(_File).root
    if given.ladder != name:
        raise document.refusal([(("ladder",), f'"{given.ladder}"; the file\'s own name "{name}" is required')])
    return Ladder(
        name=name,
        builder=given.builder,
        licence=given.licence,
        context=given.context,
        note=given.note,
        rungs={size: Rung(size, rung.params, given.source(size, path)) for size, rung in given.models.items()},
        scorer=given.scorer.model_dump() if isinstance(given, _BuiltLadder) and given.scorer else {},
    )
