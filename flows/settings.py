"""From the experiment's sections to each stage's own settings: only what a stage reads goes into its key."""

from __future__ import annotations

from pathlib import Path

from configs.evaluations import CalibrationScorer, Classifier, LocalJudge, Margins, ToxicityScorer
from configs.schema import Experiment, Lora, Tuned, Untuned
from flows.engine.preregistration import Plan
from model_registry.calibration.grammar import load_grammar
from model_registry.catalog import load_ladder
from tasks.compare import stage as compare
from tasks.contract import Axes
from tasks.datasets import stage as datasets
from tasks.evaluations.adherence import stage as adherence
from tasks.evaluations.capability import stage as capability
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tasks.evaluations.cooccurrence import stage as cooccurrence
from tasks.evaluations.counterfactual import stage as counterfactual
from tasks.evaluations.human_eval import stage as human_eval
from tasks.evaluations.judge import stage as judge
from tasks.evaluations.toxicity import stage as toxicity
from tasks.finetune import stage as finetune
from tasks.leakage import stage as leakage
from tasks.prepare import stage as prepare
from tasks.prepare.evaluators import resolved
from tasks.prepare.materials import Materials, Model
from tasks.sampling import stage as sampling


def for_model(model: Model) -> prepare.ModelSettings:
    source = model.source
    if source.kind == "calibration":
        return prepare.ModelSettings("calibration", source.id, spec=source.spec, grammar=load_grammar().digest)
    if source.kind == "folder":
        return prepare.ModelSettings("folder", source.id, listing=prepare.listing(Path(source.id)))
    return prepare.ModelSettings("hub", source.id, revision=source.revision)


def for_scorer(scorer: ToxicityScorer) -> prepare.ScorerSettings:
    if isinstance(scorer, CalibrationScorer):
        return prepare.ScorerSettings("calibration", spec=load_ladder("calibration").scorer, grammar=load_grammar().digest)
    if isinstance(scorer, Classifier):
        scorer = resolved(scorer)
        local = Path(scorer.model)
        listing = prepare.listing(local) if local.is_dir() else ()
        revision = "" if listing else scorer.revision
        classes = tuple(sorted(scorer.classes.items()))
        return prepare.ScorerSettings("classifier", id=scorer.model, revision=revision, classes=classes, listing=listing)
    if scorer.checkpoint is None:
        return prepare.ScorerSettings("detoxify", name=scorer.name)
    return prepare.ScorerSettings(
        "detoxify", name=scorer.name, checkpoint=scorer.checkpoint, listing=prepare.listing(Path(scorer.checkpoint).expanduser())
    )


def for_dataset(experiment: Experiment) -> datasets.Settings:
    checks = experiment.dataset_checks
    return datasets.Settings(
        min_words=checks.min_words,
        max_words=checks.max_words,
        near_duplicate=checks.near_duplicate,
        opening=checks.opening,
        phrase=checks.phrase,
        sizes=experiment.dataset_sizes,
    )


def for_leakage(experiment: Experiment) -> leakage.Settings:
    return leakage.Settings(copied=experiment.dataset_checks.copied, same_subject=experiment.dataset_checks.same_subject)


def for_finetune(experiment: Experiment, arm: Tuned, size: str, samples: int, seed: int) -> finetune.Settings:
    rate = arm.rate_for(size)
    assert rate is not None  # the schema refuses an arm without a rate for one of its sizes
    lora = arm if isinstance(arm, Lora) else None
    return finetune.Settings(
        method="lora" if lora else "full",
        epochs=arm.epochs,
        min_steps=arm.min_steps,
        learning_rate=rate,
        batch=arm.batch,
        micro_batch=arm.micro_batch or arm.batch,
        prompt_loss_weight=arm.prompt_loss_weight,
        weight_decay=arm.weight_decay,
        warmup=arm.warmup,
        schedule=arm.schedule,
        max_grad_norm=arm.max_grad_norm,
        lora_rank=lora.rank if lora else 0,
        lora_alpha=lora.alpha if lora else 0,
        lora_dropout=lora.dropout if lora else 0.0,
        template=experiment.template,
        samples=samples,
        seed=seed,
    )


def for_sampling(experiment: Experiment, place: Axes) -> sampling.Settings:
    assert place.suite is not None
    assert place.seed is not None
    section, arm = experiment.suites[place.suite], experiment.arms[place.arm or ""]
    return sampling.Settings(
        samples=section.samples,
        max_new_tokens=section.max_new_tokens,
        temperature=section.temperature,
        top_p=section.top_p,
        template=experiment.template,
        decode_batch=experiment.numerics.decode_batch,
        seed=place.seed,
        draw=arm.draw if isinstance(arm, Untuned) else 0,
    )


def for_toxicity(experiment: Experiment) -> toxicity.Settings:
    section = experiment.evaluations.toxicity
    assert section is not None
    return toxicity.Settings(
        threshold=section.threshold,
        second_threshold=section.second_threshold if section.second else 0.5,  # not read: no key may hang on it
        k=section.k,
        batch=section.batch,
    )


def for_cooccurrence(experiment: Experiment) -> cooccurrence.Settings:
    section = experiment.evaluations.cooccurrence
    assert section is not None
    return cooccurrence.Settings(
        axes=section.axes, targets=section.targets, prior=section.prior, permutations=section.permutations, top=section.top
    )


def for_counterfactual(experiment: Experiment) -> counterfactual.Settings:
    section = experiment.evaluations.counterfactual
    assert section is not None
    sentiment = "classifier" if section.classifier else "vader"
    return counterfactual.Settings(permutations=section.permutations, scored=section.scored, sentiment=sentiment)


def for_judge(experiment: Experiment) -> judge.Settings:
    section = experiment.evaluations.judge
    assert section is not None
    if isinstance(section.judge, LocalJudge):
        return judge.Settings("local", completions=section.completions)
    asked = section.judge
    return judge.Settings(
        "endpoint",
        url=asked.url,
        model=asked.model,
        key_variable=asked.key_variable,
        completions=section.completions,
    )


def for_capability(experiment: Experiment) -> capability.Settings:
    section = experiment.evaluations.capability
    assert section is not None
    grammar = load_grammar().digest if GRAMMAR_TASK in section.tasks else ""
    return capability.Settings(tasks=section.tasks, limit=section.limit, batch=section.batch, grammar=grammar)


def calibration_scored(experiment: Experiment) -> bool:
    toxicity = experiment.evaluations.toxicity
    return toxicity is not None and any(isinstance(one, CalibrationScorer) for one in (toxicity.scorer, toxicity.second))


def plan(experiment: Experiment) -> Plan:
    """What the sweep sets out to conclude."""
    capability = experiment.evaluations.capability
    margins = capability.margins.model_dump() if capability else {}
    return Plan(f"{experiment.primary.metric} on {experiment.primary.suite}", experiment.contrasts, margins)


def for_adherence(experiment: Experiment) -> adherence.Settings:
    section = experiment.evaluations.adherence
    assert section is not None
    return adherence.Settings(judge=section.judge)


def for_human_eval(experiment: Experiment, materials: Materials, seed: int) -> human_eval.Settings:
    section = experiment.evaluations.human_eval
    assert section is not None
    return human_eval.Settings(
        positions=tuple(materials.statements.items()), ratings_per_completion=section.ratings_per_completion, seed=seed
    )


def for_compare(experiment: Experiment, materials: Materials) -> compare.Settings:
    section, toxicity = experiment.evaluations.capability, experiment.evaluations.toxicity
    margins, registered = section.margins if section else Margins(), plan(experiment)
    return compare.Settings(
        sweep_name=experiment.name,
        primary_suite=experiment.primary.suite,
        primary_metric=experiment.primary.metric,
        arms=experiment.comparison,
        calibration=materials.calibration,
        calibration_scorer=not materials.calibration and calibration_scored(experiment),
        registered=registered.words(),
        registration=registered.digest,
        toxicity_threshold=toxicity.threshold if toxicity else 0.5,
        margin_nats=margins.nats,
        margin_accuracy=margins.accuracy,
        above_chance=margins.above_chance,
    )


def for_truth(experiment: Experiment) -> adherence.ExactSettings:
    return adherence.ExactSettings(template=experiment.template)
