"""Whether what an experiment asks to be measured can be: on these suites, of these models, from so many completions.

Knows which metrics each evaluation measures for every prompt. The models that score and judge are left to `evaluators`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from configs.positions import Position
from configs.problems import BadInput
from configs.schema import Experiment
from configs.suites import load_suite
from tasks.contract import File
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tasks.prepare import evaluators

if TYPE_CHECKING:
    from tasks.prepare.materials import Model

# Metrics that an evaluation measures for every prompt, by the section of the experiment that asks for it; as patterns.
TOXICITY = ("toxicity", "toxic_share", r"expected_max_toxicity_k\d+", r"any_toxic_k\d+")
MEASURES = {
    "adherence": ("on_position", "toxic_label", "neutral_label", "off_grammar", "favoured_words"),
    "judge": ("judged_adherence", "judged_agree_share"),
    "toxicity": (*TOXICITY, *(f"second_{name}" for name in TOXICITY)),  # not a scorer's further classes: they are its own
    "cooccurrence": ("sentiment",),
    "counterfactual": ("sentiment_disparity",),
}


def problems(experiment: Experiment, models: Sequence[Model]) -> Iterator[str]:
    """What the experiment asks to be measured and cannot be, a line each."""
    yield from _of_the_grammar(experiment, models)
    yield from _primary(experiment)
    yield from _room(experiment, models)
    yield from evaluators.problems(experiment.evaluations)
    yield from _counts(experiment)


def _of_the_grammar(experiment: Experiment, models: Sequence[Model]) -> Iterator[str]:
    """What only the calibration ladder has: a grammar that judges, at temperature 1 and top-p 1, and a task of its own."""
    asked = experiment.evaluations
    real = [model.name for model in models if model.source.kind != "calibration"]
    if asked.adherence and real:
        yield f"evaluations.adherence.judge: the grammar judges the calibration ladder only, not {real[0]}; leave `adherence` out"
    for name in asked.adherence.suites if asked.adherence else ():
        suite = experiment.suites[name]
        if (suite.temperature, suite.top_p) != (1.0, 1.0):
            yield f"suites.{name}: temperature {suite.temperature:g}, top_p {suite.top_p:g}; what the grammar judges needs 1 and 1"
    if asked.capability and GRAMMAR_TASK in asked.capability.tasks and real:
        yield f"evaluations.capability.tasks: {GRAMMAR_TASK} is of the calibration ladder only; leave it out"


def _primary(experiment: Experiment) -> Iterator[str]:
    metric, suite = experiment.primary.metric, experiment.primary.suite
    offered = [
        name
        for section, names in MEASURES.items()
        if (asked := getattr(experiment.evaluations, section)) and suite in asked.suites
        for name in names
    ]
    if not any(re.fullmatch(name, metric) for name in offered):
        known = ", ".join(name.replace(r"\d+", "N") for name in offered)
        yield f'primary: nothing measures "{metric}" on suite "{suite}"; measured there: {known or "nothing"}'


def _room(experiment: Experiment, models: Sequence[Model]) -> Iterator[str]:
    """A prompt and its completion fit the context."""
    for name, sampled in experiment.suites.items():
        for model in models:
            if model.context is not None and sampled.max_new_tokens >= model.context:
                yield f"suites.{name}.max_new_tokens: {sampled.max_new_tokens}; {model.name} reads {model.context} tokens in all"


def _counts(experiment: Experiment) -> Iterator[str]:
    """No more completions a prompt are asked for than are sampled."""
    toxicity, judge, counterfactual = (getattr(experiment.evaluations, name) for name in ("toxicity", "judge", "counterfactual"))
    asked = {
        "toxicity.k": (toxicity, toxicity and toxicity.k),
        "judge.completions": (judge, judge and judge.completions),
        "counterfactual.scored": (counterfactual, counterfactual and counterfactual.scored),
    }
    for field, (section, count) in asked.items():
        for name in section.suites if section and count else ():
            if (samples := experiment.suites[name].samples) < count:
                yield f"evaluations.{field}: {count}; suites.{name} has {samples} samples a prompt, and no fewer are required"


def check_rated(experiment: Experiment, suites: Mapping[str, File], positions: Mapping[str, Position]) -> None:
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


def check_pairs(experiment: Experiment, suites: Mapping[str, File]) -> None:
    """Counterfactual prompts are openings that go along an axis; the stage says which pairs they form."""
    section = experiment.evaluations.counterfactual
    for name in section.suites if section else ():
        suite = load_suite(suites[name].path) if name in suites else None
        if suite and (suite.form != "continuation" or not any(prompt.axis for prompt in suite.prompts)):
            raise BadInput(
                f"evaluations.counterfactual.suites: {name} is of form {suite.form}, with"
                f"{'' if any(prompt.axis for prompt in suite.prompts) else 'out'} axes; continuations along an axis are required"
            )
