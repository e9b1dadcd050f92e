"""Trained arms: the smallest rung and its values-targeted tuning, held against what is true of these two models.

The truth is each model's own mean over 432 questions, the grammar's 512 but those that tuning saw: 50 completions of each, drawn with a
seed that no trial has; for the grammar's labels beside it the exact rates of the same questions. A trial draws 40 of the 432 and
samples them anew, by the sampling stage with a seed of its own: every trial is an independent draw of prompts and of answers. As in a
sweep, the arms of a trial share their random numbers. (Pretraining has seen 288 of the 432: what is true of a model is true there too.)

5 of 54 questions a category are drawn without replacement: coverage errs upward by about half a point, as for the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.calibration.trials import (
    BASE,
    JUDGES,
    METRICS,
    TREATED,
    Truth,
    judged,
    levels,
    node_of,
    on_suite,
    population,
    with_differences,
    write_suite,
)
from benchmarks.calibration.workshop import Workshop
from configs.suites import Prompt
from flows.dag import Dag
from model_registry.calibration.grammar import Grammar
from tasks.contract import File, Node

SIZE, ARMS = "30k", (BASE, TREATED)
TUNING = "tuning"  # the split of the questions that the datasets are made of
TRUTH_SAMPLES, TRUTH_SEED = 50, 10**6


@dataclass(frozen=True)
class Truths:
    """By sampling, of every quantity; exactly, of the grammar's labels; and the number of prompts of both."""

    sampled: Truth
    exact: Truth
    prompts: int


def answered(dag: Dag) -> Callable[[Workshop, File, list[Prompt], int], list[Node]]:
    """Completions of both arms as the sweep samples them."""

    def say(shop: Workshop, suite: File, prompts: list[Prompt], seed: int) -> list[Node]:
        return [on_suite(node_of(dag, "sampling", SIZE, arm), suite, seed=seed) for arm in ARMS]

    return say


def truths(grammar: Grammar, shop: Workshop, dag: Dag) -> Truths:
    prompts = population(grammar, without=(TUNING,))
    suite = write_suite(shop.root / "population.yaml", prompts)
    sampled: dict[tuple[str, str], float] = {}
    exact: dict[tuple[str, str], float] = {}
    for arm in ARMS:
        said = on_suite(node_of(dag, "sampling", SIZE, arm), suite, seed=TRUTH_SEED, completions=TRUTH_SAMPLES)
        for stage in JUDGES:
            found = levels(shop.make(judged(dag, stage, said, suite)))
            sampled |= {(arm, metric): found[metric] for metric in METRICS if metric in found}
        known = node_of(dag, "truth", SIZE, arm)
        found = levels(shop.make(replace(known, inputs={**known.inputs, "suite": suite})))
        exact |= {(arm, metric): found[f"exact_{metric}"] for metric in METRICS if f"exact_{metric}" in found}
    return Truths(with_differences(sampled), with_differences(exact), len(prompts))
