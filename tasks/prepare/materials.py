"""Everything an experiment refers to, found and checked before any stage starts: models, datasets, prompts.

Raises all problems at once, one line each. Loads no model and imports no torch; whether a dataset is any good is the dataset
stage's to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.evaluations import Cooccurrence
from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.schema import Experiment, Ladder
from configs.suites import load_suite
from flows.engine.machine import gpus
from model_registry import catalog
from model_registry.catalog import Source
from model_registry.folders import check_folder, weight_files
from tasks.contract import File, digest_of
from tasks.datasets.lines import DatasetError
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import load_rows
from tasks.evaluations.cooccurrence.groups import load_axes
from tasks.evaluations.cooccurrence.stage import SOCIAL_GROUPS, TARGETS
from tasks.evaluations.cooccurrence.targets import load_targets
from tasks.prepare import evaluations, evaluators


@dataclass(frozen=True)
class Model:
    """One size of one ladder. `params` is None until the model has been prepared, where nothing states it."""

    ladder: str
    size: str
    source: Source
    params: int | None
    context: int | None = None  # tokens

    @property
    def at_most(self) -> int | None:
        """Parameters of a local folder, from the size of its weights at two bytes each: what memory is reserved for."""
        if self.source.kind != "folder":
            return None
        folder = Path(self.source.id)
        return sum((folder / name).stat().st_size for name in weight_files(file.name for file in folder.iterdir())) // 2

    @property
    def name(self) -> str:
        return f"{self.ladder}-{self.size}"


@dataclass(frozen=True)
class Materials:
    models: tuple[Model, ...]
    datasets: Mapping[str, File]
    suites: Mapping[str, File]
    positions: Mapping[str, Position]  # by category
    positions_file: File | None
    group_words: File
    target_words: File
    prose: File | None = None  # what perplexity is measured on, where the experiment names it

    @property
    def statements(self) -> dict[str, str]:
        """Category to position statement."""
        return {category: position.statement for category, position in self.positions.items()}

    @property
    def calibration(self) -> bool:
        return any(model.source.kind == "calibration" for model in self.models)


def gather(experiment: Experiment, folder: Path, *, samples: bool = True) -> Materials:
    """Find and check what an experiment refers to; relative paths are meant from `folder`. Without `samples`, datasets are only
    found: who checks them says more than the first lines that cannot be read.

    Raises:
        BadInput: everything that is wrong, a line each.
    """
    problems: list[str] = []
    models = [model for ladder in experiment.ladders for model in _models(ladder, folder, problems)]
    most = max(experiment.dataset_sizes)
    check = partial(_check_rows, most=most) if samples else (lambda path: None)
    place = partial(_place, folder)
    datasets = {name: file for name, given in experiment.datasets.items() if (file := _file(place(given), check, problems))}
    suites = {
        name: file for name, suite in experiment.suites.items() if (file := _file(place(suite.prompts), _reported, problems))
    }
    positions: dict[str, Position] = {}
    positions_file = None
    with _noting(problems):
        if experiment.positions is not None:
            positions = load_positions(place(experiment.positions))
            positions_file = File.of(place(experiment.positions))
        evaluations.check_rated(experiment, suites, positions)
        evaluations.check_pairs(experiment, suites)
    words, targets = _word_files(experiment, folder, suites, problems)
    named = experiment.evaluations.capability and experiment.evaluations.capability.prose
    prose = _file(place(named), load_paragraphs, problems) if named else None
    problems += evaluations.problems(experiment, models)
    if experiment.numerics.device == "cuda" and not gpus():
        problems.append("numerics.device: cuda, and this machine has no NVIDIA driver; auto or cpu is accepted")
    if problems:
        raise BadInput(*problems)
    return Materials(tuple(models), datasets, suites, positions, positions_file, words, targets, prose)


def sweep_id(experiment: Experiment, materials: Materials) -> str:
    """Name and digest: of what is asked for, with files by their content; where results are kept and tracked is no part of it."""
    document = experiment.model_dump(mode="json", exclude={"description", "limits", "tracking", "store"})
    document["positions"] = materials.positions_file.digest if materials.positions_file else None
    if experiment.evaluations.cooccurrence:
        document["evaluations"]["cooccurrence"]["words"] = materials.group_words.digest
        document["evaluations"]["cooccurrence"]["target_words"] = materials.target_words.digest
    if materials.prose:
        document["evaluations"]["capability"]["prose"] = materials.prose.digest
    document["datasets"] = {name: file.digest for name, file in materials.datasets.items()}
    for name, file in materials.suites.items():
        document["suites"][name]["prompts"] = file.digest
    return f"{experiment.name}-{digest_of(document)[:10]}"


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        problems += [finding.at(error.path) for finding in error.findings]
    except BadInput as error:
        problems += error.lines
    except ValueError as error:
        problems.append(str(error))


def _models(ladder: Ladder, folder: Path, problems: list[str]) -> list[Model]:
    found = []
    if ladder.sizes:
        with _noting(problems):
            known = catalog.load_ladder(ladder.ladder)
            for size in ladder.sizes:
                with _noting(problems):
                    rung = known.rung(size)
                    found.append(Model(ladder.ladder, size, rung.source, rung.params, known.context))
    for size, place in ladder.models.items():
        with _noting(problems):
            found.append(Model(ladder.ladder, size, _source(place, folder), None))
    return found


def _source(place: str, folder: Path) -> Source:
    path = folder / Path(place).expanduser()
    if path.exists() or place.startswith((".", "/", "~")) or not evaluators.HUB_ID.fullmatch(place):
        check_folder(path)
        return Source("folder", str(path.resolve()))
    return Source("hub", place, "main")


def _place(folder: Path, given: str) -> Path:
    """A path meant from an experiment's folder, without detours: it stands in messages."""
    return Path(os.path.normpath(folder / given))


def _file(path: Path, check: Callable[[Path], Any], problems: list[str]) -> File | None:
    with _noting(problems):
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        check(path)
        return File.of(path)
    return None


def _reported(path: Path) -> None:
    """A suite that may be sampled for a report."""
    if not load_suite(path).reported:
        raise ValueError(
            f"{path}: is marked `reported: false`; it is for choosing data and settings, and a suite that is reported on is required"
        )


def _word_files(experiment: Experiment, folder: Path, suites: Mapping[str, File], problems: list[str]) -> tuple[File, File]:
    """The word lists of the social groups and those of target words, with all that is wanted of them; the shipped ones by default."""
    section = experiment.evaluations.cooccurrence
    groups, targets = SOCIAL_GROUPS, TARGETS
    if section is not None:
        groups = groups if section.words is None else _place(folder, section.words)
        targets = targets if section.target_words is None else _place(folder, section.target_words)
        with _noting(problems):
            load_axes(groups, section.axes)
            _check_axes(section, suites)
        with _noting(problems):
            load_targets(targets, section.targets)
    # a file that is not there has been noted
    held = [File.of(path) if path.is_file() else File.of(SOCIAL_GROUPS) for path in (groups, targets)]
    return held[0], held[1]


def _check_axes(section: Cooccurrence, suites: Mapping[str, File]) -> None:
    """The axes that prompts are compared along are counted."""
    for name in section.suites:
        for prompt in load_suite(suites[name].path).prompts if name in suites else ():
            if prompt.axis and prompt.axis not in section.axes:
                raise BadInput(
                    f"suites.{name}: prompt {prompt.id} is of axis {prompt.axis}, which evaluations.cooccurrence.axes leaves out;"
                    f" counted are {', '.join(section.axes)}"
                )


def _check_rows(path: Path, most: int) -> None:
    if (count := len(load_rows(path))) < most:
        raise ValueError(f"{path}: {count} samples; dataset_sizes asks for {most}")
