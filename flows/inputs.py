"""Everything an experiment refers to, found and checked before any stage starts: models, datasets, prompts, files of evaluations.

Raises all problems at once, one line each. Loads no model; whether a dataset is any good is the dataset stage's to say, what an
evaluation can be asked of is the evaluation's, and what a local model can read is for `reading`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.schema import NESTED, Checkpoint, Experiment, Ladder, Tuned
from configs.suites import Suite, load_suite
from flows.engine.machine import gpus
from flows.experiment import asked_of
from model_registry import catalog
from model_registry.catalog import Model, Source
from model_registry.gguf_file import SUFFIX
from tasks.contract import File, Measure, digest_of
from tasks.curation.versions import require_frozen
from tasks.datasets.licences import restrictions
from tasks.datasets.plain_texts import load_plain_texts
from tasks.datasets.preferences import Preference, load_preferences, split, twins
from tasks.datasets.rows import Row, load_rows
from tasks.datasets.subset import choose
from tasks.evaluations import Given, NamedFile
from tasks.finetune import methods
from tasks.finetune.attributes import LISTS, load_attributes
from tasks.finetune.requirements import unmet, unsupervised
from tasks.finetune.stage import MEASURES as OF_TUNING
from tasks.finetune.stage import REGULARISED, steps_of, unfit
from tasks.leakage import stage as leakage
from tasks.preference.stage import MEASURES as OF_PREFERENCE
from tasks.prepare import sources

TEXTS, ATTRIBUTES = "texts", "attributes"  # roles of what the tuning stage reads beside model and dataset
BESIDE = ("description", "engine", "cluster", "limits", "tracking", "store")  # what of an experiment is no part of what is asked


@dataclass(frozen=True)
class Inputs:
    """`files` are those that evaluations read, by the name of the stage, the role, and whether the ladder is the calibration one. `beside`:
    what arms read beside their datasets, by arm and role."""

    models: tuple[Model, ...]
    datasets: Mapping[str, File]
    preferences: Mapping[str, File]
    suites: Mapping[str, File]
    positions_file: File | None
    files: Mapping[tuple[str, str, bool], File]
    beside: Mapping[tuple[str, str], File]
    given: Given  # what evaluations take from the experiment

    @property
    def calibration(self) -> bool:
        return any(model.calibration for model in self.models)

    @cached_property
    def restricted(self) -> tuple[str, ...]:
        """What is to be known of what arms are tuned on, a line each: what the licences of samples forbid, and who rated answers."""
        licences = [
            f"dataset {name}: {said}"
            for name in self.given.datasets
            if name in self.datasets
            for said in restrictions(load_rows(self.datasets[name].path))
        ]
        simulated = [
            f"preferences {name}: of simulated raters, who go by what the calibration grammar planted: what is learned from them is circular by "
            "construction"
            for name, held in self.rated.items()
            if any(one.simulated for one in held)
        ]
        return (*licences, *simulated)

    @cached_property
    def rated(self) -> dict[str, list[Preference]]:
        """What stands in each file of preferences."""
        return {name: load_preferences(file.path) for name, file in self.preferences.items()}

    def preferred(self, arm: Tuned, train_samples: int, subset_seed: int | None) -> list[Preference]:
        """What an arm learns from: all preferences of its file, or the twins within the subset of its dataset.

        Raises:
            ValueError: the subset cannot be had.
        """
        if arm.dataset in self.rated:
            return self.rated[arm.dataset]
        return twins(choose(load_rows(self.datasets[arm.dataset].path), train_samples, subset_seed))

    @property
    def params(self) -> dict[str, int | None]:
        """Model → its parameter count, where it is known before it is fetched."""
        return {model.name: model.params for model in self.models}


def gather(experiment: Experiment, folder: Path, *, rows: bool = True, weights: bool = True) -> Inputs:
    """Find and check what an experiment refers to; relative paths are meant from `folder`. Without `rows`, datasets are only
    found: who checks them says more than the first lines that cannot be read. Without `weights`, models of the catalogue need not be
    there: nothing is to be run.

    Raises:
        BadInput: everything that is wrong, a line each.
    """
    problems: list[str] = []
    place = partial(_place, folder)
    models = [model for ladder in experiment.ladders for model in _models(ladder, folder, problems, weights)]
    check = partial(_check_rows, most=max(experiment.train_samples)) if rows else require_frozen
    datasets = {name: file for name, given in experiment.datasets.items() if (file := _file(place(given), check, problems))}
    preferences = {
        name: file
        for name, named in experiment.preferences.items()
        if named and (file := _file(place(named), load_preferences, problems))
    }
    suites = {
        name: file
        for name, suite in experiment.suites.items()
        if (file := _file(place(suite.prompts), partial(_for_what, experiment.reported), problems))
    }
    if rows and (collected := [name for name, named in experiment.preferences.items() if named is None]):
        problems.append(
            f"preferences.{collected[0]}: null: is collected from what people rate; `palms prefer` runs such an experiment, or a file is required"
        )
    positions_file = _file(place(experiment.positions), load_positions, problems) if experiment.positions is not None else None
    positions = load_positions(positions_file.path) if positions_file else {}
    given = _given(experiment, models, suites, positions)
    files = _asked(experiment, models, given, place, problems)
    beside = _beside(experiment, datasets, given, place, problems)
    problems += _primary(experiment, given)
    problems += _room(experiment, models)
    problems += _steps(experiment)
    problems += _folds(experiment)
    problems += _shards(experiment, models)
    if experiment.numerics.device == "cuda" and experiment.engine == "local" and not gpus():
        problems.append("numerics.device: cuda, and this machine has no NVIDIA driver; auto or cpu is accepted")
    inputs = Inputs(tuple(models), datasets, preferences, suites, positions_file, files, beside, given)
    if not problems and rows:
        problems += _preferred(experiment, inputs)
    if problems:
        raise BadInput(*problems)
    return inputs


def _preferred(experiment: Experiment, inputs: Inputs) -> Iterator[str]:
    """What is wrong with what arms learn their preferences from: prompts that are reported on, or nothing to learn."""
    preferring = {name: arm for name, arm in experiment.arms.items() if isinstance(arm, Tuned) and arm.prefers}
    for name in inputs.preferences.keys() & {arm.dataset for arm in preferring.values()}:
        yield from _reported_prompts(experiment, inputs, name)
    for name, arm in preferring.items():
        wrong = (
            _unlearnable(experiment, inputs, arm, count, seed) for count in experiment.train_samples for seed in experiment.seeds
        )
        yield from (f"arms.{name}.{said}" for said in dict.fromkeys(filter(None, wrong)))


def _unlearnable(experiment: Experiment, inputs: Inputs, arm: Tuned, train_samples: int, seed: int) -> str:
    """Why an arm has nothing to learn from so many samples; empty where it has."""
    try:
        held = inputs.preferred(arm, train_samples, None if experiment.subsets == NESTED else seed)
    except ValueError as error:
        return f"dataset: {arm.dataset}: {error}"
    if not held:
        return (
            f"dataset: no sample of {arm.dataset} has a twin (`off`) within {train_samples}, an answer that does not hold the position; "
            "a dataset with twins, or a file of preferences, is required"
        )
    if methods.found()[arm.method].learns == "rewards":
        try:
            split(held, methods.options(arm)["reward"]["held_out"], seed)
        except ValueError as error:
            return f"reward.{error}"
    return ""


def _reported_prompts(experiment: Experiment, inputs: Inputs, name: str) -> Iterator[str]:
    """Prompts of preferences that share their subject with one that is reported on, as the leakage stage has it; the first, and how many more."""
    from tasks.leakage import overlap  # with numpy and a stemmer, half a second that only who has preferences waits for
    from tasks.leakage.body import suites_of

    first = {one.prompt: one for one in reversed(inputs.rated[name])}
    asked = [Row(one.line, one.id, one.category, prompt, prompt) for prompt, one in first.items()]
    suites = suites_of({role: one.path for role, one in reported_on(experiment, inputs).items()}) if experiment.reported else {}
    found = overlap.findings(overlap.neighbours(asked, suites, leakage.settings(experiment.dataset_checks)))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        said = found[0].at(inputs.preferences[name].path).replace(": sample ", ": preference ", 1)
        yield f"{said}{more}; preferences are of weakness probes or of prompts that nothing is reported on"


def reported_on(experiment: Experiment, inputs: Inputs) -> dict[str, File]:
    """Every file whose prompts are reported on, by its role for the leakage stage: `suite:<name>`, and `pairs:<name>` of pairs of answers
    that an evaluation brings."""
    found = {f"suite:{name}": file for name, file in inputs.suites.items()}
    own = {evaluation.stage.name: evaluation.asked for evaluation, _ in asked_of(experiment) if evaluation.own_suite}
    for (stage, _, calibration), file in inputs.files.items():
        if stage in own:
            found[f"pairs:{own[stage]}{'_calibration' if calibration else ''}"] = file
    return found


def sweep_id(experiment: Experiment, inputs: Inputs) -> str:
    """Name and digest of what is asked for."""
    return f"{experiment.name}-{digest_of(sweep_document(experiment, inputs))[:10]}"


def sweep_document(experiment: Experiment, inputs: Inputs) -> dict[str, Any]:
    """What is asked for, with files by their content; where results are kept and tracked is no part of it."""
    # as in sweeps of before there were such fields
    unsaid = {
        name
        for name in ("system", "subsets", "reported", "preferences")
        if getattr(experiment, name) == Experiment.model_fields[name].default
    }
    document = experiment.model_dump(mode="json", exclude={*BESIDE, *unsaid})
    document["evaluations"] = {  # a sweep is the same whatever else could be evaluated, or said of it
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in document["evaluations"].items()
        if section is not None
    }
    document["positions"] = inputs.positions_file.digest if inputs.positions_file else None
    for evaluation, _ in asked_of(experiment):
        for role, named in evaluation.files.items():
            held = {file.digest for (stage, of, _), file in inputs.files.items() if (stage, of) == (evaluation.stage.name, role)}
            if held:
                document["evaluations"][evaluation.asked][named.field] = sorted(held)
    for (arm, role), file in inputs.beside.items():
        if role == TEXTS:
            document["arms"][arm]["texts"] = file.digest
        else:
            document["arms"][arm]["fairness"]["lists"] = file.digest
    document["datasets"] = {name: file.digest for name, file in inputs.datasets.items()}
    if inputs.preferences:
        document["preferences"] = {name: file.digest for name, file in inputs.preferences.items()}
    for name, file in inputs.suites.items():
        document["suites"][name]["prompts"] = file.digest
    return document


def measured(experiment: Experiment, given: Given) -> list[Measure]:
    """All that a sweep measures, in words."""
    found = list(OF_TUNING)
    if any(isinstance(arm, Tuned) and arm.prefers for arm in experiment.arms.values()):
        found += OF_PREFERENCE
    if any(isinstance(arm, Tuned) and arm.fairness for arm in experiment.arms.values()):
        found += REGULARISED
    for evaluation, section in asked_of(experiment):
        for suite in getattr(section, "suites", ("",)):
            found += evaluation.measures(section, suite, given)
    return list(dict.fromkeys(found))


def primary_measure(experiment: Experiment, given: Given) -> Measure:
    """What is known of the primary outcome. Raises StopIteration for one that nothing measures, which `gather` refuses."""
    return next(one for one in _outcomes(experiment, given) if one.metric == experiment.primary.metric)


def _outcomes(experiment: Experiment, given: Given) -> Iterator[Measure]:
    """What may be the primary outcome on the primary suite."""
    for evaluation, section in asked_of(experiment):
        own = (evaluation.asked,) if evaluation.own_suite else ()
        if experiment.primary.suite in (*own, *(section.suites if evaluation.of == "completions" else ())):
            yield from (one for one in evaluation.measures(section, experiment.primary.suite, given) if one.outcome)


def _primary(experiment: Experiment, given: Given) -> Iterator[str]:
    metric, suite = experiment.primary.metric, experiment.primary.suite
    offered = list(dict.fromkeys(one.metric for one in _outcomes(experiment, given)))
    if metric not in offered:
        yield f'primary: nothing measures "{metric}" on suite "{suite}"; measured there: {", ".join(offered) or "nothing"}'


def _folds(experiment: Experiment) -> Iterator[str]:
    """What arms hold out of their samples leaves some on either side."""
    for name, arm in experiment.arms.items():
        if isinstance(arm, Tuned):
            yield from (f"arms.{name}.{wrong}" for count in experiment.train_samples if (wrong := unfit(arm, count)))


def _room(experiment: Experiment, models: Sequence[Model]) -> Iterator[str]:
    """A prompt and its completion fit the context."""
    taken = methods.most_virtual_tokens(experiment.arms.values())
    less = f", {taken} of them virtual" if taken else ""
    for name, sampled in experiment.suites.items():
        for model in models:
            if model.context is not None and sampled.max_new_tokens >= model.context - taken:
                yield f"suites.{name}.max_new_tokens: {sampled.max_new_tokens}; {model.name} reads {model.context} tokens in all{less}"


def _steps(experiment: Experiment) -> Iterator[str]:
    """Steps that are kept are steps of the tuning."""
    for name, arm in experiment.arms.items():
        if isinstance(arm, Checkpoint) and isinstance(tuned := experiment.arms[arm.of], Tuned):
            if tuned.early_stopping is not None or tuned.max_drift is not None:
                yield f"arms.{name}.of: {arm.of} may be stopped before step {arm.step}; an arm without early_stopping and max_drift is required"
                continue
            for count in experiment.train_samples:
                if arm.step > (last := steps_of(tuned, count)):
                    yield f"arms.{name}.step: {arm.step}; tuning {arm.of} on {count} samples takes {last} steps, and at most so many are accepted"


def _shards(experiment: Experiment, models: Sequence[Model]) -> Iterator[str]:
    """What is spread over several devices can be, and these are there."""
    asked, sizes = experiment.numerics.shards, dict.fromkeys(model.size for model in models)
    if isinstance(asked, dict) and (unknown := sorted(asked.keys() - sizes)):
        yield f'numerics.shards: no size is called "{unknown[0]}"; sizes: {", ".join(sizes)}'
    spread = {size: count for size in sizes if (count := experiment.numerics.shards_for(size)) > 1}
    if not spread:
        return
    size, most = max(spread.items(), key=lambda one: one[1])
    at = f"numerics.shards: {most} for size {size}"
    for name, arm in experiment.arms.items():
        if isinstance(arm, Tuned) and not methods.found()[arm.method].shards:
            able = ", ".join(name for name, method in methods.found().items() if method.shards)
            yield f"{at}: arms.{name} is tuned by {arm.method}, which needs the whole model in one process; {able}, or shards of 1, is required"
        elif isinstance(arm, Tuned) and arm.batch < most:
            yield f"{at}: arms.{name}.batch is {arm.batch}, and each process reads a sample of it; at most so many shards are accepted"
    if experiment.engine == "local" and experiment.numerics.device != "cpu" and 0 < gpus() < most:
        yield f"{at}: this machine has {gpus()} GPUs, and at most so many are accepted"


def _given(
    experiment: Experiment, models: Sequence[Model], suites: Mapping[str, File], positions: Mapping[str, Position]
) -> Given:
    held: dict[str, tuple[Path, Suite]] = {name: (file.path, load_suite(file.path)) for name, file in suites.items()}
    return Given(
        template=experiment.around,
        seed=experiment.seeds[0],
        sampled=experiment.suites,
        suites=held,
        datasets=tuple(
            dict.fromkeys(
                arm.dataset for arm in experiment.arms.values() if isinstance(arm, Tuned) and arm.dataset in experiment.datasets
            )
        ),
        positions=positions,
        positions_named=experiment.positions,
        real=[model.name for model in models if not model.calibration],
        primary=experiment.primary.metric,
    )


def _asked(
    experiment: Experiment, models: Sequence[Model], given: Given, place: Callable[[str], Path], problems: list[str]
) -> dict[tuple[str, str, bool], File]:
    """What the evaluations ask for and cannot have, and the files that they read."""
    files: dict[tuple[str, str, bool], File] = {}
    for evaluation, section in asked_of(experiment):
        before = len(problems)
        for role, file in evaluation.files.items():
            named = getattr(section, file.field)
            for calibration in dict.fromkeys(model.calibration for model in models):
                path = place(named) if named else file.default(calibration)
                if path is not None and (found := _file(path, partial(_read_by, file, section, experiment.reported), problems)):
                    files[evaluation.stage.name, role, calibration] = found
        if len(problems) == before:  # what is asked of a file that is not right would only follow from it
            problems += evaluation.check(section, given)
        for model in evaluation.models.values():
            if (source := getattr(section, model.field)) is not None:
                problems += sources.problems(source, model.scores, f"evaluations.{evaluation.asked}.{model.field}")
    problems[:] = dict.fromkeys(problems)  # a file of two ladders, or two evaluations of one section, tell theirs twice
    return files


def _beside(
    experiment: Experiment, datasets: Mapping[str, File], given: Given, place: Callable[[str], Path], problems: list[str]
) -> dict[tuple[str, str], File]:
    """The texts that arms read beside their samples, and the lists of their regularisers' attributes: found, and fit for what is asked of
    them. What is wrong with what several arms share is told once."""
    files: dict[tuple[str, str], File] = {}
    suites = [suite for _, suite in given.suites.values()]
    for name, arm in experiment.arms.items():
        if not isinstance(arm, Tuned) or not (arm.texts or arm.fairness):
            continue
        if wrong := unsupervised(name, arm):
            problems.append(wrong)
            continue
        before = len(problems)
        if arm.texts and (file := _file(place(arm.texts), load_plain_texts, problems)):
            files[name, TEXTS] = file
        if arm.fairness:
            lists = place(arm.fairness.lists) if arm.fairness.lists else LISTS
            if file := _file(lists, partial(load_attributes, wanted=arm.fairness.attributes), problems):
                files[name, ATTRIBUTES] = file
        if len(problems) == before and arm.dataset in datasets:
            rows: list[Row] = []
            with suppress(ValueError):  # told where datasets are checked
                rows = load_rows(datasets[arm.dataset].path)
                rows = choose(rows, min(experiment.train_samples)) if experiment.subsets == NESTED else rows
            path = datasets[arm.dataset].path
            beside = files.get((name, TEXTS))
            texts = (beside.path, load_plain_texts(beside.path)) if beside else None
            attributes = load_attributes(files[name, ATTRIBUTES].path, arm.fairness.attributes) if arm.fairness else None
            problems += unmet(name, arm, (path, rows), texts, attributes, suites)
    problems[:] = dict.fromkeys(problems)
    return files


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        problems += error.lines


def _models(ladder: Ladder, folder: Path, problems: list[str], weights: bool) -> list[Model]:
    found = []
    if ladder.sizes:
        with _noting(problems):
            known = catalog.load_ladder(ladder.ladder)
            for size in ladder.sizes:
                with _noting(problems):
                    rung = known.rung(size)
                    source = catalog.found(rung.source) if weights else rung.source
                    found.append(Model(ladder.ladder, size, source, rung.params, known.context))
    for size, given in ladder.models.items():
        with _noting(problems):
            found.append(Model(ladder.ladder, size, _source(given, folder)))
    return found


def _source(given: str, folder: Path) -> Source:
    path = folder / Path(given).expanduser()
    if path.exists() or given.startswith((".", "/", "~")) or given.endswith(SUFFIX) or not sources.HUB_ID.fullmatch(given):
        return catalog.local(path)
    return Source("hub", given, "main")


def _place(folder: Path, given: str) -> Path:
    """A path meant from an experiment's folder, without detours: it stands in messages."""
    return Path(os.path.normpath(folder / given))


def _file(path: Path, check: Callable[[Path], Any], problems: list[str]) -> File | None:
    with _noting(problems):
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        check(path)
        return File.of(path)
    return None


def _read_by(file: NamedFile, section: Any, reported: bool, path: Path) -> None:
    if file.choosing is not None and not reported:
        file.choosing(path)
    else:
        file.read(path, section)


def _for_what(reported: bool, path: Path) -> None:
    """What is reported on chooses nothing, and what chooses is not reported on."""
    suite = load_suite(path)
    if reported and not suite.reported:
        raise BadInput(
            f"{path}: is marked `reported: false`; it is for choosing data and settings, and a suite that is reported on is required"
        )
    if suite.reported and not reported:
        raise BadInput(
            f"{path}: is reported on; an experiment that is `reported: false` chooses data and settings, and prompts for that are required"
        )


def _check_rows(path: Path, most: int) -> None:
    require_frozen(path)
    if (count := len(load_rows(path))) < most:
        raise BadInput(f"{path}: {count} samples; train_samples asks for {most}")
