"""The sweep over weakness probes that another sweep's tuned model is looked at with, and what it found: where the dataset has gaps.

Knows how the one experiment follows from the other: the same model, arms, data and template, so that nothing is tuned again, over prompts that
are never reported on. Leaves what counts as a gap to `tasks.curation.coverage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.contrasts import Contrast
from configs.positions import Position
from configs.problems import BadInput, accepted
from configs.schema import Experiment, Tuned
from configs.shipped import CONFIGS
from configs.suites import load_suite
from flows import derived
from flows.engine.home import Home
from flows.engine.notes import Unreadable, sweep_note
from flows.experiment import asked_of
from flows.inputs import BESIDE, Inputs
from flows.outputs import Outputs
from flows.prepared import Run, began, known_sweeps
from model_registry.catalog import Model
from tasks.contract import Metric, read_metrics, sha256_file
from tasks.curation.coverage import SIGNS, Covered, coverage
from tasks.datasets.rows import load_rows
from tasks.ratings.kept import RATINGS, are_simulated

PROBES = "probes"  # the suite, as the sweep calls it
SHIPPED = {False: CONFIGS / "prompts/weakness_probes.yaml", True: CONFIGS / "prompts/calibration/probes.yaml"}
WHOLE = ("k", "completions")  # counts of completions, which are here the suite's own
LOOKED = ("toxicity", "adherence", "judge")  # the evaluations of completions that tell of a category whether it is weak


def probed_arm(experiment: Experiment, arm: str | None) -> str:
    """The arm whose dataset or settings are to be improved: the one that is named, or the first that a confirmatory contrast treats.

    Raises:
        BadInput: there is no such arm, or it is tuned on nothing.
    """
    tuned = [name for name, section in experiment.arms.items() if isinstance(section, Tuned)]
    if arm is None:
        treated = [contrast.treated for contrast in experiment.contrasts if contrast.treated in tuned]
        arm = next(iter([*treated, *tuned]), None)
    if arm is None or arm not in tuned:
        raise BadInput(
            f"--arm: {arm or 'none'} is tuned on no dataset; {accepted(arm or '', tuned) if tuned else 'a tuned arm is required'}"
        )
    return arm


def newest_reported(home: Home) -> str | None:
    """The latest sweep that is not itself over probes; None where there is none."""
    for folder in sorted(known_sweeps(home), key=began, reverse=True):
        try:
            if sweep_note(folder).experiment.get("reported", True):
                return folder.name
        except Unreadable:  # told where it is asked for
            continue
    return None


def write_probing(home: Home, run: Run, arm: str, size: str | None, probes: Path | None) -> Path:
    """The experiment that probes an arm of a sweep at one of its sizes (the largest by default), as a file of this home.

    Raises:
        BadInput: there is no such size, or the prompts are reported on.
    """
    experiment, inputs = run.experiment, run.inputs
    model = _model(inputs, size)
    file = probes_for(inputs, [model], probes)
    path = home.root / "curation" / run.dag.sweep / f"probing_{arm}_{model.name}_{sha256_file(file)[:8]}.yaml"
    document = probing(experiment, arm, (model.ladder, model.size), file, run.source)
    return derived.write(
        document, path, f"Looks for what the dataset of {arm} lacks. Its prompts choose data; nothing of it is a result."
    )


def probing(experiment: Experiment, arm: str, place: tuple[str, str], probes: Path, source: Path) -> dict[str, Any]:
    """The document. `place`: ladder and size; `source`: the experiment's file."""
    contrasts = [one for one in (*experiment.contrasts, *experiment.exploratory) if one.treated == arm] or [
        Contrast(arm, experiment.comparison.reference)
    ]
    document = over_probes(
        experiment, [*(name for one in contrasts for name in reversed(one.arms)), arm], [place], probes, source
    )
    asked, arms = document["evaluations"], document["arms"]
    metric = next((found for name, found in OUTCOMES.items() if name in asked), "rating")
    return document | {
        "name": derived_name("probes", experiment),
        "evaluations": {**asked, "human_eval": {"suites": [PROBES]}},
        "primary": {"suite": PROBES, "metric": metric},
        "reference": experiment.comparison.reference if experiment.comparison.reference in arms else None,
        "exploratory": [str(one) for one in contrasts],
        "seeds": [experiment.seeds[0]],
    }


def over_probes(
    experiment: Experiment, wanted: Sequence[str], places: Sequence[tuple[str, str]], probes: Path, source: Path
) -> dict[str, Any]:
    """What an experiment over probes has of the one that it follows from, as far as these arms, with those that they are made of, and these places
    (ladder, size) go; its name, its primary outcome and what is compared are left out."""
    given = derived.standing(experiment, source)
    held = experiment.with_origins(wanted)
    arms = [name for name in experiment.in_order if name in held]
    used = {section.dataset for name in arms if isinstance(section := experiment.arms[name], Tuned)}
    suite = max(experiment.suites.values(), key=lambda one: one.max_new_tokens)  # whole answers
    asked = {
        evaluation.asked: {
            **given["evaluations"][evaluation.asked],
            **{name: None for name in WHOLE if name in type(section).model_fields},
            "suites": [PROBES],
        }
        for evaluation, section in asked_of(experiment)
        if evaluation.asked in LOOKED and evaluation.of == "completions"
    }
    kept = (*BESIDE, "positions", "template", "system", "numerics", "subsets")
    return {
        "reported": False,
        **{name: given[name] for name in kept if name in given},
        "dataset_checks": {**given.get("dataset_checks", {}), "same_subject": None},  # probes may be near what they probe
        "ladders": _ladders(given["ladders"], places),
        "arms": {name: given["arms"][name] for name in arms},
        **{
            name: {one: path for one, path in given.get(name, {}).items() if one in used}
            for name in ("datasets", "preferences")
            if used & given.get(name, {}).keys()
        },
        "train_samples": [max(experiment.train_samples)],
        "suites": {PROBES: {**suite.model_dump(mode="json"), "prompts": str(probes)}},
        "evaluations": asked,
    }


def probes_for(inputs: Inputs, models: Sequence[Model], probes: Path | None) -> Path:
    """The file of probes for these models: the one that is named, or the shipped one.

    Raises:
        BadInput: it is reported on, or asks about what has no position here.
    """
    file = (probes or SHIPPED[all(model.calibration for model in models)]).absolute()
    suite = load_suite(file)
    if suite.reported:
        raise BadInput(f"{file}: is reported on; what data or settings are chosen by has to be marked `reported: false`")
    if foreign := sorted({prompt.group for prompt in suite.prompts} - inputs.given.positions.keys()):
        raise BadInput(f"{file}: asks about {foreign[0]}, which has no position here; --probes names prompts for these positions")
    return file


def derived_name(word: str, experiment: Experiment) -> str:
    """The other way round, a beginning of the sweep's id would be one of this too."""
    return f"{word}_{experiment.name}"[:60]


# By evaluation, the one that says most first. No judge: as the primary outcome it would have to pass its trial, and here it only hints.
OUTCOMES = {"adherence": "on_position", "toxicity": "toxicity"}


def _model(inputs: Inputs, size: str | None) -> Model:
    if size is None:
        return max(inputs.models, key=lambda model: model.params or 0)
    found = next((model for model in inputs.models if size in (model.size, model.name)), None)
    if found is None:
        raise BadInput(f"--size: {size}; {accepted(size, [model.size for model in inputs.models])}")
    return found


def _ladders(ladders: Any, places: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The entries of these ladders and sizes; a model that is named by a place keeps it."""
    found = []
    for own in ladders:
        sizes = [size for ladder, size in places if ladder == own["ladder"]]
        models = own.get("models")
        if sizes:
            found.append(
                {"ladder": own["ladder"], **({"models": {size: models[size] for size in sizes}} if models else {"sizes": sizes})}
            )
    return found


def covered(home: Home, outputs: Outputs, arm: str, dataset: Path, positions: Mapping[str, Position]) -> list[Covered]:
    """What the probing sweep found of the arm, beside what its dataset holds. What people rated is among it, once they have."""
    levels: list[Metric] = []
    wanted = {sign.metric for sign in SIGNS}
    for label, place in outputs.places.items():
        if place.arm == arm and place.suite == PROBES and (found := outputs.manifest(label)):
            levels += [level for level in read_metrics(found.folder) if level.metric in wanted]
    ratings = home.ratings(outputs.sweep) / RATINGS
    return coverage(load_rows(dataset), positions, levels, simulated=ratings.is_file() and are_simulated(ratings))
