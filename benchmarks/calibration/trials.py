"""One experiment again and again on redrawn prompts, through the product's evaluation, and how often its intervals hold the truth.

Knows the quantities that are looked at, how prompts are drawn, and how one trial is evaluated: the stages adherence, toxicity and
compare. What answers the prompts, and what is true of it, is left to `oracle` and `trained`.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.calibration.workshop import Workshop
from configs.shipped import shipped
from configs.suites import Prompt
from flows.dag import Dag, build
from flows.experiment import read_experiment
from flows.inputs import gather
from model_registry.calibration.grammar import Grammar
from tasks.contract import File, Node, read_metrics
from tasks.statistics.strata import Strata

# What is looked at, named before anything is sampled: each as a level of both arms and as their difference.
METRICS = ("on_position", "toxic_label", "neutral_label", "toxicity", "toxic_share")
BASE, AGAIN, TREATED = "base", "base_again", "values_targeted"
QUANTITIES = tuple(product((BASE, TREATED, f"{TREATED}-{BASE}"), METRICS))
AA = f"{AGAIN}-{BASE}"
TESTED = ("on_position", "toxicity")  # the metrics with a test of their overall difference

JUDGES = ("adherence", "toxicity")
SUITE, PER_CATEGORY = "human_eval", 5  # 40 prompts, as in the shipped suite

Truth = Mapping[tuple[str, str], float]  # (arm or contrast, metric) → true value


@dataclass(frozen=True)
class Found:
    """What the comparison of one trial says of one quantity; `p` where the sweep has a test of it."""

    value: float
    low: float | None
    high: float | None
    p: float | None = None

    def holds(self, truth: float) -> bool:
        return self.low is not None and self.high is not None and self.low <= truth <= self.high


Trial = Mapping[tuple[str, str], Found]


def controls(*sizes: str) -> Dag:
    """The shipped experiment `calibration_controls` over some sizes of the ladder."""
    path = shipped()["calibration_controls"]
    experiment = read_experiment(path, [f"ladders=[{{ladder: calibration, sizes: [{', '.join(sizes)}]}}]"])
    return build(experiment, gather(experiment, path.parent))


def population(grammar: Grammar, without: Sequence[str] = ()) -> list[Prompt]:
    """The grammar's questions on the eight categories, but those of some splits; every one has an id of its own."""
    questions = [(n, p) for n, p in enumerate(grammar.prompts("category")) if p.split not in without]
    return [Prompt(f"{p.group}-{n % 64:02d}", p.group, p.text, kind=p.kind) for n, p in questions]


def redrawn(prompts: Sequence[Prompt], each: int, seed: int) -> list[Prompt]:
    """`each` prompts a category, drawn without replacement."""
    rng = random.Random(seed)
    return [p for _, group in groupby(prompts, key=lambda p: p.group) for p in rng.sample(list(group), each)]


def write_suite(path: Path, prompts: Sequence[Prompt]) -> File:
    entries = [{"id": p.id, "group": p.group, "kind": p.kind, "text": p.text} for p in prompts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"suite: {SUITE}\nform: question\nprompts:\n" + "".join(f"  - {json.dumps(e)}\n" for e in entries), encoding="utf-8"
    )
    return File.of(path)


def node_of(dag: Dag, stage: str, size: str, arm: str) -> Node:
    """The node of a stage on an arm, as the product plans it."""
    return next(node for node in dag.sizes[f"calibration-{size}"] if (node.stage.name, node.axes.arm) == (stage, arm))


def on_suite(node: Node, suite: File, **settings: int) -> Node:
    """A sampling node that samples another suite, under some other settings."""
    return replace(node, inputs={**node.inputs, "suite": suite}, settings=replace(node.settings, **settings))


def evaluation(dag: Dag, said: Sequence[Node], suite: File) -> Node:
    """The sweep's comparison, of other completions: labelled, scored and compared by its own nodes."""
    found = [judged(dag, stage, node, suite) for node in said for stage in JUDGES]
    return replace(dag.comparison, inputs={node.label: node for node in found})


def judged(dag: Dag, stage: str, said: Node, suite: File) -> Node:
    """A judgement of the sweep, of other completions."""
    planned = node_of(dag, stage, str(said.axes.size), str(said.axes.arm))
    now: dict[str, Node | File] = {"completions": said, "suite": suite}
    return replace(planned, inputs={role: now.get(role, source) for role, source in planned.inputs.items()})


def run_trials(
    shop: Workshop,
    prompts: Sequence[Prompt],
    count: int,
    seed: int,
    answered: Callable[[Workshop, File, list[Prompt], int], list[Node]],
    dag: Dag,
) -> Iterator[Trial]:
    """`count` trials; `answered` gives the arms' completions, from a shop that is cleared after each trial, a suite, its prompts
    and the trial's own seed."""
    for number in range(count):
        folder = shop.root / f"trial{number}"
        own = Workshop(folder, shop.folders)
        drawn = redrawn(prompts, PER_CATEGORY, seed + number)
        suite = write_suite(folder / "suite.yaml", drawn)
        said = answered(own, suite, drawn, seed + number)
        yield read_trial(own.make(evaluation(dag, said, suite)))
        shutil.rmtree(folder)


def read_trial(folder: Path, size: str = "30k") -> Trial:
    """Overall levels and differences at one size, from the comparison's tables."""
    tests = {(row["contrast"], row["metric"]): row["p"] for row in _rows(folder / "contrasts.csv", size)}
    found = {}
    for row in _rows(folder / "metrics.csv", size):
        key = (row["arm"], row["metric"])
        if row["metric"] in METRICS:
            found[key] = Found(
                float(row["value"]), *(_number(text) for text in (row["ci_low"], row["ci_high"], tests.get(key, "")))
            )
    return found


def levels(folder: Path) -> dict[str, float]:
    """Metric → overall level, of an evaluation's own output."""
    return {row.metric: row.value for row in read_metrics(folder) if row.group == "all"}


def with_differences(truth: Truth) -> Truth:
    """Levels of base and the treated arm, and what follows for their difference and for base against itself."""
    both = {(f"{TREATED}-{BASE}", m): truth[TREATED, m] - truth[BASE, m] for m in METRICS if (BASE, m) in truth}
    return {**truth, **both, **{(AA, metric): 0.0 for metric in METRICS}}


def mean_over(prompts: Sequence[Prompt], values: Sequence[float]) -> float:
    """Mean over categories of their prompts' means."""
    return Strata.of([prompt.group for prompt in prompts], len(prompts)).mean(np.asarray(values, dtype=np.float64))


def covered(trials: Sequence[Trial], quantity: tuple[str, str], truth: float) -> int:
    return sum(trial[quantity].holds(truth) for trial in trials)


def false_alarms(trials: Sequence[Trial], quantity: tuple[str, str]) -> int:
    return sum(found.p is not None and found.p < 0.05 for trial in trials for found in [trial[quantity]])


def least_covered(count: int) -> int:
    """The bar: what a perfect 95 % interval covers at least, 99.5 times of 100. For 100 trials that is 89."""
    return int(stats.binom.ppf(0.005, count, 0.95))


def most_alarms(count: int) -> int:
    """What a test with 5.7 % false alarms stays within, 99 times of 100."""
    return int(stats.binom.ppf(0.99, count, 0.057))


def _number(text: str) -> float | None:
    return float(text) if text else None


def _rows(path: Path, size: str) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if (row["size"], row["group"]) == (size, "all")]
