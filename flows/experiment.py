"""An experiment as it is written: the schema over every evaluation and every method of tuning that there is, and how a file becomes one.

`python -m flows.experiment` prints the JSON schema that editors check experiment files against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.read import override, read_yaml
from configs.schema import Experiment, compose
from configs.sources import CalibrationScorer, ModelSource
from flows.engine.home import is_address
from tasks import evaluations
from tasks.evaluations import Evaluation
from tasks.finetune import methods

SCHEMA = compose(
    {evaluation.asked: evaluation.section for evaluation in evaluations.found()},
    [method.section for method in methods.found().values()],
)


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Raises BadInput: one line a problem, with file:line and key path, and what would be accepted."""
    document = read_yaml(path)
    given = {override(document.data, assignment) for assignment in overrides}
    return _anchored(document.read(SCHEMA, given), path.absolute().parent)


def asked_of(experiment: Experiment) -> Iterator[tuple[Evaluation, Any]]:
    """Every evaluation that the experiment asks for, with its section."""
    held = experiment.evaluations.asked
    for evaluation in evaluations.found():
        if evaluation.asked in held and evaluation.when(held[evaluation.asked]):
            yield evaluation, held[evaluation.asked]


def calibration_scored(experiment: Experiment) -> bool:
    """Whether a scorer of the calibration ladder scores anything."""
    sources = [getattr(section, named.field) for one, section in asked_of(experiment) for named in one.models.values()]
    return any(isinstance(source, CalibrationScorer) for source in sources)


def json_schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMA.model_json_schema()}


def _anchored(experiment: Experiment, base: Path) -> Experiment:
    """The paths that are kept as they are written, made absolute: a runner reads them in another folder than a command."""
    placed: dict[str, Any] = {}
    for name, section in experiment.evaluations.asked.items():
        sources = {
            field: held for field in type(section).model_fields if isinstance(held := getattr(section, field), ModelSource)
        }
        placed[name] = section.model_copy(update={field: source.placed(base) for field, source in sources.items()})
    changes: dict[str, Any] = {"evaluations": experiment.evaluations.model_copy(update=placed)}
    if experiment.store.path and not is_address(experiment.store.path):
        changes["store"] = experiment.store.model_copy(update={"path": str(base / Path(experiment.store.path).expanduser())})
    return experiment.model_copy(update=changes)


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
