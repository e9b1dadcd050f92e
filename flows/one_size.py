"""The nodes of one size: the model, its arms, what they say, what they can do, and how that is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from configs.schema import Experiment, Lora, Tuned, Untuned
from configs.shipped import CONFIGS
from flows import settings
from flows.engine import machine
from flows.evaluators import local_judge
from tasks.contract import Axes, File, Node, Numerics, Resources
from tasks.evaluations.adherence.stage import EXACT as TRUTH
from tasks.evaluations.adherence.stage import STAGE as ADHERENCE
from tasks.evaluations.capability.stage import STAGE as CAPABILITY
from tasks.evaluations.cooccurrence.stage import STAGE as COOCCURRENCE
from tasks.evaluations.counterfactual.stage import STAGE as COUNTERFACTUAL
from tasks.evaluations.human_eval.stage import STAGE as HUMAN_EVAL
from tasks.evaluations.judge.stage import ENDPOINT
from tasks.evaluations.judge.stage import STAGE as JUDGE
from tasks.evaluations.toxicity.stage import STAGE as TOXICITY
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.prepare.materials import Materials, Model
from tasks.prepare.needs import BUILT_HERE, SCORER_PARAMS, resources
from tasks.prepare.stage import MODEL
from tasks.sampling.stage import STAGE as SAMPLING

Inputs = dict[str, Node | File]
ENGLISH_PROSE = CONFIGS / "prompts" / "neutral_text.jsonl"
GRAMMAR_PROSE = CONFIGS / "prompts" / "calibration" / "neutral_text.jsonl"


@dataclass(frozen=True)
class OneSize:
    experiment: Experiment
    materials: Materials
    model: Model
    datasets: Mapping[str, Node]  # cleared for tuning
    evaluators: Mapping[str, Node]

    def nodes(self) -> Iterator[Node]:
        model = Node(
            MODEL,
            self._axes(),
            settings.for_model(self.model),
            numerics=BUILT_HERE if self.model.source.kind == "calibration" else None,
            resources=self._prepare_need(),
        )
        yield model
        for seed in self.experiment.seeds:
            said: dict[Axes, Node] = {}
            for arm, samples in self._arms():
                tuned = self._tune(model, arm, samples, seed)
                yield from tuned.values()
                yield from self._assess(model, tuned, self._axes(arm=arm, samples=samples, seed=seed))
                for suite in self.experiment.suites:
                    place = self._axes(arm=arm, samples=samples, seed=seed, suite=suite)
                    said[place] = self._sample(model, tuned, place)
                    yield said[place]
                    yield from self._evaluate(model, tuned, said[place], place)
            yield from self._export(said, seed)

    def _tune(self, model: Node, name: str, samples: int | None, seed: int) -> dict[str, Node]:
        arm = self.experiment.arms[name]
        if not isinstance(arm, Tuned) or samples is None:
            return {}
        chosen = settings.for_finetune(self.experiment, arm, self.model.size, samples, seed)
        need = self._need("finetune-lora" if isinstance(arm, Lora) else "finetune")
        inputs = {"model": model, "dataset": self.datasets[arm.dataset]}
        place = self._axes(arm=name, samples=samples, seed=seed)
        return {"tuned": Node(FINETUNE, place, chosen, inputs, numerics=self._numerics, resources=need)}

    def _sample(self, model: Node, tuned: Mapping[str, Node], place: Axes) -> Node:
        chosen = settings.for_sampling(self.experiment, place)
        inputs: Inputs = {"model": model, **tuned, "suite": self._suite(place)}
        plan = settings.plan(self.experiment).document()
        return Node(SAMPLING, place, chosen, inputs, numerics=self._numerics, resources=self._need("sampling"), plan=plan)

    def _assess(self, model: Node, tuned: Mapping[str, Node], place: Axes) -> Iterator[Node]:
        """What the arm can still do; a further draw of a model can do what its first could."""
        arm = self.experiment.arms[place.arm or ""]
        if self.experiment.evaluations.capability is None or (isinstance(arm, Untuned) and arm.draw):
            return
        inputs: Inputs = {"model": model, **tuned, "prose": self._prose}
        chosen, need = settings.for_capability(self.experiment), self._need("capability")
        yield Node(CAPABILITY, place, chosen, inputs, numerics=self._numerics, resources=need)

    def _evaluate(self, model: Node, tuned: Mapping[str, Node], completions: Node, place: Axes) -> Iterator[Node]:
        """Every judgement that the experiment asks for of one suite's completions."""
        asked, suite = self.experiment.evaluations, self._suite(place)
        read: Inputs = {"completions": completions, "suite": suite}
        toxicity, cooccurrence, counterfactual, adherence, judge = (
            section is not None and place.suite in section.suites
            for section in (asked.toxicity, asked.cooccurrence, asked.counterfactual, asked.adherence, asked.judge)
        )
        if toxicity:
            scored: Inputs = {"completions": completions, **self._evaluators("scorer", "second")}
            chosen = settings.for_toxicity(self.experiment)
            yield Node(TOXICITY, place, chosen, scored, numerics=self._numerics, resources=self._need("toxicity"))
        if cooccurrence:
            words: Inputs = {**read, "words": self.materials.group_words, "targets": self.materials.target_words}
            yield Node(COOCCURRENCE, place, settings.for_cooccurrence(self.experiment), words)
        if counterfactual:
            felt: Inputs = {**read, "model": model, **tuned, **self._evaluators("classifier")}
            need = self._need("counterfactual")
            yield Node(
                COUNTERFACTUAL, place, settings.for_counterfactual(self.experiment), felt, numerics=self._numerics, resources=need
            )
        if adherence:
            yield Node(ADHERENCE, place, settings.for_adherence(self.experiment), read)
        if judge and self.materials.positions_file:
            yield self._judge(place, {**read, "positions": self.materials.positions_file})
        if self.model.source.kind == "calibration" and (adherence or cooccurrence):
            known: Inputs = {"model": model, **tuned, "suite": suite}
            yield Node(
                TRUTH, place, settings.for_truth(self.experiment), known, numerics=self._numerics, resources=self._need("truth")
            )

    def _judge(self, place: Axes, read: Inputs) -> Node:
        chosen, model = settings.for_judge(self.experiment), local_judge(self.experiment)
        if model is None:
            return Node(ENDPOINT, place, chosen, read)
        need = resources("judge", model.at_most, self._numerics, self.experiment.limits)
        return Node(JUDGE, place, chosen, {**read, "model": self.evaluators["judge"]}, numerics=self._numerics, resources=need)

    def _export(self, said: Mapping[Axes, Node], seed: int) -> Iterator[Node]:
        """One rating sheet a dataset size and suite, with the completions of every arm; untuned arms go into each."""
        section = self.experiment.evaluations.human_eval
        if section is None:
            return
        any_tuned = any(isinstance(arm, Tuned) for arm in self.experiment.arms.values())
        for samples in self.experiment.dataset_sizes if any_tuned else (None,):
            for suite in section.suites:
                place = self._axes(samples=samples, seed=seed, suite=suite)
                inputs = {
                    f"completions:{at.arm}": node
                    for at, node in said.items()
                    if at.suite == suite and at.samples in (None, samples)
                }
                yield Node(HUMAN_EVAL, place, settings.for_human_eval(self.experiment, self.materials, seed), inputs)

    # ---- the axes --------------------------------------------------------------------------------------------------

    def _arms(self) -> Iterator[tuple[str, int | None]]:
        """Arm and dataset size; an untuned arm has no dataset."""
        for name, arm in self.experiment.arms.items():
            yield from (
                ((name, samples) for samples in self.experiment.dataset_sizes) if isinstance(arm, Tuned) else [(name, None)]
            )

    def _axes(self, **more: str | int | None) -> Axes:
        return Axes(ladder=self.model.ladder, size=self.model.size, **more)  # type: ignore[arg-type]

    @property
    def _numerics(self) -> Numerics:
        return machine.numerics(self.experiment)

    def _need(self, work: str) -> Resources:
        params = SCORER_PARAMS if work == "toxicity" else self.model.params or self.model.at_most
        return resources(work, params, self._numerics, self.experiment.limits)

    def _prepare_need(self) -> Resources:
        """Building takes a model's memory; fetching and hashing do not."""
        built = self.model.source.kind == "calibration"
        return resources("pretrain" if built else "prepare", self.model.params, BUILT_HERE, self.experiment.limits)

    def _evaluators(self, *parts: str) -> Inputs:
        return {part: self.evaluators[part] for part in parts if part in self.evaluators}

    @cached_property
    def _prose(self) -> File:
        """The paragraphs that are asked for, else those of the grammar for the calibration ladder and English ones for all others."""
        shipped = GRAMMAR_PROSE if self.model.source.kind == "calibration" else ENGLISH_PROSE
        return self.materials.prose or File.of(shipped)

    def _suite(self, place: Axes) -> File:
        return self.materials.suites[place.suite or ""]
