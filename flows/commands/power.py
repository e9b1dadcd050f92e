"""Which differences a sweep would find, and how many prompts, completions and raters would find smaller ones.

Variance components come from this experiment's own finished stages where both arms of a contrast are there; else they are those of a
rate at the level that is given, or that the reference arm was measured at, or at a half, which a score from 0 to 1 does not pass: then
a figure is an upper bound. The table says which. The arithmetic stands in `tasks.statistics.power`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.suites import load_suite
from flows.engine.stores.manifest import Manifest
from flows.inputs import primary_measure
from flows.prepared import Run, planned
from tasks.compare.contrasts import SEEDS_CROSSED
from tasks.compare.pairing import pairs
from tasks.compare.upstream import Sources, read
from tasks.contract import Measure
from tasks.statistics.power import (
    ASSUMED_RATINGS,
    Components,
    PowerRow,
    assumed_rates,
    components_of,
    detectable,
    difference_sd,
    power_table,
    prompts_needed,
)

PROMPTS, COMPLETIONS, RATERS = (40, 80, 160), (1, 3, 10, 25), (1, 3, 6)
ALPHA = 0.05


@dataclass(frozen=True)
class Power:
    """One outcome's table. `here` is what this experiment's own prompts, completions and raters would find; `needed` answers `difference`.
    `at_most`: both are upper bounds."""

    outcome: str
    components: Components
    tests: int
    prompts: int
    completions: int  # observations a prompt
    raters: int
    here: float
    rows: list[PowerRow]
    difference: float | None
    needed: int | None
    at_most: bool


def powers(run: Run, difference: float | None, level: float | None = None) -> list[Power]:
    """The primary outcome's table, and that of human ratings where completions are exported to be rated.

    Two-sided at 5 %, four times in five; Holm over the confirmatory family is planned for by its first step, 5 % over the number of
    tests. `level`: where the primary outcome is expected to lie.
    Raises ValueError for a difference of 0, and for an outcome whose spread cannot be known.
    """
    experiment = run.experiment
    primary, sheet = experiment.primary, experiment.evaluations.asked.get("human_eval")
    measure = primary_measure(experiment, run.inputs.given)
    if measure.of != "prompt":
        raise ValueError(
            f"the unit of {primary.metric} is the {measure.of}, of which a suite has few; an outcome measured a prompt is required"
        )
    completions = max(1, experiment.suites[primary.suite].completions // measure.over)
    components, bound = _components(run, measure, level)
    outcome = f"{primary.metric} on {primary.suite}"
    found = [_power(run, outcome, primary.suite, components, completions, 1, difference, bound)]
    if sheet is not None:
        suite = sheet.suites[0]
        count, raters = experiment.suites[suite].completions, sheet.ratings_per_completion
        found.append(_power(run, f"human rating on {suite} (points of 1 to 5)", suite, ASSUMED_RATINGS, count, raters, None))
    return found


def _power(
    run: Run,
    outcome: str,
    suite: str,
    components: Components,
    completions: int,
    raters: int,
    difference: float | None,
    at_most: bool = False,
) -> Power:
    experiment, prompts = run.experiment, load_suite(run.inputs.suites[suite].path).prompts
    strata = len({prompt.group for prompt in prompts})
    most = max(len(ladder.sizes or ladder.models) for ladder in experiment.ladders)
    runs = len(experiment.seeds) if len(experiment.seeds) < SEEDS_CROSSED else 1  # below, each run has its own test
    tests = most * len(experiment.train_samples) * runs * len(experiment.contrasts) or 1
    alpha = ALPHA / tests
    rows = power_table(
        components,
        strata,
        prompts=[count for count in PROMPTS if count > strata],
        completions=COMPLETIONS if completions == experiment.suites[suite].completions else (completions,),
        raters=RATERS if raters > 1 else (1,),
        alpha=alpha,
    )
    here = detectable(components, len(prompts), strata, completions, raters, alpha=alpha)
    needed = prompts_needed(difference, components, strata, completions, raters, alpha=alpha) if difference is not None else None
    return Power(outcome, components, tests, len(prompts), completions, raters, here, rows, difference, needed, at_most)


def _components(run: Run, measure: Measure, level: float | None) -> tuple[Components, bool]:
    """Of the primary outcome, and whether they bound it: from the widest-varying contrast whose arms are both there, else assumed.

    Raises ValueError for an outcome with a unit of its own that was not measured yet.
    """
    primary = run.experiment.primary
    completions = run.experiment.suites[primary.suite].completions
    estimates, finished = [], _finished(run)
    for pair in pairs(finished, run.experiment.comparison.contrasts):
        if (pair.metric, pair.axes.suite) != (primary.metric, primary.suite):
            continue
        first, second = (output.completions(primary.metric) for output in (pair.treated, pair.reference))
        if first and second and min(map(len, first.values())) > 1:
            ids, groups = pair.values()[0], pair.group_of()
            estimates.append(components_of([first[i] for i in ids], [second[i] for i in ids], [groups[i].group for i in ids]))
    if estimates and level is None:
        return max(estimates, key=lambda one: difference_sd(one, completions)), False
    if measure.unit:
        raise ValueError(
            f"{primary.metric} is in {measure.unit}, and no spread is assumed for it; both arms of a contrast, measured, are required"
        )
    if measure.rated:  # by one rater, always the same
        return replace(ASSUMED_RATINGS, sample=ASSUMED_RATINGS.sample + ASSUMED_RATINGS.rater, rater=0.0), False
    held = [node.level(primary.metric) for node in finished.nodes if node.axes.arm == run.experiment.reference]
    own = [found.value for found in held if found is not None and 0 < found.value < 1]
    at, whose = 0.5, "a level of a half, where it varies most"
    if level is not None:
        at, whose = level, f"the given level of {level:g}"
    elif own:
        at = max(own, key=lambda value: value * (1 - value))
        whose = f"the level of {at:.3g} that {run.experiment.reference} was measured at"
    return replace(assumed_rates(at), source=f"assumed: of a rate at {whose}, of arms that share 70 % of what prompts vary"), True


def _finished(run: Run) -> Sources:
    """What the store holds of the primary outcome's suite."""
    planned(run)  # settles it
    nodes = [node for node in run.dag.nodes if node.axes.suite == run.experiment.primary.suite and node.axes.arm]
    made = {node: outcome for node in nodes if isinstance(outcome := run.session.outcome(node), Manifest)}
    places = {node.label: node.axes for node in made}
    return read({node.label: manifest.folder for node, manifest in made.items()}, places, run.experiment.comparison)
