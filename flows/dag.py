"""What runs, and on what: the nodes of a sweep, as a table of contents.

    datasets ─→ leakage ─┐                              ┌─ toxicity ←─ scorer
    prepare ──────────┬──┴─ finetune ─┬─ sampling ──────┼─ cooccurrence
                      │               │                 ├─ counterfactual
                      └───────────────┼─ capability     ├─ adherence, judge
                                      └─ truth          └─ human_eval         all of them ─→ compare

Knows which nodes an experiment has and what reads what; `flows.settings` says with which settings. Runs nothing: `flows.sweep`
does, and `palms plan` only looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import WithJsonSchema

from configs.problems import BadInput, accepted
from configs.schema import Experiment, Tuned
from flows import settings
from flows.evaluators import evaluator_nodes
from flows.one_size import Inputs, OneSize
from tasks.compare.stage import STAGE as COMPARE
from tasks.contract import Axes, Node
from tasks.datasets.stage import STAGE as DATASETS
from tasks.evaluations.adherence.stage import EXACT as TRUTH
from tasks.evaluations.adherence.stage import STAGE as ADHERENCE
from tasks.evaluations.capability.stage import STAGE as CAPABILITY
from tasks.evaluations.cooccurrence.stage import STAGE as COOCCURRENCE
from tasks.evaluations.counterfactual.stage import STAGE as COUNTERFACTUAL
from tasks.evaluations.human_eval.stage import STAGE as HUMAN_EVAL
from tasks.evaluations.judge.stage import STAGE as JUDGE
from tasks.evaluations.toxicity.stage import STAGE as TOXICITY
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.leakage.stage import STAGE as LEAKAGE
from tasks.prepare.materials import Materials, sweep_id
from tasks.prepare.stage import MODEL, SCORER
from tasks.sampling.stage import STAGE as SAMPLING

STAGES = (
    *(DATASETS, LEAKAGE, MODEL, SCORER, FINETUNE, CAPABILITY, SAMPLING),
    *(TOXICITY, COOCCURRENCE, COUNTERFACTUAL, ADHERENCE, JUDGE, TRUTH, HUMAN_EVAL, COMPARE),
)


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


@dataclass(frozen=True)
class Start:
    """Where a rerun begins: a stage, at every size and arm or at one."""

    stage: Annotated[str, WithJsonSchema({"type": "string", "enum": [stage.name for stage in STAGES]})]  # for the form
    size: str | None = None
    arm: str | None = None

    def holds(self, node: Node) -> bool:
        return (
            node.stage.name == self.stage
            and self.size in (None, node.axes.size, node.axes.model)
            and self.arm in (None, node.axes.arm)
        )


def from_here_on(dag: Dag, start: Start) -> list[Node]:
    """The nodes where a rerun begins, and everything that reads them.

    Raises:
        BadInput: the sweep has no such stage, size or arm.
    """
    places = (
        ("--from", start.stage, {node.stage.name for node in dag.nodes}),
        ("--size", start.size, {word for node in dag.nodes for word in (node.axes.size, node.axes.model) if word}),
        ("--arm", start.arm, {node.axes.arm for node in dag.nodes if node.axes.arm}),
    )
    for option, given, known in places:
        if given is not None and given not in known:
            raise BadInput(f"{option} {given}: sweep {dag.sweep} has none; {accepted(given, sorted(known))}")
    chosen: list[Node] = []
    for node in dag.nodes:  # in topological order
        if start.holds(node) or any(up in chosen for up in node.upstream.values()):
            chosen.append(node)
    if not chosen:
        raise BadInput(f"--from {start.stage}: no such stage there; it belongs to no size or arm, or not to this one")
    return chosen


def build(experiment: Experiment, materials: Materials) -> Dag:
    datasets = dataset_nodes(experiment, materials)
    cleared = leakage_nodes(experiment, materials, datasets)
    evaluators = evaluator_nodes(experiment)
    sizes = {model.name: tuple(OneSize(experiment, materials, model, cleared, evaluators).nodes()) for model in materials.models}
    compared = [node for nodes in sizes.values() for node in nodes if node.stage not in (SAMPLING, HUMAN_EVAL)]
    return Dag(
        sweep=sweep_id(experiment, materials),
        shared=(*datasets.values(), *cleared.values(), *dict.fromkeys(evaluators.values())),
        sizes=sizes,
        comparison=Node(
            COMPARE,
            Axes(name=experiment.name),
            settings.for_compare(experiment, materials),
            {node.label: node for node in compared},
            tolerant=True,
            plan=settings.plan(experiment).document(),
        ),
    )


def dataset_nodes(experiment: Experiment, materials: Materials) -> dict[str, Node]:
    """One node for every dataset that an arm is tuned on."""
    used = {arm.dataset for arm in experiment.arms.values() if isinstance(arm, Tuned)}
    positions: Inputs = {"positions": materials.positions_file} if materials.positions_file else {}
    return {
        name: Node(DATASETS, Axes(name=name), settings.for_dataset(experiment), {"dataset": file, **positions})
        for name, file in materials.datasets.items()
        if name in used
    }


def leakage_nodes(experiment: Experiment, materials: Materials, datasets: Mapping[str, Node]) -> dict[str, Node]:
    """Each dataset against every suite that is sampled: what tuning reads has passed here."""
    suites = {f"suite:{name}": file for name, file in materials.suites.items()}
    return {
        name: Node(
            LEAKAGE,
            Axes(name=name),
            settings.for_leakage(experiment),
            {"dataset": node, "file": materials.datasets[name], **suites},
        )
        for name, node in datasets.items()
    }
