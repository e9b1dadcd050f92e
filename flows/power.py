"""Which differences a sweep would find, and how many prompts, samples and raters would find smaller ones.

Variance components come from this experiment's own finished stages where both arms of a contrast are there, else they are assumed, and
the table says which. The arithmetic stands in `tasks.statistics.power`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.plan import plan_rows
from flows.runs import Run
from tasks.compare.contrasts import SEEDS_CROSSED
from tasks.compare.upstream import Output
from tasks.contract import Node
from tasks.sampling.prompts import load_suite
from tasks.statistics.power import (
    ASSUMED_RATINGS,
    Components,
    PowerRow,
    assumed_rates,
    detectable,
    power_table,
    prompts_needed,
)
from tasks.store import Manifest

PROMPTS, SAMPLES, RATERS = (40, 80, 160), (1, 3, 10, 25), (1, 3, 6)
FAMILY = ("base", "control")  # what values_targeted is compared with in the confirmatory family, at every size of a ladder
ALPHA = 0.05
OF_TEMPLATES = ("sentiment_disparity",)
RATED = ("judged_adherence",)  # on the raters' scale


@dataclass(frozen=True)
class Power:
    """One outcome's table. `here` is what this experiment's own prompts, samples and raters would find; `needed` answers `difference`."""

    outcome: str
    components: Components
    tests: int
    prompts: int
    samples: int  # observations a prompt
    raters: int
    here: float
    rows: list[PowerRow]
    difference: float | None
    needed: int | None


def powers(run: Run, difference: float | None) -> list[Power]:
    """The primary outcome's table, and that of human ratings where completions are exported to be rated.

    Two-sided at 5 %, four times in five; Holm over the confirmatory family is planned for by its first step, 5 % over the number of
    tests. Raises ValueError for a difference of 0.
    """
    experiment = run.experiment
    primary, sheet = experiment.primary, experiment.evaluations.human_eval
    if primary.metric in OF_TEMPLATES:
        raise ValueError(
            f"the unit of {primary.metric} is the template, of which a suite has few; an outcome measured a prompt is required"
        )
    samples = _observations(primary.metric, experiment.suites[primary.suite].samples)
    found = [_power(run, f"{primary.metric} on {primary.suite}", primary.suite, _components(run), samples, 1, difference)]
    if sheet is not None:
        suite = sheet.suites[0]
        count, raters = experiment.suites[suite].samples, sheet.ratings_per_completion
        found.append(_power(run, f"human rating on {suite} (points of 1 to 5)", suite, ASSUMED_RATINGS, count, raters, None))
    return found


def _observations(metric: str, samples: int) -> int:
    """How many observations of a metric a prompt gives: a maximum over all its completions is one."""
    of_sets = re.fullmatch(r"(?:second_)?(expected_max_toxicity|any_toxic)_k(\d+)", metric)
    return samples if of_sets is None else max(1, samples // int(of_sets[2]))


def _power(
    run: Run, outcome: str, suite: str, components: Components, samples: int, raters: int, difference: float | None
) -> Power:
    experiment, prompts = run.experiment, load_suite(run.materials.suites[suite].path).prompts
    strata = len({prompt.group for prompt in prompts})
    most = max(len(ladder.sizes or ladder.models) for ladder in experiment.ladders)
    runs = len(experiment.seeds) if len(experiment.seeds) < SEEDS_CROSSED else 1  # below, each run has its own test
    contrasts = sum(f"values_targeted-{arm}" in experiment.contrasts for arm in FAMILY)
    tests = most * len(experiment.dataset_sizes) * runs * contrasts or 1
    alpha = ALPHA / tests
    counts = SAMPLES if samples == experiment.suites[suite].samples else (samples,)
    rows = power_table(
        components,
        strata,
        prompts=[count for count in PROMPTS if count > strata],
        samples=counts,
        raters=RATERS if raters > 1 else (1,),
        alpha=alpha,
    )
    here = detectable(components, len(prompts), strata, samples, raters, alpha=alpha)
    needed = prompts_needed(difference, components, strata, samples, raters, alpha=alpha) if difference is not None else None
    return Power(outcome, components, tests, len(prompts), samples, raters, here, rows, difference, needed)


def _components(run: Run) -> Components:
    """Of the primary outcome: from the widest-varying contrast whose arms are both there, else assumed."""
    from tasks.statistics.power import components_of

    outputs = _measured(run)
    metric = run.experiment.primary.metric
    estimates = []
    for contrast in run.experiment.contrasts:
        treated, _, reference = contrast.partition("-")
        for (size, arm), output in outputs.items():
            other = outputs.get((size, reference))
            if arm != treated or other is None:
                continue
            first, second = output.completions(metric), other.completions(metric)
            if first and second and first.keys() == second.keys() and min(map(len, first.values())) > 1:
                ids, groups = sorted(first), output.prompts[metric]
                estimates.append(components_of([first[i] for i in ids], [second[i] for i in ids], [groups[i].group for i in ids]))
    if estimates:
        return max(
            estimates, key=lambda one: one.prompt + one.sample / run.experiment.suites[run.experiment.primary.suite].samples
        )
    if metric in RATED:
        return replace(
            ASSUMED_RATINGS, sample=ASSUMED_RATINGS.sample + ASSUMED_RATINGS.rater, rater=0.0
        )  # one rater, always the same
    return assumed_rates(0.5)  # what lies between 0 and 1 varies no more than a rate of a half


def _measured(run: Run) -> dict[tuple[str, str], Output]:
    """(size, arm) → the finished output that measures the primary outcome there; of several runs, one."""
    primary = run.experiment.primary
    plan_rows(run)  # settles what is in the store
    nodes: Sequence[Node] = [node for node in run.dag.nodes if node.axes.suite == primary.suite and node.axes.arm]
    found: dict[tuple[str, str], Output] = {}
    for node in nodes:
        made = run.session.outcome(node)
        if not isinstance(made, Manifest):
            continue
        output = Output(made.folder, node.label, node.stage.name, node.axes, made.key, tuple(made.metrics))
        if primary.metric in output.prompts:
            found[node.axes.model or "", node.axes.arm or ""] = output
    return found
