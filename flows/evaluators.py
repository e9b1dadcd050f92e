"""The models that judge completions, as nodes that every size shares: scorers of toxicity, a classifier of sentiment, a local judge."""

from __future__ import annotations

from pathlib import Path

from configs.evaluations import Classifier, DetoxifyScorer, LocalJudge, ToxicityScorer
from configs.schema import Experiment
from flows import settings
from model_registry.catalog import Source
from tasks.contract import Axes, Node
from tasks.prepare.materials import Model
from tasks.prepare.needs import BUILT_HERE, resources
from tasks.prepare.stage import MODEL, SCORER


def evaluator_nodes(experiment: Experiment) -> dict[str, Node]:
    """The models that judge completions, by their part: a scorer of toxicity, a second one, a classifier of sentiment, a judge."""
    asked = experiment.evaluations
    scorers: dict[str, ToxicityScorer | None] = {
        "scorer": asked.toxicity.scorer if asked.toxicity else None,
        "second": asked.toxicity.second if asked.toxicity else None,
        "classifier": asked.counterfactual.classifier if asked.counterfactual else None,
    }
    found: dict[str, Node] = {}
    for part, scorer in scorers.items():
        if scorer is not None:
            same = next((found[other] for other in found if scorers[other] == scorer), None)  # one label, one node
            found[part] = same or _scorer_node(scorer, experiment)
    if (model := local_judge(experiment)) is not None:
        need = resources("prepare", None, BUILT_HERE, experiment.limits)
        found["judge"] = Node(MODEL, Axes(name="judge"), settings.for_model(model), resources=need)
    return found


def local_judge(experiment: Experiment) -> Model | None:
    """The model that judges completions here, where one does."""
    section = experiment.evaluations.judge
    if section is None or not isinstance(section.judge, LocalJudge):
        return None
    folder, revision = Path(section.judge.model).is_dir(), section.judge.revision
    source = Source("folder", section.judge.model) if folder else Source("hub", section.judge.model, revision)
    return Model("judge", "judge", source, None)


def _scorer_node(scorer: ToxicityScorer, experiment: Experiment) -> Node:
    word: str = scorer.kind
    if isinstance(scorer, DetoxifyScorer):
        word += f"-{scorer.name}"
    elif isinstance(scorer, Classifier):
        word += f"-{scorer.model.rstrip('/').rpartition('/')[2]}"
    need = resources("scorer", None, BUILT_HERE, experiment.limits)
    return Node(SCORER, Axes(name=word), settings.for_scorer(scorer), numerics=BUILT_HERE, resources=need)
