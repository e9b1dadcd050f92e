"""The words that every stage shares: a node of the DAG, its key, and the job that a stage's body works on.

Knows how identity is formed (what makes two pieces of work the same) and how a body hands its results over. Knows nothing of
Prefect, MLflow, processes, or of what any stage computes. `flows.engine.stores` keeps the results, `flows.engine.processes` runs the bodies.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal, TypeVar

from model_registry.digests import sha256_file

Chosen = TypeVar("Chosen")

METRICS, PROMPTS, SERIES = "metrics.json", "prompts.csv", "series.json"
UNSAID = {"unsaid": True}  # metadata of a field of settings that came later: at its default, outputs of before keep their keys
AUTO = "auto"  # of a field of settings or numerics: until what an input of role NUMERICS says of it in its file settles it
NUMERICS, NUMERICS_FILE = "numerics", "numerics.json"
SCRATCH = "scratch"  # inside a job's work folder: kept over restarts, deleted at commit


@dataclass(frozen=True)
class Axes:
    """Where in the experiment a node stands; an axis that does not apply is None."""

    ladder: str | None = None
    size: str | None = None
    arm: str | None = None
    train_samples: int | None = None  # dataset size of the arm: how many samples it was tuned on
    seed: int | None = None
    suite: str | None = None
    name: str | None = None  # for work that belongs to no model: a dataset, a scorer

    @property
    def model(self) -> str | None:
        """The size as people name it over several ladders: `gpt2-355m`."""
        return None if self.size is None else f"{self.ladder}-{self.size}"

    def words(self) -> list[str]:
        parts = [self.name, self.model, self.arm]
        parts += [f"n{self.train_samples}"] if self.train_samples is not None else []
        parts += [f"seed{self.seed}"] if self.seed is not None else []
        parts += [self.suite]
        return [part for part in parts if part is not None]


@dataclass(frozen=True)
class Numerics:
    """What the last bits of a result depend on, besides its inputs."""

    device: str = "cpu"  # cpu | cuda
    precision: str = "fp32"  # fp32 | bf16, or AUTO
    threads: int = 1
    attention: str = field(default="eager", metadata=UNSAID)  # eager | sdpa
    shards: int = field(default=1, metadata=UNSAID)  # processes that one model is tuned in, of `threads` each

    @property
    def loading(self) -> dict[str, Any]:
        """As what a model is loaded (`model_registry.loading`)."""
        return {"precision": self.precision, "device": self.device, "attention": self.attention}


@dataclass(frozen=True)
class Resources:
    """What a stage's process may use; admission holds these back from the others."""

    threads: int = 1
    memory_gib: float = 1.0
    gpus: int = 0
    timeout_s: float | None = None


@dataclass(frozen=True)
class Stage:
    """One kind of step. `body` is `module:function`, called with a list of jobs in a process of its own."""

    name: str
    version: str  # raised by hand whenever the same inputs would give other outputs
    body: str
    libraries: tuple[str, ...] = ()  # distributions whose major.minor is part of the key
    shrink: str | None = None  # the settings field that is halved after running out of memory


@dataclass(frozen=True)
class File:
    """A file given by the user as an input: identified by its content, never by its path."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> File:
        return cls(path, sha256_file(path))


@dataclass(frozen=True, eq=False)
class Node:
    """One piece of work: a stage, where it stands, its settings, and the nodes and files it reads."""

    stage: Stage
    axes: Axes
    settings: Any  # the stage's own frozen dataclass
    inputs: Mapping[str, Node | File] = field(default_factory=dict)
    numerics: Numerics | None = None  # None: no floating-point result depends on the machine
    resources: Resources = field(default_factory=Resources)
    tolerant: bool = False  # runs with whatever inputs succeeded (the comparison)
    together: Axes | None = None  # a stage's nodes with equal ones wait for one another: one call does them all; not keyed
    preregistration: Mapping[str, Any] | None = None  # what it is made for (`flows.engine.preregistration`): noted beside its key

    @property
    def label(self) -> str:
        return "/".join([self.stage.name, *self.axes.words()])

    @property
    def upstream(self) -> dict[str, Node]:
        return {role: node for role, node in self.inputs.items() if isinstance(node, Node)}


@dataclass(frozen=True)
class Metric:
    """One number of a result. `n` counts the independent units behind it (prompts, unless the metric says otherwise)."""

    metric: str
    value: float
    n: int
    group: str = "all"
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class Measure:
    """A metric in readers' words, and what is to be known of it before it is measured.

    unit: of the number as it stands; empty where it goes without saying, as of a share or a score from 0 to 1.
    outcome: given of every prompt, so that it may be a sweep's primary outcome.
    secondary: tested as the sweep's second family, on every suite where it is measured and not primary.
    drawn: its levels and differences are drawn in the section of its evaluation.
    of: the unit that arms are paired by.
    over: how many completions of a prompt one observation is over.
    rated: on the raters' scale of 1 to 5.
    """

    metric: str
    words: str
    unit: str = ""
    outcome: bool = False
    secondary: bool = False
    drawn: bool = False
    of: str = "prompt"
    over: int = 1
    rated: bool = False


@dataclass(frozen=True)
class Job:
    """One key's worth of work, as a stage's body sees it."""

    label: str
    axes: Axes
    settings: Any
    inputs: Mapping[str, Path]
    work: Path
    numerics: Numerics
    # volatile=(files whose bytes may differ between equal runs,), requires={place elsewhere: sha256}, among=jobs that share the seconds,
    # beside_gib=what processes of the body's own held at their peak
    commit: Callable[..., None]
    places: Mapping[str, Axes] = field(default_factory=dict)  # where each input stands in this sweep
    progress: Callable[[int, int, str], None] = lambda done, total, unit: None
    say: Callable[[str], None] = lambda text: None

    @property
    def scratch(self) -> Path:
        """Unfinished business (checkpoints, sampled rows) that a restart goes on from."""
        folder = self.work / SCRATCH
        folder.mkdir(exist_ok=True)  # alone: a home that was moved away is not begun anew
        return folder


# ---- identity -----------------------------------------------------------------------------------------------------


def canonical(document: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN. The same text under every PYTHONHASHSEED."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest_of(document: Any) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()


@cache  # a distribution's metadata is parsed whole: 700 times it took a cached sweep a second
def minor(distribution: str) -> str:
    """`5.23` of an installed `5.23.0`: a patch release is trusted to keep the numbers, a minor one is not."""
    return ".".join(installed_version(distribution).split(".")[:2])


def from_section(kind: type[Chosen], section: Any, **further: Any) -> Chosen:
    """A stage's settings: its fields from the section of the experiment that has them, and from `further`; no other key of the section
    is read, so that none but these moves the stage's key."""
    named = {one.name for one in fields(kind)} & type(section).model_fields.keys()  # type: ignore[arg-type]
    return kind(**{name: getattr(section, name) for name in named} | further)


def settings_document(settings: Any) -> dict[str, Any]:
    """Settings as JSON has them, without fields marked UNSAID that have their default."""
    if settings is None:
        return {}
    unsaid = {one.name for one in fields(settings) if one.metadata == UNSAID and getattr(settings, one.name) == one.default}
    return {name: value for name, value in json.loads(json.dumps(asdict(settings))).items() if name not in unsaid}


def identity(node: Node, digests: Mapping[str, str], code: str | None = None) -> dict[str, Any]:
    """What the key is the hash of.

    `digests` maps each role to the digest of that input's content. `code` is given under `--strict-code` only, where other
    code has made what stands under the key without it: the digest of the stage's own module files.
    """
    document: dict[str, Any] = {
        "stage": node.stage.name,
        "version": node.stage.version,
        "inputs": dict(digests),
        "settings": settings_document(node.settings),
    }
    if node.numerics is not None:
        document["numerics"] = settings_document(node.numerics)
    if node.stage.libraries:
        document["libraries"] = {name: minor(name) for name in node.stage.libraries}
    if code is not None:
        document["code"] = code
    return document


# ---- what a body writes -------------------------------------------------------------------------------------------


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_metrics(folder: Path, metrics: Sequence[Metric]) -> None:
    """Write the level metrics of one node.

    Raises:
        ValueError: a value is not finite: an evaluation that could not be computed is an error, never a number.
    """
    for row in metrics:
        if not math.isfinite(row.value):
            raise ValueError(f"metric {row.metric} of group {row.group} is {row.value}; a finite number is required")
    write_json(folder / METRICS, [asdict(row) for row in metrics])


def read_metrics(folder: Path) -> list[Metric]:
    path = folder / METRICS
    names = {f.name for f in fields(Metric)}
    return [Metric(**{k: v for k, v in row.items() if k in names}) for row in read_json(path)] if path.exists() else []


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    mark: Literal["never", "needed", "always"] = "never",
) -> None:
    """A table as CSV; floats read back to the same bits. `columns` gives a table without rows its header.

    mark: whether it begins with the byte order mark by which Excel tells UTF-8, as a table that people open should where it holds more
    than ASCII, and one that they save again in any case.
    """
    text = csv_text(rows, list(columns if columns is not None else rows[0]))
    marked = mark == "always" or (mark == "needed" and not text.isascii())
    path.write_text(text, encoding="utf-8-sig" if marked else "utf-8", newline="")


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The one writer of CSV: whatever a text says, no spreadsheet runs it as a formula.

    Text is always quoted: Python 3.11 leaves a lone carriage return bare, and a reader then takes it for the end of the row.
    """
    stream = io.StringIO()
    stream.write(",".join(columns) + "\n")
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows({name: _harmless(row[name]) for name in columns} for row in rows)
    return stream.getvalue()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `write_rows` wrote, with the texts as they were given."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        text = stream.read()
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [{name: unguarded(cell) for name, cell in row.items()} for row in rows] if "'" in text else list(rows)


# A spreadsheet runs a cell that begins with one of these. What separates cells in some country or row may begin one inside a text too,
# where a sheet is opened with another separator than it was written with; quotes before it are then taken off.
_FORMULA = "[=+\\-@\\t\\r＝＋－＠]"
_RUNS = re.compile(rf"(^|[,;\t\r\n])([\"']*)(?={_FORMULA})")
_AS_IT_WAS = re.compile(rf"(^|[,;\t\r\n])([\"']*)'(?={_FORMULA})")


def _harmless(cell: Any) -> Any:
    """A text with an apostrophe before whatever would be run; numbers are what they are."""
    return _RUNS.sub(r"\1\2'", cell) if isinstance(cell, str) else cell


def unguarded(cell: str) -> str:
    """A text of such a table as it was given."""
    return _AS_IT_WAS.sub(r"\1\2", cell) if "'" in cell else cell


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text(jsonl_text(rows), encoding="utf-8")


def jsonl_text(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old content or the new, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")  # two threads may write it at once
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
