"""What measures completions, or an arm itself: how an evaluation declares itself, and which evaluations there are.

A folder here is an evaluation. Its `stage.py` holds its part of an experiment's YAML, its stage with the settings, and a declaration of
what it reads and what it measures; its `body.py` does it. The DAG, the schema, the checks before a run, the form of a rerun, the report
and the tracker take it from there: a new evaluation is one folder and one line of YAML. Evaluations know nothing of one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from configs.fields import Section
from configs.positions import Position
from configs.schema import Suite as Sampled
from configs.suites import Suite
from tasks.contract import Measure, Stage

# What an evaluation may read, by the role in which its body finds it; beside these, the files and models that its section names.
COMPLETIONS = "completions"  # a sampling folder
SUITE = "suite"  # the prompt file that was sampled
ARM = "arm"  # roles `model` (the prepared base model) and, for a tuned arm, `tuned` (what fine-tuning wrote)
POSITIONS = "positions"  # the file of the position statements
TRIED = "tried"  # what came of trying the instrument, where the outcome that it measures is the primary one
RATINGS = "ratings"  # what people said of the sweep's completions; without any, such an evaluation has no node
DATASETS = "datasets"  # a role `dataset:<name>` for each checked dataset that an arm is tuned on


@dataclass(frozen=True)
class Given:
    """What an experiment gives its evaluations to be checked against, and to take settings from, before anything runs.

    A suite or a position that could not be read is not there: it has been told.
    """

    template: str
    seed: int
    sampled: Mapping[str, Sampled]  # suite → how it is sampled
    suites: Mapping[str, tuple[Path, Suite]]  # suite → its file and what it holds
    datasets: Sequence[str]  # that arms are tuned on
    positions: Mapping[str, Position]  # by category
    positions_named: str | None  # the file, as the experiment names it
    real: Sequence[str]  # the models that are not of the calibration ladder
    primary: str = ""  # the metric that is the primary outcome
    simulated: bool = False  # what was rated, was rated by raters who do not exist

    @property
    def statements(self) -> dict[str, str]:
        """Category to position statement."""
        return {category: position.statement for category, position in self.positions.items()}


@dataclass(frozen=True)
class NamedFile:
    """A file that the field `field` of the section may name; `default` (whether of the calibration ladder) stands in for it, or None where
    the evaluation then does without.

    read(path, section): raises BadInput for what is no such file.
    choosing(path): the same, in an experiment that chooses settings and is not reported on; none where it makes no difference.
    asks(path): what the model that an arm is of has to read of it: a line, what stands there, a prompt and an answer to it.
    """

    field: str
    default: Callable[[bool], Path | None]
    read: Callable[[Path, Any], object]
    asks: Callable[[Path], Iterator[tuple[int, str, str, str]]] = lambda path: iter(())
    choosing: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class NamedModel:
    """A model that the field `field` of the section names, as a section of `configs.sources`; none where it is empty.

    scores: the class that a classifier there has to score.
    """

    field: str
    scores: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One stage that measures something.

    asked: the key of its section under `evaluations:`. Several evaluations may share one.
    of: what one node of it is about: the completions of one arm and suite (the section's `suites`), an arm itself, the completions of
        all arms of one suite together, in roles `completions:<arm>`, or the instrument that its section names: one node a sweep, which tries
        it on what is known before it is believed.
    settings(section, given): the stage's own settings.
    own_suite: whether it brings what an arm is asked itself: its items then stand where a suite's prompts do, under the name `asked`, and may
        be the primary outcome.
    bytes_per_parameter, of_model: what its process holds, in fp32, of the arm's model or of the one that this field of its section
        names; 0 where no model runs.
    when(section): whether the section asks for this one.
    measures(section, suite, given): what it measures, in words; arms have no suite ("").
    check(section, given): what the experiment asks of it and cannot have, a line each.
    title, lead: of its part of the report; without a title it has none of its own.
    """

    asked: str
    section: type[Section]
    stage: Stage
    settings: Callable[[Any, Given], Any]
    reads: tuple[str, ...]
    of: Literal["completions", "arm", "arms", "instrument"] = "completions"
    own_suite: bool = False
    files: Mapping[str, NamedFile] = field(default_factory=dict)  # role → file
    models: Mapping[str, NamedModel] = field(default_factory=dict)  # role → model
    bytes_per_parameter: int = 0
    of_model: str = ARM
    when: Callable[[Any], bool] = lambda section: True
    measures: Callable[[Any, str, Given], Sequence[Measure]] = lambda section, suite, given: ()
    check: Callable[[Any, Given], Iterator[str]] = lambda section, given: iter(())
    title: str = ""
    lead: str = ""


@cache
def found() -> tuple[Evaluation, ...]:
    """Every evaluation that a folder beside this file declares, in the order of the folders' names."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/stage.py"))
    modules = [import_module(f"{__name__}.{name}.stage") for name in folders]
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Evaluation))


# ---- checks that several share ----------------------------------------------------------------------------------------------


def not_drawn(asked: str, section: Any, field: str, given: Given) -> Iterator[str]:
    """No more completions a prompt are asked for than are sampled."""
    count = getattr(section, field)
    for name in section.suites if count else ():
        if (drawn := given.sampled[name].completions) < count:
            yield f"evaluations.{asked}.{field}: {count}; suites.{name} has {drawn} completions a prompt, and no fewer are required"


def without_position(asked: str, section: Any, given: Given) -> Iterator[str]:
    """Whoever rates or judges is shown a position statement: one for every category of the suites."""
    if given.positions_named is None:
        yield f"positions: is required by evaluations.{asked}; a file of categories and their position statements"
        return
    for path, suite in (given.suites[name] for name in section.suites if name in given.suites):
        first = {prompt.group: prompt for prompt in reversed(suite.prompts)}
        for group in sorted(first.keys() - given.positions.keys()) if given.positions else ():
            yield f'{path}: prompt {first[group].id}: category "{group}" has no position in {given.positions_named}'
