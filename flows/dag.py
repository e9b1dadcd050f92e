"""What runs, and on what: every node of a sweep, and what it reads.

    datasets ─→ leakage ─┐                            ┌─ of completions: toxicity ←─ scorer, cooccurrence, adherence, judge …
    prepare ─ numerics┬──┴─ finetune ─┬─ sampling ────┤
                      │               │               └─ of all arms at once: human_eval
                      └───────────────┴─ of an arm: capability                 ratings ─→ rated       all of them ─→ compare

Which evaluations there are, and what each reads, is declared in their folders (`tasks.evaluations`). Runs nothing: `flows.sweep` does,
and `palms plan` only looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from configs.schema import NESTED, Checkpoint, Derived, Experiment, Tuned, Untuned
from configs.sources import LanguageModel, ModelSource
from configs.suites import CHAT
from flows.engine import machine
from flows.engine.preregistration import Preregistration
from flows.experiment import asked_of, calibration_scored
from flows.inputs import Inputs, measured, reported_on, sweep_document, sweep_id
from model_registry.catalog import Model
from tasks import evaluations
from tasks.compare import stage as compare
from tasks.contract import AUTO, NUMERICS, Axes, File, Node, Numerics, Resources, Stage
from tasks.datasets import stage as datasets
from tasks.evaluations import ARM, COMPLETIONS, DATASETS, POSITIONS, RATINGS, SUITE, TRIED, Evaluation, Given
from tasks.evaluations.capability import stage as capability
from tasks.finetune import methods
from tasks.finetune import stage as finetune
from tasks.leakage import stage as leakage
from tasks.preference import stage as preference
from tasks.prepare import stage as prepare
from tasks.prepare.sources import language_model
from tasks.ratings.kept import are_simulated
from tasks.sampling import stage as sampling

OVERHEAD_GIB = 0.8  # what a process has beside its model: measured 0.5 to 0.7 GiB on the calibration ladder
STAGES = (
    *(datasets.STAGE, leakage.STAGE, prepare.MODEL, prepare.SETTLING, prepare.SCORER),
    *(finetune.STAGE, preference.TUNING, preference.REWARD, finetune.CHECKPOINT, finetune.NULL_ADAPTER, sampling.STAGE),
    *(evaluation.stage for evaluation in evaluations.found()),
    compare.STAGE,
)

TOLD = (prepare.MODEL, prepare.SETTLING)  # of a size and of no arm, and yet read by the comparison

Reads = dict[str, Node | File]


@dataclass(frozen=True)
class Dag:
    """The nodes of one sweep in topological order: what all sizes share, each size's own, and the comparison of them all."""

    sweep: str
    shared: tuple[Node, ...]
    sizes: Mapping[str, tuple[Node, ...]]
    comparison: Node

    @property
    def nodes(self) -> list[Node]:
        return [*self.shared, *(node for nodes in self.sizes.values() for node in nodes), self.comparison]


def build(experiment: Experiment, inputs: Inputs, changed: tuple[str, ...] = (), ratings: File | None = None) -> Dag:
    """`changed`: what of the experiment was set on the command line, for the report to say. `ratings`: what people said so far."""
    nodes = Nodes(experiment, inputs, changed, ratings)
    sizes = {model.name: tuple(nodes.of_size(model)) for model in inputs.models}
    return Dag(
        sweep=sweep_id(experiment, inputs),
        shared=(
            *nodes.checked.values(),
            *nodes.cleared.values(),
            *nodes.with_settling(nodes.instruments.values()),
            *nodes.trials.values(),
        ),
        sizes=sizes,
        comparison=nodes.comparison([node for size in sizes.values() for node in size]),
    )


@dataclass(frozen=True)
class Nodes:
    """Makes the nodes of one experiment."""

    experiment: Experiment
    inputs: Inputs
    changed: tuple[str, ...] = ()
    ratings: File | None = None
    made: dict[Axes, Node] = field(default_factory=dict)  # by its place, what tunes an arm: another arm may start from it
    settling: dict[Node, Node] = field(default_factory=dict)  # by a prepared model, what settles its numerics where they are open

    @cached_property
    def given(self) -> Given:
        """With what the ratings are."""
        return replace(self.inputs.given, simulated=self.ratings is not None and are_simulated(self.ratings.path))

    # ---- what all sizes share --------------------------------------------------------------------------------------------

    @cached_property
    def checked(self) -> dict[str, Node]:
        """Every dataset that an arm is tuned on."""
        positions: Reads = {"positions": self.inputs.positions_file} if self.inputs.positions_file else {}
        chosen = datasets.settings(self.experiment.dataset_checks, self.experiment.marked_sizes)
        return {
            name: Node(datasets.STAGE, Axes(name=name), chosen, {"dataset": file, **positions})
            for name, file in self.inputs.datasets.items()
            if name in self.inputs.given.datasets
        }

    @cached_property
    def cleared(self) -> dict[str, Node]:
        """Each dataset against every suite that is sampled: what tuning reads has passed here."""
        suites = reported_on(self.experiment, self.inputs)
        chosen = leakage.settings(self.experiment.dataset_checks)
        return {
            name: Node(leakage.STAGE, Axes(name=name), chosen, {"dataset": node, "file": self.inputs.datasets[name], **suites})
            for name, node in self.checked.items()
        }

    @cached_property
    def instruments(self) -> dict[tuple[str, str], Node]:
        """The models that score or judge, by stage and role; one that several name is one node."""
        made: list[tuple[ModelSource, Node]] = []
        found: dict[tuple[str, str], Node] = {}
        for evaluation, section in asked_of(self.experiment):
            for role, named in evaluation.models.items():
                if (source := getattr(section, named.field)) is not None:
                    node = next((node for other, node in made if other == source), None) or self._instrument(source, evaluation)
                    made.append((source, node))
                    found[evaluation.stage.name, role] = node
        return found

    def _instrument(self, source: ModelSource, evaluation: Evaluation) -> Node:
        need = self._need(prepare.BUILT_HERE)
        if isinstance(source, LanguageModel):
            judge = language_model(source)
            chosen, reads = prepare.model_settings(judge.source, CHAT), prepare.model_inputs(judge.source)
            need = self._need(prepare.BUILT_HERE, prepare.model_bytes(judge.source), _params(judge))
            prepared = Node(prepare.MODEL, Axes(name=evaluation.asked), chosen, reads, resources=need)
            self._leave_open(prepared, CHAT, _params(judge), rows=None)
            return prepared
        name, settings = prepare.scorer_name(source), prepare.scorer_settings(source)
        return Node(prepare.SCORER, Axes(name=name), settings, numerics=prepare.BUILT_HERE, resources=need)

    @cached_property
    def trials(self) -> dict[str, Node]:
        """Instruments that are tried on what is known, by the section that names them."""
        return {
            evaluation.asked: self._node(evaluation, section, Axes(name=evaluation.asked), {}, self.inputs.calibration, None)
            for evaluation, section in asked_of(self.experiment)
            if evaluation.of == "instrument"
        }

    def comparison(self, nodes: list[Node]) -> Node:
        """Reads everything that stands at a size and an arm, the completions too: the report shows what was answered."""
        kept_apart = self.experiment.dataset_checks.same_subject is not None  # else the report counts what was seen in tuning
        looked_at = () if kept_apart else self.cleared.values()
        compared = [*self.trials.values(), *looked_at, *(node for node in nodes if node.stage in TOLD or node.axes.arm)]
        parts = tuple(compare.Part(one.stage.name, one.title, one.lead) for one, _ in asked_of(self.experiment) if one.title)
        chosen = compare.settings(
            self.experiment,
            sweep=sweep_id(self.experiment, self.inputs),
            document=sweep_document(self.experiment, self.inputs),
            changed=self.changed,
            positions=tuple(self.inputs.given.statements.items()),
            measures=tuple(measured(self.experiment, self.given)),
            parts=parts,
            calibration=self.inputs.calibration,
            calibration_scorer=calibration_scored(self.experiment),
            preregistered=(self.preregistration.words(), self.preregistration.digest),
            caveats=self.inputs.restricted,
        )
        inputs = {node.label: node for node in compared}
        place = Axes(name=self.experiment.name)
        return Node(compare.STAGE, place, chosen, inputs, tolerant=True, preregistration=self.preregistration.document())

    # ---- one size: the model, its arms, what they say, what they can do, and how that is judged -----------------------------

    def of_size(self, model: Model) -> Iterator[Node]:
        prepared = Node(
            prepare.MODEL,
            _axes(model),
            prepare.model_settings(model.source, self.experiment.around),
            prepare.model_inputs(model.source),
            numerics=prepare.BUILT_HERE if model.calibration else None,
            resources=self._need(prepare.BUILT_HERE, prepare.model_bytes(model.source), _params(model)),
        )
        self._leave_open(prepared, self.experiment.around, _params(model), self.experiment.numerics.decode_batch)
        yield from self.with_settling([prepared])
        for seed in self.experiment.seeds:
            said: dict[Axes, Node] = {}
            for arm, train_samples in self._arms():
                place = _axes(model, arm=arm, train_samples=train_samples, seed=seed)
                tuned = self._tuned(model, prepared, place)
                yield from (node for made in tuned.values() for node in (*_rewards(made), made))
                yield from self._of_arm(model, prepared, tuned, place)
                for suite in self.experiment.suites:
                    at = replace(place, suite=suite)
                    said[at] = self._sampled(model, prepared, tuned, at)
                    yield said[at]
                    yield from self._of_completions(model, prepared, tuned, said[at])
            yield from self._of_arms(model, said, seed)

    def _tuned(self, model: Model, prepared: Node, place: Axes) -> dict[str, Node]:
        """What makes an arm's model, by its role for what reads it; nothing for an untuned one."""
        arm = self.experiment.arms[place.arm or ""]
        if isinstance(arm, Untuned):
            return {}
        if place not in self.made:
            make = self._derived if isinstance(arm, Derived) else self._tuning
            self.made[place] = make(arm, model, prepared, place)  # type: ignore[arg-type]
        return {"tuned": self.made[place]}

    def _derived(self, arm: Derived, model: Model, prepared: Node, place: Axes) -> Node:
        """Without tuning, of what tuned another arm."""
        tuned = self._tuned(model, prepared, replace(place, arm=arm.of))["tuned"]
        if isinstance(arm, Checkpoint):
            reads: Reads = {"model": prepared, "tuned": tuned}
            return Node(finetune.CHECKPOINT, place, finetune.StepSettings(arm.step), reads, resources=self._need(self.numerics))
        reads = {**{role: node for role, node in tuned.inputs.items() if role in ("model", "start")}, "tuned": tuned}
        return self._run(finetune.NULL_ADAPTER, place, tuned.settings, reads, finetune.NULL_BYTES, _params(model))

    def _tuning(self, arm: Tuned, model: Model, prepared: Node, place: Axes) -> Node:
        assert place.train_samples is not None
        assert place.seed is not None
        method = methods.found()[arm.method]
        around, subsets = self.experiment.around, self.experiment.subsets
        units = None
        if arm.prefers:
            preferred = self.inputs.preferred(arm, place.train_samples, None if subsets == NESTED else place.seed)
            units = preference.units(method.learns, preferred)
        chosen = finetune.settings(arm, model.size, place.train_samples, around, place.seed, subsets, units)
        chosen = replace(chosen, keep_steps=self.experiment.kept_steps(place.arm or ""))
        reads: Reads = {"model": prepared, "dataset": self.cleared.get(arm.dataset) or self.inputs.preferences[arm.dataset]}
        if arm.prefers and arm.dataset in self.cleared:
            reads[preference.TWINS] = self.inputs.datasets[arm.dataset]
        reads |= {role: file for (name, role), file in self.inputs.beside.items() if name == place.arm}
        if arm.start is not None:
            reads["start"] = self._tuned(model, prepared, replace(place, arm=arm.start))["tuned"]
        if method.learns == "rewards":
            reads["reward"] = self._reward(arm, model, reads, place)
        if arm.max_drift is not None:
            reads |= self._prose(model)
        stage = preference.TUNING if arm.prefers else finetune.STAGE
        each = method.bytes_for(methods.options(arm))
        return self._run(stage, place, chosen, reads, each, _params(model), shards=self._spread(place))

    def _reward(self, arm: Tuned, model: Model, read: Reads, place: Axes) -> Node:
        """The reward model that an arm is tuned by."""
        around, subsets = self.experiment.around, self.experiment.subsets
        chosen = preference.reward_settings(methods.options(arm), place.train_samples or 0, around, place.seed or 0, subsets)
        reads: Reads = {role: node for role, node in read.items() if role in ("model", "dataset", preference.TWINS)}
        return self._run(preference.REWARD, place, chosen, reads, preference.REWARD_BYTES_PER_PARAMETER, _params(model))

    def _prose(self, model: Model) -> Reads:
        """What drift is measured on while a model is tuned: what capability will be measured on, or what it would be."""
        found = Reads()
        for role in finetune.PROSE:
            if held := self.inputs.files.get((capability.STAGE.name, role, model.calibration)):
                found[role] = held
            elif shipped := capability.EVALUATION.files[role].default(model.calibration):
                found[role] = File.of(shipped)
        return found

    def _sampled(self, model: Model, prepared: Node, tuned: Mapping[str, Node], place: Axes) -> Node:
        arm, suite = self.experiment.arms[place.arm or ""], place.suite or ""
        chosen = sampling.settings(
            self.experiment.suites[suite],
            template=self.experiment.around,
            decode_batch=self.experiment.numerics.decode_batch,
            seed=place.seed or 0,
            draw=arm.draw if isinstance(arm, Untuned) else 0,
        )
        reads: Reads = {"model": prepared, **tuned, "suite": self.inputs.suites[suite]}
        return self._run(
            sampling.STAGE,
            place,
            chosen,
            reads,
            sampling.BYTES_PER_PARAMETER,
            _params(model),
            together=replace(place, arm=None) if self._stacks(place.arm or "") else None,
            preregistration=self.preregistration.document(),
        )

    def _stacks(self, name: str) -> bool:
        """Whether an arm can be decoded in one batch with others of its kind, which is worth waiting for them to be tuned."""
        arm = self.experiment.arms[name]
        if isinstance(arm, Derived):
            return self._stacks(arm.of)
        adapter = arm.adapter if isinstance(arm, Tuned) else None
        return adapter is not None and adapter["kind"] == "lora" and not adapter["dora"]

    def _of_completions(self, model: Model, prepared: Node, tuned: Mapping[str, Node], said: Node) -> Iterator[Node]:
        """Every evaluation that is asked for on the suite that was sampled."""
        place = said.axes
        read: Reads = {"completions": said, "suite": self.inputs.suites[place.suite or ""], "model": prepared, **tuned}
        for evaluation, section in asked_of(self.experiment):
            unrated = RATINGS in evaluation.reads and self.ratings is None
            if evaluation.of == "completions" and place.suite in section.suites and not unrated:
                yield self._evaluation(evaluation, section, model, place, read)

    def _of_arm(self, model: Model, prepared: Node, tuned: Mapping[str, Node], place: Axes) -> Iterator[Node]:
        """What an arm can do; a further draw of a model can do what its first could."""
        arm = self.experiment.arms[place.arm or ""]
        for evaluation, section in asked_of(self.experiment):
            if evaluation.of == "arm" and not (isinstance(arm, Untuned) and arm.draw):
                at = replace(place, suite=evaluation.asked) if evaluation.own_suite else place
                yield self._evaluation(evaluation, section, model, at, {"model": prepared, **tuned})

    def _of_arms(self, model: Model, said: Mapping[Axes, Node], seed: int) -> Iterator[Node]:
        """All arms of a dataset size and suite together; untuned arms go with each size."""
        any_tuned = any(isinstance(arm, Tuned) for arm in self.experiment.arms.values())
        for evaluation, section in (held for held in asked_of(self.experiment) if held[0].of == "arms"):
            for train_samples in self.experiment.train_samples if any_tuned else (None,):
                for suite in section.suites:
                    place = _axes(model, train_samples=train_samples, seed=seed, suite=suite)
                    held = (
                        (at, node) for at, node in said.items() if at.suite == suite and at.train_samples in (None, train_samples)
                    )
                    completions: Reads = {f"completions:{at.arm}": node for at, node in held}
                    yield self._evaluation(evaluation, section, model, place, completions)

    def _evaluation(self, evaluation: Evaluation, section: Any, model: Model, place: Axes, there: Reads) -> Node:
        return self._node(evaluation, section, place, there, model.calibration, _params(model))

    def _node(
        self, evaluation: Evaluation, section: Any, place: Axes, there: Reads, calibration: bool, params: int | None
    ) -> Node:
        """A node of an evaluation: of what is there, what it declares to read, and the files and models that its section names.
        `params`: of the arm's model."""
        roles = {COMPLETIONS: ("completions",), SUITE: ("suite",), ARM: ("model", "tuned")}
        stage, reads = evaluation.stage, Reads()
        for wanted in evaluation.reads:
            reads |= {role: node for role, node in there.items() if role.partition(":")[0] in roles.get(wanted, ())}
        if POSITIONS in evaluation.reads and self.inputs.positions_file:
            reads["positions"] = self.inputs.positions_file
        if RATINGS in evaluation.reads and self.ratings:
            reads["ratings"] = self.ratings
        if DATASETS in evaluation.reads:
            reads |= {f"dataset:{name}": node for name, node in self.checked.items()}
        files = self.inputs.files
        reads |= {role: files[at] for role in evaluation.files if (at := (stage.name, role, calibration)) in files}
        reads |= {
            role: self.instruments[stage.name, role] for role in evaluation.models if (stage.name, role) in self.instruments
        }
        if (
            TRIED in evaluation.reads
            and evaluation.asked in self.trials
            and self.experiment.primary.metric in self._outcomes(evaluation, section, place)
        ):
            reads["tried"] = self.trials[evaluation.asked]
        chosen = evaluation.settings(section, replace(self.inputs.given, seed=place.seed or 0))
        named = self.preregistration.document() if evaluation.own_suite else None
        if not evaluation.bytes_per_parameter:
            return Node(stage, place, chosen, reads, preregistration=named)
        role = "model"
        if evaluation.of_model != ARM:
            params = _instrument_params(getattr(section, evaluation.of_model))
            role = next(role for role, one in evaluation.models.items() if one.field == evaluation.of_model)
        return self._run(stage, place, chosen, reads, evaluation.bytes_per_parameter, params, role, preregistration=named)

    def _outcomes(self, evaluation: Evaluation, section: Any, place: Axes) -> set[str]:
        return {one.metric for one in evaluation.measures(section, place.suite or "", self.inputs.given)}

    # ---- what nodes share ---------------------------------------------------------------------------------------------------

    @cached_property
    def preregistration(self) -> Preregistration:
        """What the sweep sets out to conclude."""
        capability = self.experiment.evaluations.asked.get("capability")
        margins = capability.margins.model_dump() if capability else {}
        return Preregistration(
            f"{self.experiment.primary.metric} on {self.experiment.primary.suite}", self.experiment.contrasts, margins
        )

    @cached_property
    def numerics(self) -> Numerics:
        """Of what runs a model for which nothing is settled."""
        found = machine.numerics(self.experiment)
        return replace(found, precision="fp32") if found.precision == AUTO else found

    def _leave_open(self, prepared: Node, template: str, params: int | None, rows: int | str | None) -> None:
        """Have settled what the experiment leaves open of a model's numerics. Small models stay in fp32. `rows`: that are decoded at once, None of
        a model that nothing is sampled by."""
        precision = machine.numerics(self.experiment).precision
        if precision == AUTO and params is not None and params < prepare.FEWEST_FOR_BF16:
            precision = "fp32"
        if AUTO not in (precision, rows):
            return
        new, memory = 0, 0  # nothing hangs on them where rows are asked for
        if rows == AUTO:
            new = max((suite.max_new_tokens for suite in self.experiment.suites.values()), default=1)
            memory = int(machine.memory_limit_gib(self.experiment))
        chosen = prepare.SettlingSettings(template, precision, rows, new, memory)
        need = self._need(self.numerics, prepare.CHECK_BYTES, params, self._spread(prepared.axes))
        reads: Reads = {"model": prepared}
        self.settling[prepared] = Node(prepare.SETTLING, prepared.axes, chosen, reads, numerics=self.numerics, resources=need)

    def with_settling(self, prepared: Iterable[Node]) -> list[Node]:
        """Each once, and after it what settles its numerics."""
        return [one for node in dict.fromkeys(prepared) for one in (node, self.settling.get(node)) if one is not None]

    def _run(
        self,
        stage: Stage,
        place: Axes,
        chosen: Any,
        reads: Reads,
        each: int,
        params: int | None,
        role: str = "model",
        shards: int = 1,
        **more: Any,
    ) -> Node:
        """A node that runs a model, which it reads in a role, in the numerics that are found for it; scorers are single precision, whatever is
        asked for the rest. `each`: bytes a parameter. `shards`: processes that it is done in, which share the threads where nobody said how many."""
        numerics, model = self.numerics, reads[role]
        if shards > 1:
            share = shards if self.experiment.numerics.threads == AUTO else 1
            numerics = replace(numerics, shards=shards, threads=max(1, numerics.threads // share))
        if isinstance(model, Node) and model.stage == prepare.SCORER:
            numerics = replace(numerics, precision="fp32")
        elif isinstance(model, Node) and model in self.settling:
            reads, numerics = {**reads, NUMERICS: self.settling[model]}, replace(numerics, precision=AUTO)
        need = self._need(numerics, each, params, self._spread(place) if role == "model" else 1)
        return Node(stage, place, chosen, reads, numerics=numerics, resources=need, **more)

    def _spread(self, place: Axes) -> int:
        """How many devices the model of a place takes."""
        return 1 if place.size is None else self.experiment.numerics.shards_for(place.size)

    def _arms(self) -> Iterator[tuple[str, int | None]]:
        """Arm and dataset size; an untuned arm has no dataset."""
        for name, arm in self.experiment.in_order.items():
            sizes = (None,) if isinstance(arm, Untuned) else self.experiment.train_samples
            yield from ((name, train_samples) for train_samples in sizes)

    def _need(self, numerics: Numerics, bytes_per_parameter: int = 0, params: int | None = None, gpus: int = 1) -> Resources:
        """What a stage's processes need, estimated from the size of its model; without parameters the overhead alone is declared."""
        return Resources(
            threads=numerics.threads * numerics.shards,
            memory_gib=OVERHEAD_GIB * numerics.shards + bytes_per_parameter * (params or 0) / 2**30,
            gpus=gpus if numerics.device == "cuda" and bytes_per_parameter else 0,
            timeout_s=self.experiment.limits.stage_timeout_s,
        )


def _rewards(tuned: Node) -> list[Node]:
    """The reward models that a tuning reads."""
    return [node for node in tuned.upstream.values() if node.stage == preference.REWARD]


def _axes(model: Model, **more: str | int | None) -> Axes:
    return Axes(ladder=model.ladder, size=model.size, **more)  # type: ignore[arg-type]


def _params(model: Model) -> int | None:
    return model.params or model.at_most


def _instrument_params(source: ModelSource) -> int | None:
    return _params(language_model(source)) if isinstance(source, LanguageModel) else prepare.SCORER_PARAMS
