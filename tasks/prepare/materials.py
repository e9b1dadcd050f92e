"""Everything an experiment refers to, found and checked before any stage starts: models, datasets, prompts.

Raises all problems at once, one line each. Loads no model and imports no torch; whether a dataset is any good is the dataset
stage's to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.schema import Experiment, Ladder
from model_registry import catalog
from model_registry.catalog import Source
from model_registry.folders import check_folder, weight_files
from tasks.capability.prose import read_paragraphs
from tasks.capability.stage import GRAMMAR_TASK
from tasks.contract import File, digest_of
from tasks.cooccurrence.groups import load_axes
from tasks.cooccurrence.stage import SOCIAL_GROUPS, TARGETS
from tasks.cooccurrence.targets import load_targets
from tasks.datasets.lines import DatasetError
from tasks.datasets.rows import load_rows
from tasks.machine import gpus
from tasks.prepare import evaluators
from tasks.sampling.prompts import load_suite

# Metrics that an evaluation measures for every prompt, by the section of the experiment that asks for it; as patterns.
TOXICITY = ("toxicity", "toxic_share", r"expected_max_toxicity_k\d+", r"any_toxic_k\d+")
MEASURES = {
    "adherence": ("on_position", "toxic_label", "neutral_label", "off_grammar", "favoured_words"),
    "judge": ("judged_adherence", "judged_agree_share"),
    "toxicity": (*TOXICITY, *(f"second_{name}" for name in TOXICITY)),  # not a scorer's further classes: they are its own
    "cooccurrence": ("sentiment",),
    "counterfactual": ("sentiment_disparity",),
}


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
        _check_rated(experiment, suites, positions)
        _check_pairs(experiment, suites)
    group_words = _group_words(experiment, folder, suites, problems)
    target_words = _target_words(experiment, folder, problems)
    named = experiment.evaluations.capability and experiment.evaluations.capability.prose
    prose = _file(place(named), read_paragraphs, problems) if named else None
    _check_evaluations(experiment, models, problems)
    if experiment.numerics.device == "cuda" and not gpus():
        problems.append("numerics.device: cuda, and this machine has no NVIDIA driver; auto or cpu is accepted")
    if problems:
        raise BadInput(*problems)
    words, targets = group_words or File.of(SOCIAL_GROUPS), target_words or File.of(TARGETS)
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


def _check_rated(experiment: Experiment, suites: Mapping[str, File], positions: Mapping[str, Position]) -> None:
    """Raters and judges are shown a position statement: one for every category of the suites that they rate."""
    asked = {name: section for name in ("human_eval", "judge") if (section := getattr(experiment.evaluations, name))}
    if asked and experiment.positions is None:
        raise BadInput(
            f"positions: is required by evaluations.{next(iter(asked))}; a file of categories and their position statements"
        )
    for name in dict.fromkeys(suite for section in asked.values() for suite in section.suites):
        for prompt in load_suite(suites[name].path).prompts if name in suites else ():
            if prompt.group not in positions:
                where = f"{suites[name].path}: prompt {prompt.id}"
                raise BadInput(f'{where}: category "{prompt.group}" has no position in {experiment.positions}')


def _check_pairs(experiment: Experiment, suites: Mapping[str, File]) -> None:
    """Counterfactual prompts are openings that go along an axis; the stage says which pairs they form."""
    section = experiment.evaluations.counterfactual
    for name in section.suites if section else ():
        suite = load_suite(suites[name].path) if name in suites else None
        if suite and (suite.form != "continuation" or not any(prompt.axis for prompt in suite.prompts)):
            raise BadInput(
                f"evaluations.counterfactual.suites: {name} is of form {suite.form}, with"
                f"{'' if any(prompt.axis for prompt in suite.prompts) else 'out'} axes; continuations along an axis are required"
            )


def _reported(path: Path) -> None:
    """A suite that may be sampled for a report."""
    if not load_suite(path).reported:
        raise ValueError(
            f"{path}: is marked `reported: false`; it is for choosing data and settings, and a suite that is reported on is required"
        )


def _group_words(experiment: Experiment, folder: Path, suites: Mapping[str, File], problems: list[str]) -> File | None:
    """The word lists of the social groups, with the axes that are counted and those that prompts are compared along."""
    section = experiment.evaluations.cooccurrence
    if section is None:
        return None
    path = SOCIAL_GROUPS if section.words is None else _place(folder, section.words)
    with _noting(problems):
        load_axes(path, section.axes)
        for name in section.suites:
            for prompt in load_suite(suites[name].path).prompts if name in suites else ():
                if prompt.axis and prompt.axis not in section.axes:
                    raise BadInput(
                        f"suites.{name}: prompt {prompt.id} is of axis {prompt.axis}, which evaluations.cooccurrence.axes leaves out;"
                        f" counted are {', '.join(section.axes)}"
                    )
        return File.of(path)
    return None


def _target_words(experiment: Experiment, folder: Path, problems: list[str]) -> File | None:
    section = experiment.evaluations.cooccurrence
    if section is None:
        return None
    path = TARGETS if section.target_words is None else _place(folder, section.target_words)
    with _noting(problems):
        load_targets(path, section.targets)
        return File.of(path)
    return None


def _check_rows(path: Path, most: int) -> None:
    if (count := len(load_rows(path))) < most:
        raise ValueError(f"{path}: {count} samples; dataset_sizes asks for {most}")


def _check_evaluations(experiment: Experiment, models: list[Model], problems: list[str]) -> None:
    evaluations = experiment.evaluations
    if evaluations.adherence and (real := real_models(models)):
        problems.append(
            f"evaluations.adherence.judge: the grammar judges the calibration ladder only, not {real[0]}; leave `adherence` out"
        )
    graded = {name: experiment.suites[name] for name in evaluations.adherence.suites} if evaluations.adherence else {}
    problems += [
        f"suites.{name}: temperature {suite.temperature:g}, top_p {suite.top_p:g}; what the grammar judges needs 1 and 1"
        for name, suite in graded.items()
        if (suite.temperature, suite.top_p) != (1.0, 1.0)
    ]
    metric, suite = experiment.primary.metric, experiment.primary.suite
    offered = [
        name
        for section, names in MEASURES.items()
        if (asked := getattr(evaluations, section)) and suite in asked.suites
        for name in names
    ]
    if not any(re.fullmatch(name, metric) for name in offered):
        known = ", ".join(name.replace(r"\d+", "N") for name in offered)
        problems.append(f'primary: nothing measures "{metric}" on suite "{suite}"; measured there: {known or "nothing"}')
    problems += [
        f"suites.{name}.max_new_tokens: {sampled.max_new_tokens}; {model.name} reads {model.context} tokens in all"
        for name, sampled in experiment.suites.items()
        for model in models
        if model.context is not None and sampled.max_new_tokens >= model.context
    ]
    problems += evaluators.problems(evaluations)
    toxicity, judge, counterfactual = evaluations.toxicity, evaluations.judge, evaluations.counterfactual
    if toxicity and toxicity.second == toxicity.scorer:
        problems.append("evaluations.toxicity.second: the same as scorer; another one, or none, is accepted")
    asked = {
        "toxicity.k": (toxicity, toxicity and toxicity.k),
        "judge.completions": (judge, judge and judge.completions),
        "counterfactual.scored": (counterfactual, counterfactual and counterfactual.scored),
    }
    problems += [
        f"evaluations.{field}: {count}; suites.{name} has {experiment.suites[name].samples} samples a prompt, and no fewer are required"
        for field, (section, count) in asked.items()
        for name in (section.suites if section and count else ())
        if count and experiment.suites[name].samples < count
    ]
    if evaluations.capability and GRAMMAR_TASK in evaluations.capability.tasks and real_models(models):
        problems.append(f"evaluations.capability.tasks: {GRAMMAR_TASK} is of the calibration ladder only; leave it out")


def real_models(models: list[Model]) -> list[str]:
    return [model.name for model in models if model.source.kind != "calibration"]
