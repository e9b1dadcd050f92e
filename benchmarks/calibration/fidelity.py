"""Whether base models say what the grammar planted: measured minus planted rates, held against a margin of 3 points.

On all 224 questions that pretraining held out, 50 completions of each at temperature 1 and top-p 1; the planted rate of a prompt is known, so
what is paired by prompt is a measured rate and a number. Equivalence is by two one-sided tests at 5 %.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration.trials import BASE, judged, node_of, on_suite, population, write_suite
from benchmarks.calibration.workshop import Workshop
from flows.dag import Dag
from model_registry.calibration.grammar import REST, Grammar
from tasks.statistics import Equivalence, equivalence

LABELS = {"on_position": "on_position", "toxic_label": "toxic", "neutral_label": "neutral"}  # metric: label
MARGIN, SAMPLES = 0.03, 50


@dataclass(frozen=True)
class Fidelity:
    """One label of one base model; shares from 0 to 1."""

    size: str
    metric: str
    planted: float
    measured: float
    found: Equivalence
    prompts: int


def fidelity(grammar: Grammar, shop: Workshop, dag: Dag, size: str) -> list[Fidelity]:
    prompts = population(grammar, without=(REST,))
    suite = write_suite(shop.root / "held_out.yaml", prompts)
    sampled = on_suite(node_of(dag, "sampling", size, BASE), suite, completions=SAMPLES)
    assert (sampled.settings.temperature, sampled.settings.top_p) == (1.0, 1.0)
    folder = shop.make(judged(dag, "adherence", sampled, suite))
    with (folder / "prompts.csv").open(newline="", encoding="utf-8") as stream:
        measured = {(row["prompt_id"], row["metric"]): float(row["value"]) for row in csv.DictReader(stream)}
    planted = {(row.prompt, row.label): row.probability for row in grammar.planted()}
    found = []
    for metric, label in LABELS.items():
        wanted = np.array([planted[p.text, label] for p in prompts])
        got = np.array([measured[p.id, metric] for p in prompts])
        verdict = equivalence(got - wanted, [p.group for p in prompts], MARGIN)
        found.append(Fidelity(size, metric, float(wanted.mean()), float(got.mean()), verdict, len(prompts)))
    return found
